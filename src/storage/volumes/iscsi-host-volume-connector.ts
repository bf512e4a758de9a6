/** Volumes of iSCSI targets that the host's kernel attaches: a block device, or a map of several paths to one. */
import { join } from "node:path";
import { check, isHyperviseError, KeyedLock, throwIfAborted } from "../../core/index.js";
import type { StateStore } from "../../core/index.js";
import { systemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import type { BlockDiskSource, DiskSource } from "../disks/disk-source.js";
import { StorageError, VolumeConnectError } from "../errors.js";
import { MemorySecretStore, requireSecret } from "../secret-store.js";
import type { SecretStore } from "../secret-store.js";
import { IscsiSessions } from "./iscsi-sessions.js";
import type { IscsiLogin } from "./iscsi-sessions.js";
import { iscsiDataCheck } from "./iscsi-volume-data.js";
import type { IscsiVolumeData } from "./iscsi-volume-data.js";
import { ScsiDevices } from "./scsi-devices.js";
import type { MultipathMap } from "./scsi-devices.js";
import { SharedHolds } from "./shared-holds.js";
import { validateConnection, withEncryption } from "./validate-connection.js";
import type { VolumeConnection, VolumeConnector, VolumeConnectOptions } from "./volume-connector.js";
import { VolumeReferences } from "./volume-references.js";

export interface IscsiHostVolumeConnectorOptions {
  /** Where it is kept which instances have a volume connected, and which sessions they need. */
  readonly state: StateStore;
  /** Where the passwords are that connections name by their ids. Default: there are none. */
  readonly secrets?: SecretStore;
  /** Uses all portals of a target at once, through `multipathd`, which has to run. Default false: the first that answers. */
  readonly multipath?: boolean;
  /** Runs `iscsiadm`, `udevadm`, `multipathd`, `multipath`, `blockdev`. Default: the system's runner. */
  readonly commands?: CommandRunner;
  /** Longest wait for one command, in milliseconds. Default 120000: what iscsiadm takes for a target that does not answer. */
  readonly commandMs?: number;
  /** How often a unit is looked for that a target does not show yet: 1 to 20. Default 5. */
  readonly scans?: number;
  /** Default `/sys`. */
  readonly sysfs?: string;
  /** Default `/dev`. */
  readonly devices?: string;
  /** Where `iscsiadm` may keep its records. Default `/etc/iscsi/nodes` and `/var/lib/iscsi/nodes`. */
  readonly nodeDatabases?: readonly string[];
}

const TYPE = "iscsi";

/**
 * Connects volumes of type `iscsi` by the host's initiator, in place of `IscsiVolumeConnector`. A session with a target is shared by its units, and ended with the last of them;
 * a unit is shared by the instances that have it. What is about to be done is written before, so that a process that comes after the death of this one can
 * `disconnect`.
 */
export class IscsiHostVolumeConnector implements VolumeConnector {
  readonly type = TYPE;
  readonly #secrets: SecretStore;
  readonly #commands: CommandRunner;
  readonly #multipath: boolean;
  readonly #commandMs: number;
  readonly #scans: number;
  readonly #devices: string;
  readonly #scsi: ScsiDevices;
  readonly #sessions: IscsiSessions;
  readonly #references: VolumeReferences;
  readonly #targets: SharedHolds;
  readonly #locks = new KeyedLock();

  /** @throws InvalidArgumentError for an option out of its range. Touches nothing. */
  constructor(options: IscsiHostVolumeConnectorOptions) {
    const { state, secrets = new MemorySecretStore(), multipath = false, commands = systemCommandRunner } = options;
    const { nodeDatabases = ["/etc/iscsi/nodes", "/var/lib/iscsi/nodes"] } = options;
    this.#secrets = secrets;
    this.#commands = commands;
    this.#multipath = check.boolean()(multipath, "multipath");
    this.#commandMs = check.integer({ min: 1 })(options.commandMs ?? 120_000, "commandMs");
    this.#scans = check.integer({ min: 1, max: 20 })(options.scans ?? 5, "scans");
    this.#devices = check.absolutePath()(options.devices ?? "/dev", "devices");
    this.#scsi = new ScsiDevices(check.absolutePath()(options.sysfs ?? "/sys", "sysfs"));
    this.#sessions = new IscsiSessions({
      commands,
      commandMs: this.#commandMs,
      nodeDatabases: check.array(check.absolutePath(), { min: 1, max: 8 })(nodeDatabases, "nodeDatabases"),
    });
    this.#references = new VolumeReferences(state, TYPE);
    this.#targets = new SharedHolds(state, TYPE);
  }

  validate(connection: VolumeConnection, path: string): void {
    validateConnection(connection, TYPE, path);
    iscsiDataCheck(connection.data, `${path}.data`);
  }

  /**
   * Rejects with `VolumeConnectError` when no portal can be logged in to or the target does not show the unit; `SecretNotFoundError`; `ConflictError` when another instance
   * has the volume and it is not shared.
   */
  async connect(
    connection: VolumeConnection,
    instanceUuid: string,
    { signal }: VolumeConnectOptions = {},
  ): Promise<DiskSource> {
    this.validate(connection, "connection");
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    const data = iscsiDataCheck(connection.data, "connection.data");
    return this.#locks.run(
      connection.volumeId,
      async () => {
        const known = await this.#references.instancesOf(connection.volumeId);
        await this.#references.add(connection, uuid);
        try {
          const source = await this.#targets.hold(
            data.target,
            connection.volumeId,
            () => this.#attach(data, signal),
            () => this.#logout(data.target),
          );
          return withEncryption(source, connection);
        } catch (error) {
          if (known.length === 0) await this.#detach(data).catch(() => undefined);
          if (!known.includes(uuid)) await this.#references.remove(connection.volumeId, uuid);
          throw explain(error, connection);
        }
      },
      { signal },
    );
  }

  /** Rejects with `StorageError` when the host does not let go of the unit or the target; then it counts as connected, and disconnecting may be tried again. */
  async disconnect(connection: VolumeConnection, instanceUuid: string): Promise<void> {
    this.validate(connection, "connection");
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    const data = iscsiDataCheck(connection.data, "connection.data");
    await this.#locks.run(connection.volumeId, async () => {
      const others = (await this.#references.instancesOf(connection.volumeId)).filter((other) => other !== uuid);
      try {
        if (others.length === 0) {
          if ((await this.#targets.holdersOf(data.target)).includes(connection.volumeId)) await this.#detach(data);
          await this.#targets.release(data.target, connection.volumeId, () => this.#logout(data.target));
        }
      } catch (error) {
        throw new StorageError("the host does not let go of the volume", {
          device: connection.volumeId,
          retryable: true,
          cause: error,
        });
      }
      await this.#references.remove(connection.volumeId, uuid);
    });
  }

  /** Has the host read the volume's size anew, by every path and in their map. */
  async extend(
    connection: VolumeConnection,
    _instanceUuid: string,
    _sizeBytes: number,
    { signal }: VolumeConnectOptions = {},
  ): Promise<number> {
    this.validate(connection, "connection");
    throwIfAborted(signal);
    const { target, lun } = iscsiDataCheck(connection.data, "connection.data");
    const disks = await this.#disksOf(target, lun);
    const [disk] = disks;
    if (disk === undefined)
      throw new VolumeConnectError("the host does not have the volume", { device: connection.volumeId });
    for (const path of disks) await this.#scsi.rescan(path);
    const map = await this.#mapOf(disks);
    if (map === undefined) return this.#scsi.bytesOf(disk);
    await this.#run(["multipathd", "resize", "map", map.name], signal);
    return this.#scsi.bytesOf(map.device);
  }

  /** The instances of this host that have the volume connected. */
  async instancesOf(volumeId: string): Promise<readonly string[]> {
    return this.#references.instancesOf(volumeId);
  }

  async #attach(data: IscsiVolumeData, signal: AbortSignal | undefined): Promise<BlockDiskSource> {
    const { target, lun } = data;
    await this.#login(data, signal);
    const disk = await this.#findDisk(target, lun, signal);
    if (!this.#multipath) return this.#source(disk);
    for (const path of await this.#disksOf(target, lun)) await this.#run(["multipathd", "add", "path", path], signal);
    await this.#settle(signal);
    const map = await this.#mapOf(await this.#disksOf(target, lun));
    // A unit that the host's rules take no map for has one path like any other.
    return map === undefined ? this.#source(disk) : this.#source(join("mapper", map.name));
  }

  /** All portals with multipath, of which one has to answer; the first that answers without. */
  async #login(data: IscsiVolumeData, signal: AbortSignal | undefined): Promise<void> {
    const { target, portals, auth } = data;
    const password = auth === undefined ? undefined : await requireSecret(this.#secrets, auth.secretId);
    const present = await this.#scsi.sessionsOf(target);
    if (present.length > 0 && !this.#multipath) return;
    const failures: unknown[] = [];
    for (const portal of portals) {
      const login: IscsiLogin = {
        target,
        portal,
        ...(auth === undefined || password === undefined ? {} : { auth: { username: auth.username, password } }),
      };
      try {
        await this.#sessions.login(login, signal);
        if (!this.#multipath) return;
      } catch (error) {
        if (!isHyperviseError(error, "COMMAND_FAILED") && !isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
        failures.push(error);
      }
    }
    if (failures.length === portals.length)
      throw new VolumeConnectError("no portal of the volume's target can be logged in to", {
        cause: failures.length === 1 ? failures[0] : new AggregateError(failures, "no portal answers"),
        detail: target,
      });
  }

  /** A session that shows the host other disks is somebody else's, too. */
  async #logout(target: string): Promise<void> {
    if (!(await this.#scsi.hasDisks(target))) await this.#sessions.logout(target);
  }

  async #findDisk(target: string, lun: number, signal: AbortSignal | undefined): Promise<string> {
    for (let scan = 0; scan < this.#scans; scan += 1) {
      for (const session of await this.#scsi.sessionsOf(target)) await this.#scsi.scan(session, lun);
      await this.#settle(signal);
      const [disk] = await this.#disksOf(target, lun);
      if (disk !== undefined) return disk;
    }
    throw new VolumeConnectError("the volume's target does not show the unit", { detail: `${target}, unit ${lun}` });
  }

  /** What the host still has of the unit goes, what was written to it is kept. */
  async #detach({ target, lun }: IscsiVolumeData): Promise<void> {
    const disks = await this.#disksOf(target, lun);
    const map = await this.#mapOf(disks);
    if (map !== undefined) {
      await this.#run(["blockdev", "--flushbufs", this.#path(join("mapper", map.name))]);
      await this.#run(["multipath", "-f", map.name]);
    }
    for (const disk of disks) {
      await this.#run(["blockdev", "--flushbufs", this.#path(disk)]);
      await this.#scsi.remove(disk);
    }
  }

  /** Paths to a unit: those that say of themselves what the first does. */
  async #disksOf(target: string, lun: number): Promise<readonly string[]> {
    const sessions = await this.#scsi.sessionsOf(target);
    const disks: string[] = [];
    let wwid: string | undefined;
    for (const session of sessions) {
      const disk = await this.#scsi.diskOf(session, lun);
      if (disk === undefined) continue;
      const own = await this.#scsi.wwidOf(disk);
      wwid ??= own;
      if (own === wwid) disks.push(disk);
    }
    return disks;
  }

  async #mapOf(disks: readonly string[]): Promise<MultipathMap | undefined> {
    for (const disk of disks) {
      const map = await this.#scsi.mapOf(disk);
      if (map !== undefined) return map;
    }
    return undefined;
  }

  /** What the kernel has found is made known to the rest of the host. */
  async #settle(signal: AbortSignal | undefined): Promise<void> {
    await this.#run(["udevadm", "settle", "--timeout=30"], signal);
  }

  async #run(argv: readonly string[], signal?: AbortSignal): Promise<void> {
    await this.#commands.run(argv, { timeoutMs: this.#commandMs, signal });
  }

  #source(name: string): BlockDiskSource {
    return { type: "block", path: this.#path(name), format: "raw" };
  }

  #path(name: string): string {
    return join(this.#devices, name);
  }
}

function explain(error: unknown, { volumeId: device }: VolumeConnection): unknown {
  if (isHyperviseError(error, "COMMAND_FAILED") || isHyperviseError(error, "DEADLINE_EXCEEDED"))
    return new VolumeConnectError("the host could not attach the volume", { device, cause: error });
  return isHyperviseError(error) ? error.withContext({ device }) : error;
}
