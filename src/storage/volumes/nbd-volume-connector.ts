/** Volumes that an NBD server exports; QEMU's own client reaches them, the host has no device for them. */
import { check, isHyperviseError, KeyedLock } from "../../core/index.js";
import type { Check, StateStore } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import type { DiskSource, NbdDiskSource } from "../disks/disk-source.js";
import { VolumeConnectError } from "../errors.js";
import { QemuImg } from "../qemu-img.js";
import { validateConnection } from "./validate-connection.js";
import type { VolumeConnection, VolumeConnector, VolumeConnectOptions } from "./volume-connector.js";
import { VolumeReferences } from "./volume-references.js";

/** `data` of a connection of type `nbd`. The export is raw. */
export interface NbdVolumeData {
  readonly server: NbdDiskSource["server"];
  /** Up to 255 printable characters. Default: the server's unnamed export. */
  readonly exportName?: string;
}

export interface NbdVolumeConnectorOptions {
  /** Where it is kept which instances have a volume connected. */
  readonly state: StateStore;
  /** Runs `qemu-img`, which asks a server for its export. Default: the system's runner. */
  readonly commands?: CommandRunner;
  /** Longest wait for a server, in milliseconds. Default 15000. */
  readonly connectMs?: number;
}

const TYPE = "nbd";

const checkServer: Check<NbdDiskSource["server"]> = check.variants("type", {
  unix: check.object({
    type: check.oneOf(["unix"]),
    path: check.refine(check.absolutePath(), isSocketPath, "a path of at most 107 bytes"),
  }),
  inet: check.object({ type: check.oneOf(["inet"]), host: host(), port: check.integer({ min: 1, max: 65_535 }) }),
});

const checkData: Check<NbdVolumeData> = check.object({
  server: checkServer,
  exportName: check.optional(check.string({ min: 0, max: 255 })),
});

/**
 * Connects volumes of type `nbd`: the server is asked for the export, so that one that is not there fails here and not in
 * a guest. A volume without `multiattach` is connected for one instance at a time.
 */
export class NbdVolumeConnector implements VolumeConnector {
  readonly type = TYPE;
  readonly #qemuImg: QemuImg;
  readonly #references: VolumeReferences;
  readonly #locks = new KeyedLock();

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: NbdVolumeConnectorOptions) {
    const { state, commands, connectMs = 15_000 } = options;
    const shortMs = check.integer({ min: 1 })(connectMs, "connectMs");
    this.#qemuImg = new QemuImg({ ...(commands === undefined ? {} : { commands }), limits: { shortMs } });
    this.#references = new VolumeReferences(state, TYPE);
  }

  validate(connection: VolumeConnection, path: string): void {
    validateConnection(connection, TYPE, path);
    checkData(connection.data, `${path}.data`);
  }

  /** Rejects with `VolumeConnectError` when the server or the export can't be reached, `ConflictError` when another instance has the volume. */
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
        await this.#sizeOf(connection, options);
        await this.#references.add(connection, uuid);
        return sourceOf(connection);
      },
      { signal: options.signal },
    );
  }

  async disconnect(connection: VolumeConnection, instanceUuid: string): Promise<void> {
    validateConnection(connection, TYPE, "connection");
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    await this.#locks.run(connection.volumeId, () => this.#references.remove(connection.volumeId, uuid));
  }

  /** The export's size as the server tells it now. */
  async extend(
    connection: VolumeConnection,
    _instanceUuid: string,
    _sizeBytes: number,
    options: VolumeConnectOptions = {},
  ): Promise<number> {
    this.validate(connection, "connection");
    return this.#sizeOf(connection, options);
  }

  async #sizeOf(connection: VolumeConnection, options: VolumeConnectOptions): Promise<number> {
    const { server, exportName } = sourceOf(connection);
    const where: Record<string, string> =
      server.type === "unix"
        ? { "file.server.type": "unix", "file.server.path": server.path }
        : { "file.server.type": "inet", "file.server.host": server.host, "file.server.port": String(server.port) };
    const named: Record<string, string> = exportName === "" ? {} : { "file.export": exportName };
    try {
      return await this.#qemuImg.sizeOf({ driver: "raw", "file.driver": "nbd", ...where, ...named }, options);
    } catch (error) {
      if (!isHyperviseError(error, "COMMAND_FAILED") && !isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
      throw new VolumeConnectError("the NBD server does not give access to the volume", {
        device: connection.volumeId,
        cause: error,
      });
    }
  }
}

function sourceOf(connection: VolumeConnection): NbdDiskSource {
  const { server, exportName = "" } = checkData(connection.data, "connection.data");
  return { type: "nbd", server, exportName, format: "raw" };
}

function host(): Check<string> {
  const [address, name] = [check.ipAddress(), check.hostname()];
  return (value, path) => {
    try {
      return address(value, path);
    } catch {
      return name(value, path);
    }
  };
}

/** The kernel's bound for the name of a socket. */
function isSocketPath(path: string): boolean {
  return Buffer.byteLength(path) <= 107;
}
