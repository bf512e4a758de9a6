/** Storage volumes, whose contents are kept in memory: as much of them as was written. */
import { StorageVolDownloadFlags, StorageVolType, StorageVolUploadFlags } from "../../../libvirt/rpc/index.js";
import type { LibvirtProtocol } from "../../../libvirt/rpc/index.js";
import { formatStorageVolumeXml, parseStorageVolumeXml } from "../../../libvirt/xml/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import type { FakeLibvirtStream } from "../fake-libvirt-stream.js";
import type { HostState, PoolRecord, VolumeRecord } from "./host-state.js";
import { readDocument } from "./read-document.js";
import { refusal } from "./refuse.js";
import { bytesOf } from "./sizes.js";
import { activePool } from "./storage-pools.js";

type VolumeReference = LibvirtProtocol.RemoteStorageVol;

interface Found {
  readonly pool: PoolRecord;
  readonly volume: VolumeRecord;
}

const RESIZE = { allocate: 1, delta: 2, shrink: 4 } as const;
const CHUNK = 65_536;

export function volumeHandlers(host: HostState): FakeLibvirtHandlers {
  const by = (matches: (pool: PoolRecord, volume: VolumeRecord) => boolean, what: string): Found => {
    for (const pool of host.pools.values())
      for (const volume of pool.volumes.values()) if (pool.active && matches(pool, volume)) return { pool, volume };
    throw refusal("noStorageVol", "storage", `Storage volume not found: no storage vol with matching ${what}`);
  };
  const found = (vol: VolumeReference): Found => {
    const pool = poolNamed(host, vol.pool);
    activePool(pool);
    return by((each, { name }) => each === pool && name === vol.name, `name '${vol.name}'`);
  };
  const create = (poolUuid: string, xml: string, content?: Buffer): VolumeReference => {
    const pool = host.pools.get(poolUuid);
    if (pool === undefined) throw refusal("noStoragePool", "storage", "no storage pool with matching uuid");
    return referenceOf({ pool: activePool(pool), volume: addVolume(pool, xml, content) });
  };
  const info = (vol: VolumeReference): { type: number; capacity: bigint; allocation: bigint } => {
    const { volume } = found(vol);
    return { type: StorageVolType.file, capacity: volume.capacity, allocation: BigInt(volume.content.length) };
  };
  return {
    storageVolCreateXml: ({ pool, xml }) => ({ vol: create(pool.uuid, xml) }),
    storageVolCreateXmlFrom: ({ pool, xml, clonevol }) => ({
      vol: create(pool.uuid, xml, Buffer.from(found(clonevol).volume.content)),
    }),
    storageVolDelete({ vol }) {
      const { pool, volume } = found(vol);
      pool.volumes.delete(volume.name);
      return {};
    },
    storageVolLookupByName({ pool: { uuid }, name }) {
      const pool = host.pools.get(uuid);
      if (pool === undefined) throw refusal("noStoragePool", "storage", "no storage pool with matching uuid");
      activePool(pool);
      return { vol: referenceOf(by((each, volume) => each === pool && volume.name === name, `name '${name}'`)) };
    },
    storageVolLookupByPath: ({ path }) => ({
      vol: referenceOf(by((_, volume) => volume.path === path, `path '${path}'`)),
    }),
    storageVolLookupByKey: ({ key }) => ({ vol: referenceOf(by((_, volume) => volume.path === key, `key '${key}'`)) }),
    storageVolGetPath: ({ vol }) => ({ name: found(vol).volume.path }),
    storageVolGetInfo: ({ vol }) => info(vol),
    storageVolGetInfoFlags: ({ vol }) => info(vol),
    storageVolGetXmlDesc: ({ vol }) => ({ xml: describe(found(vol).volume) }),
    storageVolResize({ vol, capacity, flags }) {
      const { volume } = found(vol);
      const wanted = (flags & RESIZE.delta) === 0 ? capacity : volume.capacity + capacity;
      if (wanted < volume.capacity && (flags & RESIZE.shrink) === 0)
        throw refusal(
          "invalidArg",
          "storage",
          "can't shrink capacity below current capacity unless shrink flag explicitly specified",
        );
      volume.capacity = wanted;
      volume.content = volume.content.subarray(0, Number(wanted));
      return {};
    },
    storageVolWipe({ vol }) {
      found(vol).volume.content = Buffer.alloc(0);
      return {};
    },
    storageVolUpload({ vol, offset, length, flags }, { stream }) {
      const { pool, volume } = found(vol);
      if (stream !== undefined) {
        const sparse = (flags & StorageVolUploadFlags.sparseStream) !== 0;
        const written = receive(volume, stream, Number(offset), Number(length), sparse);
        stream.onFinish(() =>
          written.then(() => host.emit("storagePool", "refresh", { pool: { name: pool.name, uuid: pool.uuid } })),
        );
        written.catch(() => undefined);
      }
      return {};
    },
    storageVolDownload({ vol, offset, length, flags }, { stream }) {
      const { volume } = found(vol);
      const end = length === 0n ? volume.capacity : offset + length;
      const sparse = (flags & StorageVolDownloadFlags.sparseStream) !== 0;
      if (stream !== undefined) void send(volume, stream, { offset: Number(offset), end: Number(end), sparse });
      return {};
    },
  };
}

