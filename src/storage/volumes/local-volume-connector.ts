/** Volumes that are files or block devices of this host already. */
import { check, InvalidArgumentError, KeyedLock, throwIfAborted } from "../../core/index.js";
import type { StateStore } from "../../core/index.js";
import { isWithin } from "../images/backing-chain.js";
import { DISK_SOURCE_FORMATS } from "../disks/disk-source.js";
import type { DiskSource, DiskSourceFormat, LocalDiskSource } from "../disks/disk-source.js";
import { localVolumeBytes, openLocalVolume } from "./local-volume.js";
import { validateConnection, withEncryption } from "./validate-connection.js";
import type { VolumeConnection, VolumeConnector, VolumeConnectOptions } from "./volume-connector.js";
import { VolumeReferences } from "./volume-references.js";

/** `data` of a connection of type `local`. */
export interface LocalVolumeData {
  /** Absolute path below one of the connector's roots. */
  readonly path: string;
  readonly format: DiskSourceFormat;
  /** Default `file`. */
  readonly kind?: "file" | "block";
}

export interface LocalVolumeConnectorOptions {
  /** Directories, by absolute paths, that volumes may lie in. What a link leads to must lie in one of them too. */
  readonly roots: readonly string[];
  /** Where it is kept which instances have a volume connected. */
  readonly state: StateStore;
  /** Most files of a qcow2 volume's chain, itself included. Default 16. */
  readonly maxChainDepth?: number;
}

const TYPE = "local";

const checkData = check.object({
  path: check.absolutePath(),
  format: check.oneOf(DISK_SOURCE_FORMATS),
  kind: check.optional(check.oneOf(["file", "block"])),
});

/**
 * Connects volumes of type `local`: nothing is done to the host, but what a volume's path leads to is checked, and so is
 * every file that a qcow2 volume refers to. A volume without `multiattach` is connected for one instance at a time.
 */
export class LocalVolumeConnector implements VolumeConnector {
  readonly type = TYPE;
  readonly #roots: readonly string[];
  readonly #maxDepth: number;
  readonly #references: VolumeReferences;
  readonly #locks = new KeyedLock();

  /** @throws InvalidArgumentError for roots that are not absolute paths, or none. Touches nothing. */
  constructor(options: LocalVolumeConnectorOptions) {
    this.#roots = check.array(check.absolutePath(), { min: 1 })(options.roots, "roots");
    this.#maxDepth = check.integer({ min: 1, max: 200 })(options.maxChainDepth ?? 16, "maxChainDepth");
    this.#references = new VolumeReferences(options.state, TYPE);
  }

  validate(connection: VolumeConnection, path: string): void {
    validateConnection(connection, TYPE, path);
    const data = checkData(connection.data, `${path}.data`);
    if (isWithin(data.path, this.#roots)) return;
    throw new InvalidArgumentError({
      field: `${path}.data.path`,
      value: data.path,
      expected: "a path below one of the allowed directories",
    });
  }

  /**
   * Rejects with `VolumeConnectError` when there is no such file or device or it is of the other kind, `ImageUnacceptableError`
   * when it leads out of the roots, `ConflictError` when another instance has the volume and it is not shared.
   */
  async connect(
    connection: VolumeConnection,
    instanceUuid: string,
    options: VolumeConnectOptions = {},
  ): Promise<DiskSource> {
    this.validate(connection, "connection");
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    return this.#locks.run(
      connection.volumeId,
      async () => {
        const source = await this.#open(connection);
        throwIfAborted(options.signal);
        await this.#references.add(connection, uuid);
        return withEncryption(source, connection);
      },
      { signal: options.signal },
    );
  }

  async disconnect(connection: VolumeConnection, instanceUuid: string): Promise<void> {
    validateConnection(connection, TYPE, "connection");
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    await this.#locks.run(connection.volumeId, () => this.#references.remove(connection.volumeId, uuid));
  }

  /** The volume's size as it is now; growing it is its owner's. */
  async extend(
    connection: VolumeConnection,
    _instanceUuid: string,
    _sizeBytes: number,
    options: VolumeConnectOptions = {},
  ): Promise<number> {
    this.validate(connection, "connection");
    throwIfAborted(options.signal);
    return localVolumeBytes(await this.#open(connection));
  }

  /** The instances of this host that have the volume connected. */
  async instancesOf(volumeId: string): Promise<readonly string[]> {
    return this.#references.instancesOf(volumeId);
  }

  #open(connection: VolumeConnection): Promise<LocalDiskSource> {
    const { kind = "file", ...place } = checkData(connection.data, "connection.data");
    const rules = { roots: this.#roots, maxDepth: this.#maxDepth, volumeId: connection.volumeId };
    return openLocalVolume({ ...place, kind }, rules);
  }
}
