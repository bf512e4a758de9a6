/** How a simulated host reaches the volumes of the world. */
import { InvalidArgumentError } from "../core/index.js";
import { VolumeConnectError, withEncryption } from "../storage/index.js";
import type { DiskSource, VolumeConnection, VolumeConnectOptions, VolumeConnector } from "../storage/index.js";
import { FakeUnreachableError } from "./errors.js";
import type { FaultPoint } from "./fault-points.js";
import type { FakeHost } from "./host.js";
import type { FakeProcess, Halfway } from "./process.js";
import type { FakeFile } from "./storage.js";
import type { FakeVolumeType } from "./volume-registry.js";

const VOLUME_ID = /^[A-Za-z0-9._-]{1,128}$/;

export class FakeVolumeConnector implements VolumeConnector {
  readonly type: FakeVolumeType;
  readonly #process: FakeProcess;
  readonly #host: FakeHost;

  constructor(process: FakeProcess, type: FakeVolumeType) {
    this.#process = process;
    this.#host = process.host;
    this.type = type;
  }

  /** `data.file` of a volume of type `fake-file`: the name of a file over the volume's own. */
  validate(connection: VolumeConnection, path: string): void {
    const { volumeId, data } = connection;
    if (!VOLUME_ID.test(volumeId)) {
      throw new InvalidArgumentError({
        field: `${path}.volumeId`,
        value: volumeId,
        expected: "1 to 128 of A-Z a-z 0-9 . _ -",
      });
    }
    const { file } = data;
    if (file !== undefined && (this.type !== "fake-file" || typeof file !== "string" || !VOLUME_ID.test(file))) {
      throw new InvalidArgumentError({
        field: `${path}.data.file`,
        value: file,
        expected: "the name of a file, of a volume of type fake-file",
      });
    }
    const [surplus] = Object.keys(data).filter((name) => name !== "file");
    if (surplus !== undefined) {
      throw new InvalidArgumentError({
        field: `${path}.data.${surplus}`,
        value: data[surplus],
        expected: "nothing of this name",
      });
    }
  }

  connect(connection: VolumeConnection, instanceUuid: string, options: VolumeConnectOptions = {}): Promise<DiskSource> {
    const { volumeId, data } = connection;
    return this.#call("volumes.connect", volumeId, instanceUuid, options, async (halfway) => {
      const file = this.#file(typeof data["file"] === "string" ? data["file"] : volumeId);
      const connected = this.#host.volumes.get(volumeId)?.users.has(instanceUuid) === true;
      if (!connected && !this.#host.world.reachable(this.#host, "services"))
        throw new FakeUnreachableError("The volume service");
      const volume = this.#host.volumes.get(volumeId) ?? { volumeId, type: this.type, users: new Set<string>() };
      this.#host.volumes.set(volumeId, volume);
      await halfway();
      volume.users.add(instanceUuid);
      const source: DiskSource =
        this.type === "fake"
          ? { type: "block", path: `${this.#host.world.volumes.devicePrefix}${volumeId}`, format: file.format }
          : { type: "file", path: file.path, format: file.format };
      return withEncryption(source, connection);
    });
  }

  disconnect(connection: VolumeConnection, instanceUuid: string): Promise<void> {
    const { volumeId } = connection;
    return this.#call("volumes.disconnect", volumeId, instanceUuid, {}, () => {
      const volume = this.#host.volumes.get(volumeId);
      volume?.users.delete(instanceUuid);
      if (volume?.users.size === 0) this.#host.volumes.delete(volumeId);
    });
  }

  extend(
    connection: VolumeConnection,
    instanceUuid: string,
    sizeBytes: number,
    options: VolumeConnectOptions = {},
  ): Promise<number> {
    const { volumeId } = connection;
    return this.#call("volumes.extend", volumeId, instanceUuid, options, () => {
      const { volumes } = this.#host.world;
      const file = this.#file(volumeId);
      if (file.virtualSizeBytes < sizeBytes) volumes.extend(volumeId, sizeBytes);
      return file.virtualSizeBytes;
    });
  }

  #file(volumeId: string): FakeFile {
    const file = this.#host.world.volumes.file(volumeId);
    if (file === undefined) {
      throw new VolumeConnectError(`Volume ${volumeId} is not there`, {
        retryable: false,
        device: volumeId,
        remedy: "Make it first, with world.volumes.create().",
      });
    }
    return file;
  }

  #call<T>(
    point: FaultPoint,
    subject: string,
    instanceUuid: string,
    options: VolumeConnectOptions,
    body: (halfway: Halfway) => T | Promise<T>,
  ): Promise<T> {
    return this.#process.pass(point, { instanceUuid, subject, signal: options.signal }, body);
  }
}
