/** Disks as files in a directory of this host: qcow2 overlays of images, or raw files. */
import { statfs } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import {
  check,
  ConflictError,
  InvalidArgumentError,
  isHyperviseError,
  KeyedLock,
  StateCorruptError,
  withRollback,
} from "../../core/index.js";
import type { Check, ErrorContext } from "../../core/index.js";
import { systemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { copyFile } from "../copy-file.js";
import { describeDisk, fileSourceOf, virtualSizeOf } from "./describe-disk.js";
import { DISK_LAYOUTS } from "./disk-backend.js";
import type { CreateDiskRequest, DiskBackend, DiskCapacity, DiskInfo, DiskLayout } from "./disk-backend.js";
import { checkDiskName, checkLabel, withDisk, withoutDisk } from "./disk-index.js";
import type { DiskIndex, DiskRecord } from "./disk-index.js";
import { DISK_SOURCE_FORMATS } from "./disk-source.js";
import type { DiskSource, DiskSourceFormat } from "./disk-source.js";
import { DiskNotFoundError } from "../errors.js";
import { fillDisk, growDisk, planFill } from "./fill-disk.js";
import type { DiskStyle } from "./fill-disk.js";
import { fillFormatted, guestFormatOf, scratchOf } from "./fill-formatted.js";
import type { TransferOptions } from "../images/image-store.js";
import { InstanceDisks, isThere, statIfThere, systemFileChanges } from "./instance-disks.js";
import type { FileChanges } from "./instance-disks.js";
import { ParkedDisks } from "./parked-disks.js";
import { PREALLOCATIONS, QemuImg } from "../qemu-img.js";
import type { FormattedFile, Preallocation, QemuImgLimits } from "../qemu-img.js";
import { needingSpace, reserveSpace } from "./reserve-space.js";
import { namesIn } from "../staging-area.js";
import { TemporaryFiles } from "./temporary-files.js";
import { storageFailure } from "../storage-failure.js";

export interface LocalDiskBackendOptions {
  /** Absolute path of at most 800 bytes; made when it is not there. One back end, of one process, has it at a time. */
  readonly directory: string;
  /** Of disks whose request names none. `qcow2`: overlays of images, which take space as they are written. `raw`: sparse copies. Default `qcow2`. */
  readonly defaultFormat?: DiskSourceFormat;
  /** Of disks whose request names none. `overlay`: where the formats allow it. `flat`: each disk is a whole copy. Default `overlay`. */
  readonly layout?: DiskLayout;
  /**
   * Space of new disks and of what disks grow by. `none`: taken as the guest writes. `falloc`: reserved. `full`: written with
   * zeros; of overlays, whose unwritten parts are the image's, reserved only. Default `none`.
   */
  readonly preallocation?: Preallocation;
  /** Runs `qemu-img` and `fallocate`. Default: the system's runner. */
  readonly commands?: CommandRunner;
  readonly qemuImgLimits?: Partial<QemuImgLimits>;
  /** How files are changed; default: on the system. For tests that let a process die at any step. */
  readonly files?: FileChanges;
}

const TOKENS = ".tokens";
const DELETING = ".deleting";
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const SECTOR = 512;

const checkUuid = check.uuid();
const checkFormat = check.oneOf(DISK_SOURCE_FORMATS);
const checkLayout = check.oneOf(DISK_LAYOUTS);
const checkBytes = check.integer({ min: 1, max: Number.MAX_SAFE_INTEGER - SECTOR });
const checkToken = nameOf(128);

/**
 * Keeps the disks of each instance in `<directory>/<uuid>/` (mode 0700), a file `<name>.qcow2` or `<name>.raw` a disk, and
 * beside them a record of their formats. All calls about one instance run one after the other. All changes reject with
 * `DiskFullError` or `StorageError` when the host's storage fails, `StateCorruptError` when the record can't be read; those
 * that need the disks for themselves with `BusyError` when QEMU's locks tell that a guest has one open.
 */
export class LocalDiskBackend implements DiskBackend {
  readonly #directory: string;
  readonly #defaultFormat: DiskSourceFormat;
  readonly #style: DiskStyle;
  readonly #files: FileChanges;
  readonly #temporary: TemporaryFiles;
  readonly #qemuImg: QemuImg;
  readonly #tools: { readonly qemuImg: QemuImg; readonly commands: CommandRunner };
  readonly #locks = new KeyedLock();

  /** @throws InvalidArgumentError for an option out of its range. Touches nothing. */
  constructor(options: LocalDiskBackendOptions) {
    const { directory, defaultFormat = "qcow2", qemuImgLimits, files = systemFileChanges } = options;
    const { commands = systemCommandRunner } = options;
    this.#directory = check.refine(
      check.absolutePath(),
      isShort,
      "a path of at most 800 bytes",
    )(directory, "directory");
    this.#defaultFormat = checkFormat(defaultFormat, "defaultFormat");
    this.#style = {
      layout: checkLayout(options.layout ?? "overlay", "layout"),
      preallocation: check.oneOf(PREALLOCATIONS)(options.preallocation ?? "none", "preallocation"),
    };
    this.#files = files;
    this.#temporary = new TemporaryFiles(directory, files);
    this.#qemuImg = new QemuImg({
      commands,
      ...(qemuImgLimits === undefined ? {} : { limits: qemuImgLimits }),
    });
    this.#tools = { qemuImg: this.#qemuImg, commands };
  }

  async create(request: CreateDiskRequest, options: TransferOptions = {}): Promise<DiskSource> {
    const name = checkDiskName(request.name, "name");
    const record: DiskRecord = { format: checkFormat(request.format ?? this.#defaultFormat, "format") };
    const sizeBytes = checkBytes(request.sizeBytes, "sizeBytes");
    const style = { ...this.#style, layout: checkLayout(request.layout ?? this.#style.layout, "layout") };
    return this.#change(request.instanceUuid, `creating the disk ${name}`, name, async (disks, index, undo) => {
      if (index.disks[name] !== undefined) throw new ConflictError(`the instance has a disk ${name} already`);
      const file = disks.diskFile(name, record);
      const unfinished = disks.unfinished(file.path);
      const plan = planFill(unfinished, record.format, sizeBytes, request.image, style);
      const format = guestFormatOf(request);
      undo(() => disks.files.removeEmptyDirectory(disks.directory));
      await disks.files.makeDirectory(disks.directory);
      undo(() => disks.files.remove(unfinished));
      await disks.files.remove(unfinished);
      if (format !== undefined) undo(() => disks.files.remove(scratchOf(unfinished)));
      await needingSpace(unfinished, plan.sizeBytes, plan.preallocation, () =>
        format === undefined
          ? fillDisk(plan, this.#tools, options)
          : fillFormatted(plan.file, plan.sizeBytes, format, this.#tools, options).then(() =>
              reserveSpace(unfinished, plan.sizeBytes, plan.preallocation, this.#tools.commands, options),
            ),
      );
      undo(() => disks.files.remove(file.path));
      await disks.finish(file.path);
      undo(() => disks.writeIndex(index));
      await disks.writeIndex(withDisk(index, name, record));
      return fileSourceOf(file);
    });
  }

  async remove(instanceUuid: string, name: string): Promise<void> {
    checkDiskName(name, "name");
    await this.#change(instanceUuid, `removing the disk ${name}`, name, async (disks, index) => {
      if (!(await isThere(disks.directory))) return;
      const remaining = withoutDisk(index, name);
      if (index.disks[name] !== undefined) await disks.writeIndex(remaining);
      for (const format of DISK_SOURCE_FORMATS) {
        const { path } = disks.diskFile(name, { format });
        await disks.files.remove(path);
        await disks.files.remove(disks.unfinished(path));
        await disks.files.remove(scratchOf(disks.unfinished(path)));
      }
      await disks.writeIndex(await new ParkedDisks(disks, this.#qemuImg).dropUnneeded(remaining));
    });
  }

  async removeAll(instanceUuid: string): Promise<boolean> {
    const disks = this.#disksOf(instanceUuid);
    const doomed = `${disks.directory}${DELETING}`;
    return this.#locks.run(disks.uuid, () =>
      this.#guard("removing the disks", { instance: { uuid: disks.uuid } }, async () => {
        await disks.files.remove(doomed);
        if (await isThere(disks.directory)) await disks.files.rename(disks.directory, doomed);
        await disks.files.remove(doomed);
        return !(await isThere(disks.directory)) && !(await isThere(doomed));
      }),
    );
  }

  async list(instanceUuid: string): Promise<readonly DiskInfo[]> {
    const disks = this.#disksOf(instanceUuid);
    return this.#guard("reading the disks", { instance: { uuid: disks.uuid } }, async () => {
      const index = await disks.readIndex();
      const infos = await Promise.all(
        Object.entries(index.disks).map(([name, record]) => describeDisk(name, disks.diskFile(name, record))),
      );
      const known = infos.filter((info) => info !== undefined);
      if (known.length === infos.length || index.parked.some(({ phase }) => phase === "restoring")) return known;
      throw new StateCorruptError("a disk of the instance is not there", { detail: disks.directory });
    });
  }

  async listInstances(): Promise<readonly string[]> {
    return this.#guard("reading the disks", {}, async () =>
      (await namesIn(this.#directory)).filter((name) => UUID.test(name)),
    );
  }

  async resize(instanceUuid: string, name: string, sizeBytes: number, options: TransferOptions = {}): Promise<void> {
    checkDiskName(name, "name");
    const size = Math.ceil(checkBytes(sizeBytes, "sizeBytes") / SECTOR) * SECTOR;
    await this.#change(instanceUuid, `growing the disk ${name}`, name, async (disks, index) => {
      const file = this.#existing(disks, index, name);
      const present = await virtualSizeOf(file);
      if (size < present) {
        throw new InvalidArgumentError({
          field: "sizeBytes",
          value: sizeBytes,
          expected: `at least the present ${present} bytes`,
        });
      }
      if (size === present) return;
      await this.#qemuImg.requireUnused(file);
      const { preallocation } = this.#style;
      await needingSpace(file.path, size - present, preallocation, () =>
        growDisk(file, size, preallocation, this.#tools, options),
      );
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
    checkFormat(format, "format");
    if (!isAbsolute(path)) throw new InvalidArgumentError({ field: "path", value: path, expected: "an absolute path" });
    const target: FormattedFile = { path: `${path}.unfinished`, format };
    const doing = `copying the disk ${name}`;
    const run = async (disks: InstanceDisks, index: DiskIndex, undo: (step: Undo) => void): Promise<void> => {
      const file = this.#existing(disks, index, name);
      undo(() => disks.files.remove(target.path));
      await disks.files.remove(target.path);
      await this.#qemuImg.requireUnused(file);
      if (file.format === "raw" && format === "raw") await copyFile(file.path, target.path, options);
      else await this.#qemuImg.convert(file, target, await virtualSizeOf(file), options);
      await disks.files.rename(target.path, path);
    };
    await this.#change(instanceUuid, doing, name, run, dirname(path));
  }

  async park(instanceUuid: string, label: string): Promise<void> {
    checkLabel(label, "label");
    await this.#parked(instanceUuid, "parking the disks", (parked, index) => parked.park(index, label));
  }

  async restore(instanceUuid: string, label: string): Promise<void> {
    checkLabel(label, "label");
    await this.#parked(instanceUuid, "restoring the parked disks", (parked, index) => parked.restore(index, label));
  }

  async discardParked(instanceUuid: string, label: string): Promise<void> {
    checkLabel(label, "label");
    await this.#parked(instanceUuid, "forgetting the parked disks", (parked, index) => parked.discard(index, label));
  }

  /**
   * Merges what forgotten parked states have left under the disks; `park` does it too. No guest may have the disks open.
   * What can't be merged stays as it is.
   */
  async mergeParked(instanceUuid: string): Promise<void> {
    await this.#parked(instanceUuid, "merging the disks", (parked, index) => parked.merge(index));
  }

  async leaveToken(token: string): Promise<void> {
    const path = this.#tokenPath(token);
    await this.#guard("leaving a token", {}, async () => {
      await this.#files.makeDirectory(dirname(path));
      await this.#files.write(path, "");
    });
  }

  async seesToken(token: string): Promise<boolean> {
    const path = this.#tokenPath(token);
    return this.#guard("looking for a token", {}, async () => (await statIfThere(path)) !== undefined);
  }

  async removeToken(token: string): Promise<void> {
    const path = this.#tokenPath(token);
    await this.#guard("removing a token", {}, () => this.#files.remove(path));
  }

  async temporaryPath(name: string): Promise<string> {
    return this.#guard("making a directory for temporary files", {}, () => this.#temporary.path(name));
  }

  async removeTemporary(path: string): Promise<void> {
    await this.#guard("removing a temporary file", {}, () => this.#temporary.remove(path));
  }

  async capacity(): Promise<DiskCapacity> {
    return this.#guard("reading the free space", {}, async () => {
      await this.#files.makeDirectory(this.#directory);
      const { blocks, bfree, bavail, bsize } = await statfs(this.#directory);
      const promised = await this.#overCommittedBytes();
      return {
        totalBytes: blocks * bsize,
        usedBytes: (blocks - bfree) * bsize,
        leastAvailableBytes: bavail * bsize - promised,
      };
    });
  }

  /** An instance whose record can't be read is left out: it must not hide the state of the host. */
  async #overCommittedBytes(): Promise<number> {
    let sum = 0;
    for (const uuid of await this.listInstances()) {
      const infos = await this.list(uuid).catch((error: unknown) => {
        if (isHyperviseError(error, "STATE_CORRUPT")) return [];
        throw error;
      });
      sum += infos.reduce((total, info) => total + info.overCommittedBytes, 0);
    }
    return sum;
  }

  #disksOf(instanceUuid: string): InstanceDisks {
    return new InstanceDisks(this.#directory, checkUuid(instanceUuid, "instanceUuid"), this.#files);
  }

  #existing(disks: InstanceDisks, index: DiskIndex, name: string): FormattedFile {
    const record = index.disks[name];
    if (record === undefined) throw new DiskNotFoundError(`the instance has no disk ${name}`);
    return disks.diskFile(name, record);
  }

  #tokenPath(token: string): string {
    return join(this.#directory, TOKENS, checkToken(token, "token"));
  }

  async #parked(
    instanceUuid: string,
    doing: string,
    change: (parked: ParkedDisks, index: DiskIndex) => Promise<DiskIndex>,
  ): Promise<void> {
    await this.#change(instanceUuid, doing, undefined, async (disks, index) => {
      await change(new ParkedDisks(disks, this.#qemuImg), index);
    });
  }

  /** One change of one instance at a time, from a settled state; what was registered is undone when it fails. */
  async #change<T>(
    instanceUuid: string,
    doing: string,
    device: string | undefined,
    change: (disks: InstanceDisks, index: DiskIndex, undo: (step: Undo) => void) => Promise<T>,
    writesTo?: string,
  ): Promise<T> {
    const disks = this.#disksOf(instanceUuid);
    const context = { instance: { uuid: disks.uuid }, ...(device === undefined ? {} : { device }) };
    return this.#locks.run(disks.uuid, () =>
      withRollback((stack) =>
        this.#guard(
          doing,
          context,
          async () => {
            const index = await new ParkedDisks(disks, this.#qemuImg).settle(await disks.readIndex());
            return change(disks, index, (step) => stack.defer(doing, step));
          },
          writesTo,
        ),
      ),
    );
  }

  /** Failures become this room's errors while what was begun still takes its space: only then a full disk shows. */
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

type Undo = () => Promise<void>;

function nameOf(max: number): Check<string> {
  const expected = `1 to ${max} characters of [A-Za-z0-9._-], not starting with '.'`;
  return check.string({ max, pattern: /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/, expected });
}

function isShort(path: string): boolean {
  return Buffer.byteLength(path) <= 800;
}
