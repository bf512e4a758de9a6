/** What the connectors have in common whose volumes QEMU reaches by itself: the host has no device for them, and nothing to undo but a record. */
import { check, isHyperviseError, KeyedLock } from "../../core/index.js";
import type { StateStore } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import type { DiskSource } from "../disks/disk-source.js";
import { SourceInspector } from "../disks/source-inspector.js";
import { VolumeConnectError } from "../errors.js";
import { MemorySecretStore } from "../secret-store.js";
import type { SecretStore } from "../secret-store.js";
import { validateConnection, withEncryption } from "./validate-connection.js";
import type { VolumeConnection, VolumeConnector, VolumeConnectOptions } from "./volume-connector.js";
import { VolumeReferences } from "./volume-references.js";

export interface QemuVolumeConnectorOptions {
  /** Where it is kept which instances have a volume connected. */
  readonly state: StateStore;
  /** Where the passwords and keys are that connections name by their ids. Default: there are none. */
  readonly secrets?: SecretStore;
  /** Runs `qemu-img`, which asks a server for its volume. Default: the system's runner. */
  readonly commands?: CommandRunner;
  /** Longest wait for a server, in milliseconds. Default 15000. */
  readonly connectMs?: number;
}

/**
 * The server is asked for the volume, so that one that is not there fails here and not in a guest. A volume without `multiattach` is connected for one instance at a
 * time.
 */
export abstract class QemuVolumeConnector implements VolumeConnector {
  readonly type: string;
  readonly #inspector: SourceInspector;
  readonly #references: VolumeReferences;
  readonly #locks = new KeyedLock();

  /** @throws InvalidArgumentError for an option out of its range. */
  protected constructor(type: string, options: QemuVolumeConnectorOptions) {
    const { state, secrets = new MemorySecretStore(), commands, connectMs = 15_000 } = options;
    const shortMs = check.integer({ min: 1 })(connectMs, "connectMs");
    this.type = type;
    this.#inspector = new SourceInspector({
      secrets,
      ...(commands === undefined ? {} : { commands }),
      limits: { shortMs },
    });
    this.#references = new VolumeReferences(state, type);
  }

  /** The places that a volume may be reached at, the best first. Throws `InvalidArgumentError` that names the field below `path`. */
  protected abstract sourcesOf(connection: VolumeConnection, path: string): readonly DiskSource[];

  validate(connection: VolumeConnection, path: string): void {
    validateConnection(connection, this.type, path);
    this.sourcesOf(connection, path);
  }

  /**
   * Rejects with `VolumeConnectError` when the server or the volume can't be reached, `SecretNotFoundError`, `ConflictError` when another instance has the volume.
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
        const { source } = await this.#reach(connection, options);
        await this.#references.add(connection, uuid);
        return withEncryption(source, connection);
      },
      { signal: options.signal },
    );
  }

  async disconnect(connection: VolumeConnection, instanceUuid: string): Promise<void> {
    validateConnection(connection, this.type, "connection");
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    await this.#locks.run(connection.volumeId, () => this.#references.remove(connection.volumeId, uuid));
  }

  /** The volume's size as the server tells it now. */
  async extend(
    connection: VolumeConnection,
    _instanceUuid: string,
    _sizeBytes: number,
    options: VolumeConnectOptions = {},
  ): Promise<number> {
    this.validate(connection, "connection");
    return (await this.#reach(connection, options)).sizeBytes;
  }

  /** The instances of this host that have the volume connected. */
  async instancesOf(volumeId: string): Promise<readonly string[]> {
    return this.#references.instancesOf(volumeId);
  }

  async #reach(
    connection: VolumeConnection,
    { signal }: VolumeConnectOptions,
  ): Promise<{ readonly source: DiskSource; readonly sizeBytes: number }> {
    const failures: Error[] = [];
    for (const source of this.sourcesOf(connection, "connection")) {
      try {
        const sizeBytes = await this.#inspector.storedBytes(source, signal === undefined ? {} : { signal });
        return { source, sizeBytes };
      } catch (error) {
        if (!isHyperviseError(error, "COMMAND_FAILED") && !isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
        failures.push(error);
      }
    }
    throw new VolumeConnectError(`the ${this.type} server does not give access to the volume`, {
      device: connection.volumeId,
      cause: failures.length === 1 ? failures[0] : new AggregateError(failures, "no server gives access"),
    });
  }
}
