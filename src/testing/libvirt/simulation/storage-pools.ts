/** Storage pools. */
import { randomUUID } from "node:crypto";
import { StoragePoolEventLifecycleType as EVENT, StoragePoolState as STATE } from "../../../libvirt/rpc/index.js";
import type { LibvirtProtocol } from "../../../libvirt/rpc/index.js";
import { formatStoragePoolXml, parseStoragePoolXml } from "../../../libvirt/xml/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import type { HostState, PoolRecord } from "./host-state.js";
import { readDocument } from "./read-document.js";
import { refusal } from "./refuse.js";

const LIST = { inactive: 1, active: 2, persistent: 4, transient: 8 } as const;
const CAPACITY = 1024n ** 4n;

export function poolHandlers(host: HostState): FakeLibvirtHandlers {
  const by = (matches: (pool: PoolRecord) => boolean, what: string): PoolRecord => {
    const pool = [...host.pools.values()].find(matches);
    if (pool === undefined)
      throw refusal("noStoragePool", "storage", `Storage pool not found: no storage pool with matching ${what}`);
    return pool;
  };
  const found = ({ uuid, name }: LibvirtProtocol.RemoteStoragePool): PoolRecord =>
    by((pool) => pool.uuid === uuid, `uuid '${uuid}' (${name})`);
  const tell = (pool: PoolRecord, event: number): void =>
    host.emit("storagePool", "lifecycle", { pool: poolReference(pool), event, detail: 0 });
  return {
    storagePoolDefineXml({ xml }) {
      const pool = addPool(host, xml);
      pool.persistent = true;
      tell(pool, EVENT.defined);
      return { pool: poolReference(pool) };
    },
    storagePoolCreateXml({ xml }) {
      const pool = addPool(host, xml);
      if (pool.active) throw refusal("operationInvalid", "storage", `pool '${pool.name}' is already active`);
      pool.active = true;
      tell(pool, EVENT.started);
      return { pool: poolReference(pool) };
    },
    storagePoolCreate({ pool: reference }) {
      const pool = found(reference);
      if (pool.active) throw refusal("operationInvalid", "storage", `storage pool '${pool.name}' is already active`);
      pool.active = true;
      tell(pool, EVENT.started);
      return {};
    },
    storagePoolDestroy({ pool: reference }) {
      const pool = activePool(found(reference));
      pool.active = false;
      tell(pool, EVENT.stopped);
      if (!pool.persistent) host.pools.delete(pool.uuid);
      return {};
    },
    storagePoolUndefine({ pool: reference }) {
      const pool = found(reference);
      if (pool.active) throw refusal("operationInvalid", "storage", `storage pool '${pool.name}' is still active`);
      host.pools.delete(pool.uuid);
      tell(pool, EVENT.undefined);
      return {};
    },
    storagePoolBuild({ pool: reference }) {
      const pool = found(reference);
      if (pool.active) throw refusal("operationInvalid", "storage", `storage pool '${pool.name}' is already active`);
      tell(pool, EVENT.created);
      return {};
    },
    storagePoolDelete({ pool: reference }) {
      const pool = found(reference);
      if (pool.active) throw refusal("operationInvalid", "storage", `storage pool '${pool.name}' is still active`);
      pool.volumes.clear();
      tell(pool, EVENT.deleted);
      return {};
    },
    storagePoolRefresh({ pool: reference }) {
      const pool = activePool(found(reference));
      host.emit("storagePool", "refresh", { pool: poolReference(pool) });
      return {};
    },
    storagePoolGetInfo({ pool: reference }) {
      const pool = found(reference);
      const allocation = [...pool.volumes.values()].reduce((sum, { content }) => sum + BigInt(content.length), 0n);
      if (!pool.active) return { state: STATE.inactive, capacity: 0n, allocation: 0n, available: 0n };
      return { state: STATE.running, capacity: CAPACITY, allocation, available: CAPACITY - allocation };
    },
    storagePoolGetXmlDesc: ({ pool }) => ({ xml: formatStoragePoolXml(found(pool).document) }),
    storagePoolIsActive: ({ pool }) => ({ active: found(pool).active ? 1 : 0 }),
    storagePoolIsPersistent: ({ pool }) => ({ persistent: found(pool).persistent ? 1 : 0 }),
    storagePoolGetAutostart: ({ pool }) => ({ autostart: found(pool).autostart ? 1 : 0 }),
    storagePoolSetAutostart({ pool, autostart }) {
      found(pool).autostart = autostart !== 0;
      return {};
    },
    storagePoolLookupByName: ({ name }) => ({
      pool: poolReference(by((pool) => pool.name === name, `name '${name}'`)),
    }),
    storagePoolLookupByUuid: ({ uuid }) => ({ pool: poolReference(found({ uuid, name: "" })) }),
    storagePoolLookupByTargetPath: ({ path }) => ({
      pool: poolReference(by((pool) => pool.document.target?.path === path, `target path '${path}'`)),
    }),
    storagePoolLookupByVolume: ({ vol }) => ({
      pool: poolReference(by((pool) => pool.name === vol.pool, `name '${vol.pool}'`)),
    }),
    storagePoolNumOfVolumes: ({ pool }) => ({ num: activePool(found(pool)).volumes.size }),
    storagePoolListVolumes: ({ pool, maxnames }) => ({
      names: [...activePool(found(pool)).volumes.keys()].slice(0, maxnames),
    }),
    storagePoolListAllVolumes({ pool: reference }) {
      const pool = activePool(found(reference));
      const vols = [...pool.volumes.values()].map(({ name, path }) => ({ pool: pool.name, name, key: path }));
      return { vols, ret: vols.length };
    },
    connectListAllStoragePools({ flags }) {
      const pools = [...host.pools.values()].filter((pool) => isListed(pool, flags)).map(poolReference);
      return { pools, ret: pools.length };
    },
    connectNumOfStoragePools: () => ({ num: [...host.pools.values()].filter(({ active }) => active).length }),
  };
}

