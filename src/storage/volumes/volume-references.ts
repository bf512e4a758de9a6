/** Which instances of this host a volume is connected for, kept where it outlives the process. */
import { createHash } from "node:crypto";
import { check, ConflictError, StateCorruptError } from "../../core/index.js";
import type { StateStore } from "../../core/index.js";
import type { VolumeConnection } from "./volume-connector.js";

const checkRecord = check.object({
  volumeId: check.string({ max: 128 }),
  multiattach: check.boolean(),
  instances: check.array(check.uuid(), { min: 1 }),
});

interface VolumeRecord {
  readonly volumeId: string;
  readonly multiattach: boolean;
  readonly instances: readonly string[];
}

/** Calls for one volume must not overlap. */
export class VolumeReferences {
  readonly #state: StateStore;
  readonly #prefix: string;

  /** `type` is that of the connector: volumes of two connectors are two volumes. */
  constructor(state: StateStore, type: string) {
    this.#state = state;
    this.#prefix = `volumes/${type}`;
  }

  /**
   * Notes that the instance has the volume connected; true when it is the first.
   * @throws ConflictError when another has it and either of them does not share it.
   */
  async add(connection: VolumeConnection, instanceUuid: string): Promise<boolean> {
    const record = await this.#read(connection.volumeId);
    if (record?.instances.includes(instanceUuid) === true) return false;
    const shared = connection.multiattach === true && record?.multiattach !== false;
    if (record !== undefined && !shared) {
      throw new ConflictError(`the volume ${connection.volumeId} is connected for another instance`, {
        device: connection.volumeId,
        remedy: "detach it there first, or attach it with multiattach in both places",
      });
    }
    await this.#write({
      volumeId: connection.volumeId,
      multiattach: connection.multiattach === true,
      instances: [...(record?.instances ?? []), instanceUuid],
    });
    return record === undefined;
  }

  /** Success when it is not connected for the instance; true when the last reference is gone. */
  async remove(volumeId: string, instanceUuid: string): Promise<boolean> {
    const record = await this.#read(volumeId);
    if (record === undefined) return true;
    const instances = record.instances.filter((uuid) => uuid !== instanceUuid);
    if (instances.length === record.instances.length) return false;
    if (instances.length > 0) await this.#write({ ...record, instances });
    else await this.#state.delete(this.#keyOf(volumeId));
    return instances.length === 0;
  }

  async instancesOf(volumeId: string): Promise<readonly string[]> {
    return (await this.#read(volumeId))?.instances ?? [];
  }

  async #read(volumeId: string): Promise<VolumeRecord | undefined> {
    const key = this.#keyOf(volumeId);
    const value = await this.#state.get(key);
    if (value === undefined) return undefined;
    try {
      return checkRecord(value, key);
    } catch (error) {
      throw new StateCorruptError("the record of a volume's connections can't be read", {
        cause: error,
        detail: key,
        device: volumeId,
      });
    }
  }

  async #write(record: VolumeRecord): Promise<void> {
    await this.#state.put(this.#keyOf(record.volumeId), { ...record, instances: [...record.instances] });
  }

  /** A volume's id may have characters and lengths that a key may not. */
  #keyOf(volumeId: string): string {
    return `${this.#prefix}/${createHash("sha256").update(volumeId).digest("hex")}`;
  }
}
