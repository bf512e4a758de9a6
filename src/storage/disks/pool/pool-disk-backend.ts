/** Disks as volumes of a pool; what kind of pool it is the subclass says. */
import { dirname, isAbsolute } from "node:path";
import {
  check,
  ConflictError,
  InvalidArgumentError,
  KeyedLock,
  NotSupportedError,
  withRollback,
} from "../../../core/index.js";
import type { ErrorContext, RollbackStack } from "../../../core/index.js";
import type { CommandRunner } from "../../../host/index.js";
import type { CreateDiskRequest, DiskBackend, DiskCapacity, DiskInfo } from "../disk-backend.js";
import { checkDiskName, checkLabel } from "../disk-index.js";
import { DISK_SOURCE_FORMATS } from "../disk-source.js";
import type { DiskSource, DiskSourceFormat } from "../disk-source.js";
import { DiskNotFoundError } from "../../errors.js";
import { checkedSize, imageFile } from "../fill-disk.js";
import { fillFormatted, guestFormatOf } from "../fill-formatted.js";
import type { TransferOptions } from "../../images/image-store.js";
import { systemFileChanges } from "../instance-disks.js";
import { QemuImg } from "../../qemu-img.js";
import type { QemuImgLimits } from "../../qemu-img.js";
import { storageFailure } from "../../storage-failure.js";
import { TemporaryFiles } from "../temporary-files.js";
import type { DiskPool, PoolVolume } from "./disk-pool.js";
import { PoolParking, readInstance } from "./pool-parking.js";
import type { PoolInstance } from "./pool-parking.js";
import { parseParkMark, parseVolumeName, tokenMark, volumeName } from "./volume-names.js";

export interface PoolDiskBackendOptions {
  /** Absolute path of a directory for short-lived files such as snapshots on their way to the image store; made when it is not there. */
  readonly directory: string;
  /** Runs the storage's own commands and `qemu-img`. */
  readonly commands: CommandRunner;
  readonly qemuImgLimits?: Partial<QemuImgLimits>;
}

const SECTOR = 512;
const checkUuid = check.uuid();
const checkBytes = check.integer({ min: 1, max: Number.MAX_SAFE_INTEGER - SECTOR });
const checkToken = check.string({
  max: 128,
  pattern: /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/,
  expected: "1 to 128 characters of [A-Za-z0-9._-], not starting with '.'",
});

/**
 * Each disk is a raw volume `<uuid>_<name>`, a whole copy of its image. The pool itself says what there is: every host that
 * shares it sees the same. A disk is made under another name and renamed when it is whole. Parked states are whole copies.
 * All calls about one instance run one after the other; one process changes an instance's disks at a time.
 */
export class PoolDiskBackend implements DiskBackend {
  readonly #pool: DiskPool;
  readonly #directory: string;
  readonly #commands: CommandRunner;
  readonly #qemuImg: QemuImg;
  readonly #parking: PoolParking;
  readonly #temporary: TemporaryFiles;
  readonly #locks = new KeyedLock();

  protected constructor(pool: DiskPool, options: PoolDiskBackendOptions) {
    const { commands, qemuImgLimits } = options;
    this.#pool = pool;
    this.#directory = check.absolutePath()(options.directory, "directory");
    this.#commands = commands;
    this.#qemuImg = new QemuImg({ commands, ...(qemuImgLimits === undefined ? {} : { limits: qemuImgLimits }) });
    this.#parking = new PoolParking(pool, this.#qemuImg);
    this.#temporary = new TemporaryFiles(this.#directory, systemFileChanges);
  }

