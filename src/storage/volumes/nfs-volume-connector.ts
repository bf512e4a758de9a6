/** Volumes that are files of NFS exports: one mount for each export of a host, however many volumes of it are connected. */
import { createHash } from "node:crypto";
import { mkdir, readFile, realpath, rmdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { check, InvalidArgumentError, isHyperviseError, KeyedLock, throwIfAborted } from "../../core/index.js";
import type { Check, StateStore } from "../../core/index.js";
import { systemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { DISK_SOURCE_FORMATS } from "../disks/disk-source.js";
import type { DiskSource, DiskSourceFormat, LocalDiskSource } from "../disks/disk-source.js";
import { StorageError, VolumeConnectError } from "../errors.js";
import { throwUnless } from "../storage-failure.js";
import { localVolumeBytes, openLocalVolume } from "./local-volume.js";
import { SharedHolds } from "./shared-holds.js";
import { validateConnection, withEncryption } from "./validate-connection.js";
import type { VolumeConnection, VolumeConnector, VolumeConnectOptions } from "./volume-connector.js";
import { VolumeReferences } from "./volume-references.js";

/** `data` of a connection of type `nfs`. */
export interface NfsVolumeData {
  /** `server:/path`, with the server in brackets where it is an IPv6 address. */
  readonly export: string;
  /** Name of the file below the export: parts of `[A-Za-z0-9._-]`, none of which begins with a dot. */
  readonly name: string;
  readonly format: DiskSourceFormat;
  /** Mount options of this export, such as `vers=4.2,nconnect=4`; those of the first volume that mounts it hold. Default: the connector's. */
  readonly options?: string;
}

export interface NfsVolumeConnectorOptions {
  /** Absolute path of a directory for nothing else, in which exports are mounted. Made when missing. */
  readonly mountRoot: string;
  /** Where it is kept which instances have a volume connected, and which mounts they need. */
  readonly state: StateStore;
  /** Default `nosuid,nodev,noexec`, which stand in front of a connection's own options, too. */
  readonly mountOptions?: string;
  /** Runs `mount`, `umount` and `stat`. Default: the system's runner. */
  readonly commands?: CommandRunner;
  /** Longest wait for a mount, in milliseconds. Default 60000. */
  readonly mountMs?: number;
  /** Longest wait for a mounted server to answer, after which the mount counts as stale, in milliseconds. Default 10000. */
  readonly answerMs?: number;
  /** Most files of a qcow2 volume's chain, itself included. Default 16. */
  readonly maxChainDepth?: number;
  /** Where the kernel lists what is mounted. Default `/proc/self/mountinfo`. */
  readonly mountTable?: string;
}

const TYPE = "nfs";
const SAFE = "nosuid,nodev,noexec";

const options = check.string({
  max: 1024,
  pattern: /^[a-z][a-z0-9_]*(?:=[A-Za-z0-9._:/@-]+)?(?:,[a-z][a-z0-9_]*(?:=[A-Za-z0-9._:/@-]+)?)*$/,
  expected: "mount options such as vers=4.2,nconnect=4",
});

const checkData: Check<NfsVolumeData> = check.object({
  export: check.string({
    max: 1024,
    pattern: /^(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:]+\]):\/[A-Za-z0-9._/+@=-]*$/,
    expected: "an export such as server:/volumes",
  }),
  name: check.string({
    max: 1024,
    pattern: /^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/,
    expected: "the name of a file below the export",
  }),
  format: check.oneOf(DISK_SOURCE_FORMATS),
  options: check.optional(options),
});

/**
 * Connects volumes of type `nfs`. An export is mounted with the first of its volumes and unmounted with the last; a mount whose server does not know it any more is
 * made anew as long as no guest uses it. Who mounts is written before it is done, so that a process that comes after the death of this one can `disconnect`.
 */
