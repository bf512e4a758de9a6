/** The durable records of the host's instances, with what must be unique among them. */
import { ConflictError, StateCorruptError } from "../core/index.js";
import type { JsonObject, JsonValue, StateStore } from "../core/index.js";
import { devicesOf, hostDeviceOf } from "./attached-devices.js";
import { InstanceExistsError, InstanceNotFoundError } from "./errors.js";
import type { InstanceRecord } from "./instance-record.js";

const PREFIX = "instances/";

/**
 * Records under `instances/<uuid>`, held in memory once loaded. Names, port ids, MAC addresses, devices and vsock addresses of the host belong to one instance each, a volume too unless every holder
 * has it `multiattach`; they are claimed by `put` before it writes, so that two operations at once can't both have them.
 */
export class InstanceRecords {
  readonly #store: StateStore;
  readonly #records = new Map<string, InstanceRecord>();
  readonly #names = new Map<string, string>();
  readonly #ports = new Map<string, string>();
  readonly #macAddresses = new Map<string, string>();
  readonly #volumes = new Map<string, Map<string, boolean>>();
  readonly #hostParts = new Map<string, string>();

  constructor(store: StateStore) {
    this.#store = store;
  }

  /** Reads all records anew. @throws StateCorruptError naming the first that can't be read. */
  async load(): Promise<void> {
    const records: InstanceRecord[] = [];
    for (const key of await this.#store.list(PREFIX)) {
      const value = await this.#store.get(key);
      if (value !== undefined) records.push(parseRecord(key, value));
    }
    for (const uuid of [...this.#records.keys()]) this.#drop(uuid);
    for (const record of records) this.#hold(record);
  }

  get size(): number {
    return this.#records.size;
  }

  get(uuid: string): InstanceRecord | undefined {
    return this.#records.get(uuid);
  }

  /** @throws InstanceNotFoundError */
  require(uuid: string): InstanceRecord {
    const record = this.#records.get(uuid);
    if (record === undefined) throw new InstanceNotFoundError(uuid);
    return record;
  }

  list(): readonly InstanceRecord[] {
    return [...this.#records.values()];
  }

  uuids(): readonly string[] {
    return [...this.#records.keys()];
  }

  /** Uuids of the instances that have the volume or are about to. */
  volumeHolders(volumeId: string): readonly string[] {
    return [...(this.#volumes.get(volumeId)?.keys() ?? [])];
  }

  /**
   * Stores a record; it is durable and visible when this resolves. When storing fails, what was visible before stays.
   * @throws InstanceExistsError when another instance has the name; ConflictError when one has a port, a MAC address or a volume.
   */
  async put(record: InstanceRecord): Promise<void> {
    this.#check(record);
    const before = this.#records.get(record.uuid);
    this.#claim(record);
    try {
      await this.#store.put(PREFIX + record.uuid, record as unknown as JsonValue);
    } catch (error) {
      this.#release(record);
      if (before !== undefined) this.#claim(before);
      throw error;
    }
    if (before !== undefined) this.#release(before);
    this.#hold(record);
  }

  /** Stores what `change` makes of the record as it is now. @throws InstanceNotFoundError, and as `put`. */
  async update(uuid: string, change: (record: InstanceRecord) => InstanceRecord): Promise<InstanceRecord> {
    const record = change(this.require(uuid));
    await this.put(record);
    return record;
  }

  /** Success when there is none. */
  async delete(uuid: string): Promise<void> {
    await this.#store.delete(PREFIX + uuid);
    this.#drop(uuid);
  }

  #hold(record: InstanceRecord): void {
    this.#records.set(record.uuid, record);
    this.#claim(record);
  }

  #drop(uuid: string): void {
    const record = this.#records.get(uuid);
    this.#records.delete(uuid);
    if (record !== undefined) this.#release(record);
  }

  #check(record: InstanceRecord): void {
    const { uuid, name } = record;
    const instance = { uuid, name };
    if ((this.#names.get(name) ?? uuid) !== uuid) throw new InstanceExistsError(instance);
    for (const vif of vifsOf(record)) {
      const port = this.#ports.get(vif.id) ?? uuid;
      const mac = this.#macAddresses.get(vif.macAddress) ?? uuid;
      if (port !== uuid)
        throw new ConflictError(`port ${vif.id} belongs to another instance`, { instance, device: vif.id });
      if (mac !== uuid)
        throw new ConflictError(`MAC address ${vif.macAddress} belongs to another instance`, {
          instance,
          device: vif.id,
        });
    }
    for (const { part, device } of hostPartsOf(record)) {
      if ((this.#hostParts.get(part) ?? uuid) !== uuid)
        throw new ConflictError(`${part} belongs to another instance`, { instance, device });
    }
    for (const { volumeId, multiattach } of volumesOf(record)) {
      const others = [...(this.#volumes.get(volumeId) ?? [])].filter(([holder]) => holder !== uuid);
      if (others.length === 0 || (multiattach && others.every(([, shared]) => shared))) continue;
      throw new ConflictError(`volume ${volumeId} is attached to another instance`, { instance, device: volumeId });
    }
  }

  #claim(record: InstanceRecord): void {
    const { uuid, name } = record;
    this.#names.set(name, uuid);
    for (const vif of vifsOf(record)) {
      this.#ports.set(vif.id, uuid);
      this.#macAddresses.set(vif.macAddress, uuid);
    }
    for (const { part } of hostPartsOf(record)) this.#hostParts.set(part, uuid);
    for (const { volumeId, multiattach } of volumesOf(record)) {
      const holders = this.#volumes.get(volumeId);
      if (holders === undefined) this.#volumes.set(volumeId, new Map([[uuid, multiattach]]));
      else holders.set(uuid, multiattach);
    }
  }

  #release(record: InstanceRecord): void {
    this.#names.delete(record.name);
    for (const vif of vifsOf(record)) {
      this.#ports.delete(vif.id);
      this.#macAddresses.delete(vif.macAddress);
    }
    for (const { part } of hostPartsOf(record)) this.#hostParts.delete(part);
    for (const { volumeId } of volumesOf(record)) {
      const holders = this.#volumes.get(volumeId);
      holders?.delete(record.uuid);
      if (holders?.size === 0) this.#volumes.delete(volumeId);
    }
  }
}

/** What the instance has or is about to have: the spec says what is wanted, the record what is there. */
function vifsOf(record: InstanceRecord): readonly { readonly id: string; readonly macAddress: string }[] {
  return [...(record.spec.vifs ?? []), ...record.vifs.map((plugged) => plugged.vif)];
}

/** What only one guest of the host can have, and the device that it is in the guest. */
function hostPartsOf(record: InstanceRecord): readonly { readonly part: string; readonly device: string }[] {
  const devices = devicesOf(record).flatMap((device) => {
    const part = hostDeviceOf(device);
    return part === undefined ? [] : { part, device: device.id };
  });
  const { vsock } = record.spec.hardware ?? {};
  return vsock === undefined ? devices : [...devices, { part: `vsock address ${vsock.cid}`, device: "vsock" }];
}

function volumesOf(record: InstanceRecord): readonly { readonly volumeId: string; readonly multiattach: boolean }[] {
  const connections = [...(record.spec.blockDevices ?? []), ...record.volumes].map((device) => device.connection);
  return connections
    .filter((connection) => connection !== undefined)
    .map(({ volumeId, multiattach }) => ({ volumeId, multiattach: multiattach === true }));
}

function parseRecord(key: string, value: JsonValue): InstanceRecord {
  const corrupt = (what: string): StateCorruptError =>
    new StateCorruptError("the record of an instance can't be read", {
      detail: `${key}: ${what}`,
      remedy: "Look at the record, clean up by hand what it names, and remove it.",
    });
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw corrupt("not an object");
  const record = value as JsonObject;
  if (record["version"] !== 1) throw corrupt(`version ${JSON.stringify(record["version"])}`);
  if (record["uuid"] !== key.slice(PREFIX.length) || typeof record["name"] !== "string") throw corrupt("uuid or name");
  if (typeof record["spec"] !== "object" || record["spec"] === null) throw corrupt("spec");
  for (const list of ["disks", "volumes", "vifs"]) if (!Array.isArray(record[list])) throw corrupt(list);
  return value as unknown as InstanceRecord;
}