  async create(request: CreateDiskRequest, options: TransferOptions = {}): Promise<DiskSource> {
    const name = checkDiskName(request.name, "name");
    const uuid = checkUuid(request.instanceUuid, "instanceUuid");
    const sizeBytes = Math.ceil(checkBytes(request.sizeBytes, "sizeBytes") / SECTOR) * SECTOR;
    if (check.oneOf(DISK_SOURCE_FORMATS)(request.format ?? "raw", "format") !== "raw")
      throw new NotSupportedError({ capability: `disks of format qcow2 on ${this.#pool.label}` });
    const from = request.image === undefined ? undefined : imageFile(request.image, sizeBytes);
    const guestFormat = guestFormatOf(request);
    const volume = volumeName({ uuid, disk: name, role: { type: "disk" } });
    const unfinished = volumeName({ uuid, disk: name, role: { type: "unfinished" } });
    for (const one of [volume, unfinished]) this.#pool.checkName(one, "name");
    return this.#change(uuid, `creating the disk ${name}`, name, async ({ disks }, undo) => {
      if (disks.has(name)) throw new ConflictError(`the instance has a disk ${name} already`);
      undo.defer("new disk", () => this.#pool.remove(unfinished));
      await this.#pool.create(unfinished, sizeBytes, options);
      const target = this.#pool.imageOf(unfinished);
      if (request.image !== undefined && from !== undefined) {
        const imageBytes = await checkedSize(request.image, sizeBytes, this.#qemuImg, options);
        await this.#qemuImg.convert(from, target, imageBytes, { ...options, intoExisting: true });
      }
      if (guestFormat !== undefined) {
        const scratch = await this.#temporary.path(unfinished.replace("+", "."));
        undo.defer("formatted file", () => this.#temporary.remove(scratch));
        const tools = { qemuImg: this.#qemuImg, commands: this.#commands };
        await fillFormatted({ path: scratch, format: "raw" }, sizeBytes, guestFormat, tools, options);
        const file = { path: scratch, format: "raw" } as const;
        await this.#qemuImg.convert(file, target, sizeBytes, { ...options, intoExisting: true });
        await this.#temporary.remove(scratch);
      }
      await this.#pool.rename(unfinished, volume);
      return this.#pool.sourceOf(volume);
    });
  }

  async remove(instanceUuid: string, name: string): Promise<void> {
    checkDiskName(name, "name");
    await this.#change(instanceUuid, `removing the disk ${name}`, name, async ({ disks }) => {
      const volume = disks.get(name);
      if (volume !== undefined) await this.#pool.remove(volume.name);
    });
  }