export function poolReference({ name, uuid }: PoolRecord): LibvirtProtocol.RemoteStoragePool {
  return { name, uuid };
}

/** @throws FakeLibvirtError when it is not active */
export function activePool(pool: PoolRecord): PoolRecord {
  if (!pool.active) throw refusal("operationInvalid", "storage", `storage pool '${pool.name}' is not active`);
  return pool;
}

/** Takes a pool's definition. @throws FakeLibvirtError with the codes of libvirt's parser */
export function addPool(host: HostState, xml: string): PoolRecord {
  const document = readDocument("pool", "storage", () => parseStoragePoolXml(xml));
  const { name, type } = document;
  if (type === undefined) throw refusal("xmlError", "storage", "missing pool type");
  if (name === undefined) throw refusal("xmlError", "storage", "missing pool source name element");
  const namesake = [...host.pools.values()].find((pool) => pool.name === name);
  const uuid = document.uuid ?? namesake?.uuid ?? randomUUID();
  if (namesake !== undefined && namesake.uuid !== uuid)
    throw refusal("operationFailed", "storage", `pool '${name}' already exists with uuid ${namesake.uuid}`);
  if (document.target?.path === undefined && type === "dir")
    throw refusal("xmlError", "storage", "missing storage pool target path");
  document.uuid = uuid;
  const known = host.pools.get(uuid);
  if (known !== undefined) {
    known.document = document;
    return known;
  }
  const pool: PoolRecord = {
    document,
    uuid,
    name,
    active: false,
    persistent: false,
    autostart: false,
    volumes: new Map(),
  };
  host.pools.set(uuid, pool);
  return pool;
}

function isListed({ active, persistent }: PoolRecord, flags: number): boolean {
  if ((flags & (LIST.active | LIST.inactive)) !== 0 && (flags & (active ? LIST.active : LIST.inactive)) === 0)
    return false;
  const kept = persistent ? LIST.persistent : LIST.transient;
  return (flags & (LIST.persistent | LIST.transient)) === 0 || (flags & kept) !== 0;
}