export class NfsVolumeConnector implements VolumeConnector {
  readonly type = TYPE;
  readonly #options: Required<Omit<NfsVolumeConnectorOptions, "state">>;
  readonly #references: VolumeReferences;
  readonly #mounts: SharedHolds;
  readonly #locks = new KeyedLock();

  /** @throws InvalidArgumentError for an option out of its range. Touches nothing. */
  constructor(given: NfsVolumeConnectorOptions) {
    const { state, commands = systemCommandRunner } = given;
    this.#options = {
      commands,
      mountRoot: check.absolutePath()(given.mountRoot, "mountRoot"),
      mountOptions: options(given.mountOptions ?? SAFE, "mountOptions"),
      mountMs: check.integer({ min: 1 })(given.mountMs ?? 60_000, "mountMs"),
      answerMs: check.integer({ min: 1 })(given.answerMs ?? 10_000, "answerMs"),
      maxChainDepth: check.integer({ min: 1, max: 200 })(given.maxChainDepth ?? 16, "maxChainDepth"),
      mountTable: check.absolutePath()(given.mountTable ?? "/proc/self/mountinfo", "mountTable"),
    };
    this.#references = new VolumeReferences(state, TYPE);
    this.#mounts = new SharedHolds(state, TYPE);
  }

  validate(connection: VolumeConnection, path: string): void {
    validateConnection(connection, TYPE, path);
    const data = checkData(connection.data, `${path}.data`);
    if (data.options === undefined || !/(?:^|,)(?:suid|dev|exec|remount|bind)(?:,|$)/.test(data.options)) return;
    throw new InvalidArgumentError({
      field: `${path}.data.options`,
      value: data.options,
      expected: "options of NFS, none that lets others' files be more than data",
    });
  }

  /**
   * Rejects with `VolumeConnectError` when the export can't be mounted, does not answer or has no such file; `ImageUnacceptableError` when the file leads out of it;
   * `ConflictError` when another instance has the volume and it is not shared.
   */
  async connect(
    connection: VolumeConnection,
    instanceUuid: string,
    { signal }: VolumeConnectOptions = {},
  ): Promise<DiskSource> {
    this.validate(connection, "connection");
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    const data = checkData(connection.data, "connection.data");
    return this.#locks.run(
      connection.volumeId,
      async () => {
        const known = (await this.#references.instancesOf(connection.volumeId)).includes(uuid);
        await this.#references.add(connection, uuid);
        try {
          const source = await this.#mounts.hold(
            data.export,
            holderOf(connection, uuid),
            async () => {
              await this.#mount(data, connection, signal);
              throwIfAborted(signal);
              return this.#open(connection);
            },
            () => this.#unmount(data),
          );
          return withEncryption(source, connection);
        } catch (error) {
          if (!known) await this.#references.remove(connection.volumeId, uuid);
          throw error;
        }
      },
      { signal },
    );
  }

  /** Rejects with `StorageError` when the export can't be unmounted; then it counts as connected, and disconnecting may be tried again. */
  async disconnect(connection: VolumeConnection, instanceUuid: string): Promise<void> {
    this.validate(connection, "connection");
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    const data = checkData(connection.data, "connection.data");
    await this.#locks.run(connection.volumeId, async () => {
      await this.#mounts.release(data.export, holderOf(connection, uuid), () => this.#unmount(data));
      await this.#references.remove(connection.volumeId, uuid);
    });
  }

  /** The volume's size as the server tells it now; growing the file is its owner's. */
  async extend(
    connection: VolumeConnection,
    _instanceUuid: string,
    _sizeBytes: number,
    { signal }: VolumeConnectOptions = {},
  ): Promise<number> {
    this.validate(connection, "connection");
    throwIfAborted(signal);
    await this.#requireAnswer(checkData(connection.data, "connection.data"), connection, signal);
    return localVolumeBytes(await this.#open(connection));
  }

  /** The instances of this host that have the volume connected. */
  async instancesOf(volumeId: string): Promise<readonly string[]> {
    return this.#references.instancesOf(volumeId);
  }

  /** Where an export is mounted while a volume of it is connected. */
  mountPointOf(exported: string): string {
    return join(this.#options.mountRoot, createHash("sha256").update(exported).digest("hex").slice(0, 32));
  }

  #open(connection: VolumeConnection): Promise<LocalDiskSource> {
    const { export: exported, name, format } = checkData(connection.data, "connection.data");
    const root = this.mountPointOf(exported);
    const rules = { roots: [root], maxDepth: this.#options.maxChainDepth, volumeId: connection.volumeId };
    return openLocalVolume({ path: join(root, name), format, kind: "file" }, rules);
  }

  async #mount(data: NfsVolumeData, connection: VolumeConnection, signal: AbortSignal | undefined): Promise<void> {
    const { commands, mountOptions, mountMs } = this.#options;
    const point = this.mountPointOf(data.export);
    if (await this.#isMounted(point)) {
      const holders = await this.#mounts.holdersOf(data.export);
      if (holders.length > 1) return this.#requireAnswer(data, connection, signal);
      if (await this.#answers(point, signal)) return;
      await this.#unmount(data);
    }
    await mkdir(point, { recursive: true, mode: 0o711 });
    const all = data.options === undefined ? mountOptions : `${mountOptions},${data.options}`;
    try {
      await commands.run(["mount", "-t", "nfs", "-o", all, "--", data.export, point], { signal, timeoutMs: mountMs });
    } catch (error) {
      if (!isHyperviseError(error, "COMMAND_FAILED") && !isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
      throw new VolumeConnectError("the volume's export can't be mounted", {
        device: connection.volumeId,
        cause: error,
        detail: data.export,
      });
    }
  }

  async #requireAnswer(
    data: NfsVolumeData,
    { volumeId }: VolumeConnection,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (await this.#answers(this.mountPointOf(data.export), signal)) return;
    throw new VolumeConnectError("the volume's export is mounted, but its server does not answer", {
      device: volumeId,
      detail: data.export,
      remedy: "bring the server back; or detach all volumes of the export, which unmounts it",
    });
  }

  /** Another process asks: one that a dead server keeps waiting can be given up. What it asks for, the file system's state, no client keeps. */
  async #answers(point: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { commands, answerMs } = this.#options;
    try {
      await commands.run(["stat", "-f", "--", `${point}/.`], { signal, timeoutMs: answerMs });
      return true;
    } catch (error) {
      if (isHyperviseError(error, "COMMAND_FAILED") || isHyperviseError(error, "DEADLINE_EXCEEDED")) return false;
      throw error;
    }
  }

  /** A mount whose server is gone is taken out of sight at once, and goes when nobody uses it. */
  async #unmount({ export: exported }: NfsVolumeData): Promise<void> {
    const { commands, mountMs } = this.#options;
    const point = this.mountPointOf(exported);
    if (await this.#isMounted(point)) {
      const lazy = (await this.#answers(point, undefined)) ? [] : ["-l"];
      try {
        await commands.run(["umount", ...lazy, "--", point], { timeoutMs: mountMs });
      } catch (error) {
        if (await this.#isMounted(point))
          throw new StorageError("the volume's export can't be unmounted", {
            retryable: true,
            cause: error,
            detail: exported,
          });
      }
    }
    await rmdir(point).catch(throwUnless("ENOENT"));
  }

  async #isMounted(point: string): Promise<boolean> {
    const table = await readFile(this.#options.mountTable, "utf8");
    // Only the part above the mount is looked at: its own root may be on a server that does not answer.
    const root = await realpath(dirname(point)).catch(throwUnless("ENOENT"));
    const real = join(root ?? dirname(point), basename(point));
    // The fifth field is where it is mounted; only white space and backslashes are written otherwise than they are.
    return table.split("\n").some((line) => unescape(line.split(" ")[4] ?? "") === real);
  }
}

function holderOf({ volumeId }: VolumeConnection, uuid: string): string {
  return `${volumeId} ${uuid}`;
}

function unescape(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