  async removeAll(instanceUuid: string): Promise<boolean> {
    const uuid = checkUuid(instanceUuid, "instanceUuid");
    return this.#locks.run(uuid, () =>
      this.#guard("removing the disks", { instance: { uuid } }, async () => {
        const { volumes, marks } = await this.#pool.read();
        for (const mark of marks) if (parseParkMark(mark)?.uuid === uuid) await this.#pool.remark(mark, undefined);
        for (const { name } of volumes) if (parseVolumeName(name)?.uuid === uuid) await this.#pool.remove(name);
        const left = await this.#pool.read();
        return !left.volumes.some(({ name }) => parseVolumeName(name)?.uuid === uuid);
      }),
    );
  }

  async list(instanceUuid: string): Promise<readonly DiskInfo[]> {
    const uuid = checkUuid(instanceUuid, "instanceUuid");
    return this.#guard("reading the disks", { instance: { uuid } }, async () => {
      const { disks } = await readInstance(this.#pool, uuid);
      const allocated = await this.#pool.allocatedBytes([...disks.values()]);
      return [...disks].map(([name, volume]) => this.#describe(name, volume, allocated.get(volume.name)));
    });
  }

  async listInstances(): Promise<readonly string[]> {
    return this.#guard("reading the disks", {}, async () => [
      ...new Set((await this.#disks()).map(({ uuid }) => uuid)),
    ]);
  }

  async resize(instanceUuid: string, name: string, sizeBytes: number, options: TransferOptions = {}): Promise<void> {
    checkDiskName(name, "name");
    const size = Math.ceil(checkBytes(sizeBytes, "sizeBytes") / SECTOR) * SECTOR;
    await this.#change(instanceUuid, `growing the disk ${name}`, name, async (instance) => {
      const volume = existing(instance, name);
      // A volume may have more than it was asked for: only what would be less than that is too small.
      const rounded = size < volume.sizeBytes ? await this.#pool.roundUp(size) : size;
      if (rounded < volume.sizeBytes) {
        const expected = `at least the present ${volume.sizeBytes} bytes`;
        throw new InvalidArgumentError({ field: "sizeBytes", value: sizeBytes, expected });
      }
      if (rounded === volume.sizeBytes) return;
      await this.#parking.requireUnused(volume.name);
      await this.#pool.grow(volume, size, options);
    });
  }

  async exportDisk(
    instanceUuid: string,
    name: string,
    path: string,
    format: DiskSourceFormat,
    options: TransferOptions = {},
  ): Promise<void> {
    checkDiskName(name, "name");
    check.oneOf(DISK_SOURCE_FORMATS)(format, "format");
    if (!isAbsolute(path)) throw new InvalidArgumentError({ field: "path", value: path, expected: "an absolute path" });
    const target = { path: `${path}.unfinished`, format };
    const doing = `copying the disk ${name}`;
    const copy = async (instance: PoolInstance, undo: RollbackStack): Promise<void> => {
      const volume = existing(instance, name);
      undo.defer("copy of the disk", () => systemFileChanges.remove(target.path));
      await systemFileChanges.remove(target.path);
      await this.#parking.requireUnused(volume.name);
      await this.#qemuImg.convert(this.#pool.imageOf(volume.name), target, volume.sizeBytes, options);
      await systemFileChanges.rename(target.path, path);
    };
    await this.#change(instanceUuid, doing, name, copy, dirname(path));
  }

  async park(instanceUuid: string, label: string): Promise<void> {
    checkLabel(label, "label");
    await this.#change(instanceUuid, "parking the disks", undefined, (instance) => this.#parking.park(instance, label));
  }

  async restore(instanceUuid: string, label: string): Promise<void> {
    checkLabel(label, "label");
    await this.#change(instanceUuid, "restoring the parked disks", undefined, (instance) =>
      this.#parking.restore(instance, label),
    );
  }

  async discardParked(instanceUuid: string, label: string): Promise<void> {
    checkLabel(label, "label");
    await this.#change(instanceUuid, "forgetting the parked disks", undefined, (instance) =>
      this.#parking.discard(instance, label),
    );
  }

  async leaveToken(token: string): Promise<void> {
    const mark = tokenMark(checkToken(token, "token"));
    await this.#guard("leaving a token", {}, () => this.#pool.remark(undefined, mark));
  }

  async seesToken(token: string): Promise<boolean> {
    const mark = tokenMark(checkToken(token, "token"));
    return this.#guard("looking for a token", {}, async () => (await this.#pool.read()).marks.includes(mark));
  }

  async removeToken(token: string): Promise<void> {
    const mark = tokenMark(checkToken(token, "token"));
    await this.#guard("removing a token", {}, () => this.#pool.remark(mark, undefined));
  }

  async temporaryPath(name: string): Promise<string> {
    return this.#guard("making a directory for temporary files", {}, () => this.#temporary.path(name));
  }

  async removeTemporary(path: string): Promise<void> {
    await this.#guard("removing a temporary file", {}, () => this.#temporary.remove(path));
  }

  async capacity(): Promise<DiskCapacity> {
    return this.#guard("reading the free space", {}, async () => {
      const [{ totalBytes, freeBytes }, disks] = [await this.#pool.space(), await this.#disks()];
      const allocated = await this.#pool.allocatedBytes(disks.map(({ volume }) => volume));
      const promised = disks.reduce(
        (sum, { volume }) => sum + Math.max(0, volume.sizeBytes - (allocated.get(volume.name) ?? 0)),
        0,
      );
      return { totalBytes, usedBytes: totalBytes - freeBytes, leastAvailableBytes: freeBytes - promised };
    });
  }

  async #disks(): Promise<readonly { readonly uuid: string; readonly volume: PoolVolume }[]> {
    const { volumes } = await this.#pool.read();
    return volumes.flatMap((volume) => {
      const named = parseVolumeName(volume.name);
      return named?.role.type === "disk" ? [{ uuid: named.uuid, volume }] : [];
    });
  }

  #describe(name: string, volume: PoolVolume, allocated = volume.sizeBytes): DiskInfo {
    return {
      name,
      source: this.#pool.sourceOf(volume.name),
      virtualSizeBytes: volume.sizeBytes,
      allocatedBytes: allocated,
      overCommittedBytes: Math.max(0, volume.sizeBytes - allocated),
    };
  }

  /** One change of one instance at a time, from a settled state; what was registered is undone when it fails. */
  async #change<T>(
    instanceUuid: string,
    doing: string,
    device: string | undefined,
    change: (instance: PoolInstance, undo: RollbackStack) => Promise<T>,
    writesTo?: string,
  ): Promise<T> {
    const uuid = checkUuid(instanceUuid, "instanceUuid");
    const context = { instance: { uuid }, ...(device === undefined ? {} : { device }) };
    return this.#locks.run(uuid, () =>
      this.#guard(
        doing,
        context,
        () => withRollback(async (undo) => change(await this.#parking.settle(uuid), undo)),
        writesTo,
      ),
    );
  }

  async #guard<T>(
    doing: string,
    context: ErrorContext,
    work: () => Promise<T>,
    writesTo = this.#directory,
  ): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw await storageFailure(error, doing, writesTo, context);
    }
  }
}

function existing({ disks }: PoolInstance, name: string): PoolVolume {
  const volume = disks.get(name);
  if (volume === undefined) throw new DiskNotFoundError(`the instance has no disk ${name}`);
  return volume;
}