function poolNamed(host: HostState, name: string): PoolRecord {
  const pool = [...host.pools.values()].find((each) => each.name === name);
  if (pool === undefined) throw refusal("noStoragePool", "storage", `no storage pool with matching name '${name}'`);
  return pool;
}

function referenceOf({ pool, volume }: Found): VolumeReference {
  return { pool: pool.name, name: volume.name, key: volume.path };
}

function addVolume(pool: PoolRecord, xml: string, content: Buffer = Buffer.alloc(0)): VolumeRecord {
  const document = readDocument("volume", "storage", () => parseStorageVolumeXml(xml));
  const { name, capacity } = document;
  if (name === undefined) throw refusal("xmlError", "storage", "missing volume name element");
  if (pool.volumes.has(name))
    throw refusal("storageVolExist", "storage", `storage volume name '${name}' already in use.`);
  if (capacity?.$text === undefined) throw refusal("xmlError", "storage", "missing capacity element");
  const path = `${pool.document.target?.path ?? `/dev/${pool.name}`}/${name}`;
  const size = bytesOf(capacity.$text, capacity.unit ?? "bytes");
  const volume: VolumeRecord = { document, name, path, capacity: size, content: content.subarray(0, Number(size)) };
  pool.volumes.set(name, volume);
  return volume;
}

function describe({ document, path, capacity, content }: VolumeRecord): string {
  return formatStorageVolumeXml({
    ...document,
    type: "file",
    key: path,
    capacity: { unit: "bytes", $text: capacity },
    allocation: { unit: "bytes", $text: content.length },
    target: { ...document.target, path, format: { type: "raw", ...document.target?.format } },
  });
}

/** Takes what is uploaded. @throws FakeLibvirtError when it does not fit */
async function receive(
  volume: VolumeRecord,
  stream: FakeLibvirtStream,
  offset: number,
  length: number,
  sparse: boolean,
): Promise<void> {
  let at = offset;
  for await (const part of stream) {
    const isHole = !Buffer.isBuffer(part);
    if (isHole && !sparse) throw refusal("internalError", "streams", "a hole in a stream without holes");
    const size = isHole ? Number(part.hole) : part.length;
    const limit = length === 0 ? Number(volume.capacity) : offset + length;
    if (at + size > limit)
      throw refusal("systemError", "streams", "cannot write to stream: No space left on device", { int1: 28 });
    if (isHole) at += size;
    else {
      if (at + size > volume.content.length) {
        const grown = Buffer.alloc(at + size);
        volume.content.copy(grown);
        volume.content = grown;
      }
      part.copy(volume.content, at);
      at += size;
    }
  }
}

/** Sends what was written, and after it zeros up to the volume's end: as a hole where holes are understood. */
async function send(
  volume: VolumeRecord,
  stream: FakeLibvirtStream,
  { offset, end, sparse }: { readonly offset: number; readonly end: number; readonly sparse: boolean },
): Promise<void> {
  const content = volume.content.subarray(offset, end);
  await stream.write(content);
  let zeros = end - offset - content.length;
  if (sparse && zeros > 0) {
    await stream.writeHole(BigInt(zeros));
    zeros = 0;
  }
  for (const chunk = Buffer.alloc(CHUNK); zeros > 0 && stream.live; zeros -= CHUNK)
    await stream.write(chunk.subarray(0, Math.min(CHUNK, zeros)));
  await stream.end();
}
