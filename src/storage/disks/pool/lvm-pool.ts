/** A volume group of LVM as a pool of disks, by the `lvm` command. */
import { check, InvalidArgumentError, isHyperviseError, StateCorruptError } from "../../../core/index.js";
import type { Check } from "../../../core/index.js";
import type { CommandRunner } from "../../../host/index.js";
import type { DiskSource } from "../disk-source.js";
import { DiskFullError } from "../../errors.js";
import type { TransferOptions } from "../../images/image-store.js";
import type { FormattedFile } from "../../qemu-img.js";
import type { DiskPool, PoolContent, PoolSpace, PoolVolume } from "./disk-pool.js";

export interface LvmPoolOptions {
  /** Name of the volume group. It must be there. */
  readonly volumeGroup: string;
  /** Name of a thin pool in it. Volumes then take their space as the guest writes. Default: volumes of their full size, zeroed when they are made. */
  readonly thinPool?: string;
  /** Given to every LVM command with `--config`, in LVM's own notation: for example a filter that keeps LVM off other devices. */
  readonly config?: string;
  /** Where the volumes' device nodes are. Default `/dev`. */
  readonly deviceDirectory?: string;
  /** A command of LVM, in milliseconds. Default 60000. */
  readonly commandMs?: number;
  /** Writing zeros to a new volume, in milliseconds. Default 3600000. */
  readonly zeroMs?: number;
}

const NAME = /^[A-Za-z0-9+_.][A-Za-z0-9+_.-]*$/;
/** In names of volumes these are LVM's own. */
const RESERVED =
  /(?:_cdata|_cmeta|_corig|_cpool|_cvol|_wcorig|_iorig|_mlog|_mimage|_pmspare|_rimage|_rmeta|_tdata|_tmeta|_vdata|_vorigin|_imeta)|^(?:snapshot|pvmove)|^\.{1,2}$/;
/** What the kernel's device mapper bears, with hyphens doubled. */
const MAX_MAPPED_BYTES = 127;
/** Of tags that are marks. */
const TAG = "hypervise+";

const checkGroup = check.string({ max: 100, pattern: NAME, expected: "a name that LVM allows" });
const amount = check.string({ max: 20, pattern: /^\d+$/, expected: "a number of bytes" });
const checkReport = {
  volumes: report("lv", {
    lv_name: check.string({ max: 128 }),
    lv_size: amount,
    lv_device_open: check.string({ min: 0, max: 32 }),
    data_percent: check.string({ min: 0, max: 32 }),
    pool_lv: check.string({ min: 0, max: 128 }),
  }),
  group: report("vg", {
    vg_size: amount,
    vg_free: amount,
    vg_extent_size: amount,
    vg_tags: check.string({ min: 0, max: 10_000_000 }),
  }),
};

/** Changes are made by one command each; LVM writes its metadata so that either the old or the new stands. */
export class LvmPool implements DiskPool {
  readonly label = "the volume group";
  readonly #commands: CommandRunner;
  readonly #group: string;
  readonly #thinPool: string | undefined;
  readonly #config: readonly string[];
  readonly #devices: string;
  readonly #commandMs: number;
  readonly #zeroMs: number;

  /** @throws InvalidArgumentError */
  constructor(options: LvmPoolOptions, commands: CommandRunner) {
    const { volumeGroup, thinPool, config, deviceDirectory = "/dev" } = options;
    this.#commands = commands;
    this.#group = checkGroup(volumeGroup, "volumeGroup");
    this.#thinPool = thinPool === undefined ? undefined : checkGroup(thinPool, "thinPool");
    this.#config =
      config === undefined ? [] : ["--config", check.string({ max: 65_536, charset: "text" })(config, "config")];
    this.#devices = check.absolutePath()(deviceDirectory, "deviceDirectory");
    this.#commandMs = check.integer({ min: 1, max: 2 ** 31 - 1 })(options.commandMs ?? 60_000, "commandMs");
    this.#zeroMs = check.integer({ min: 1, max: 2 ** 31 - 1 })(options.zeroMs ?? 3_600_000, "zeroMs");
  }

  checkName(name: string, field: string): void {
    const mapped = `${this.#group}-${name}`.length + `${this.#group}${name}`.replaceAll(/[^-]/g, "").length;
    if (NAME.test(name) && !RESERVED.test(name) && mapped <= MAX_MAPPED_BYTES) return;
    throw new InvalidArgumentError({ field, value: name, expected: "a shorter name, or one that is not LVM's own" });
  }

  async read(): Promise<PoolContent> {
    const volumes = await this.#volumes();
    const { vg_tags } = await this.#groupReport();
    return {
      volumes: volumes.map(({ lv_name, lv_size }) => ({ name: lv_name, sizeBytes: Number(lv_size) })),
      marks: vg_tags
        .split(",")
        .filter((tag) => tag.startsWith(TAG))
        .map((tag) => tag.slice(TAG.length)),
    };
  }

  async roundUp(sizeBytes: number): Promise<number> {
    const extent = Number((await this.#groupReport()).vg_extent_size);
    return Math.ceil(sizeBytes / extent) * extent;
  }

  async create(name: string, sizeBytes: number, options: TransferOptions): Promise<void> {
    const thin = this.#thinPool;
    const space =
      thin === undefined
        ? ["--size", `${sizeBytes}b`]
        : ["--type", "thin", "--thinpool", thin, "--virtualsize", `${sizeBytes}b`];
    await this.#needing(sizeBytes, () =>
      this.#lvm("lvcreate", ["--yes", "--wipesignatures", "n", "--name", name, ...space, this.#group], options),
    );
    await this.#zero(name, 0, options);
  }

  async grow({ name, sizeBytes: present }: PoolVolume, sizeBytes: number, options: TransferOptions): Promise<void> {
    await this.#needing(sizeBytes - present, () =>
      this.#lvm("lvextend", ["--size", `${sizeBytes}b`, this.#volume(name)], options),
    );
    await this.#zero(name, present, options);
  }

  async remove(name: string): Promise<void> {
    try {
      await this.#lvm("lvremove", ["--yes", this.#volume(name)]);
    } catch (error) {
      // LVM's exit status does not tell that there is none.
      if (!isHyperviseError(error, "COMMAND_FAILED")) throw error;
      if ((await this.#volumes()).some((volume) => volume.lv_name === name)) throw error;
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#lvm("lvrename", [this.#group, from, to]);
  }

  async isInUse(name: string): Promise<boolean> {
    return (await this.#volumes()).some((volume) => volume.lv_name === name && volume.lv_device_open === "open");
  }

  async remark(from: string | undefined, to: string | undefined): Promise<void> {
    const words = [
      ...(from === undefined ? [] : ["--deltag", `${TAG}${from}`]),
      ...(to === undefined ? [] : ["--addtag", `${TAG}${to}`]),
    ];
    if (words.length > 0) await this.#lvm("vgchange", [...words, this.#group]);
  }

  async allocatedBytes(volumes: readonly PoolVolume[]): Promise<ReadonlyMap<string, number>> {
    const reports = new Map((await this.#volumes()).map((volume) => [volume.lv_name, volume]));
    return new Map(
      volumes.map(({ name, sizeBytes }) => {
        const volume = reports.get(name);
        const isThin = volume !== undefined && volume.pool_lv !== "";
        return [name, isThin ? Math.ceil((sizeBytes * Number(volume.data_percent)) / 100) : sizeBytes];
      }),
    );
  }

  async space(): Promise<PoolSpace> {
    if (this.#thinPool === undefined) {
      const { vg_size, vg_free } = await this.#groupReport();
      return { totalBytes: Number(vg_size), freeBytes: Number(vg_free) };
    }
    const pool = (await this.#volumes()).find(({ lv_name }) => lv_name === this.#thinPool);
    if (pool === undefined) throw new StateCorruptError("the thin pool is not there", { detail: this.#thinPool });
    const totalBytes = Number(pool.lv_size);
    return { totalBytes, freeBytes: Math.floor((totalBytes * (100 - Number(pool.data_percent))) / 100) };
  }

  sourceOf(name: string): DiskSource {
    return { type: "block", path: this.#path(name), format: "raw" };
  }

  imageOf(name: string): FormattedFile {
    return { path: this.#path(name), format: "raw" };
  }

  #path(name: string): string {
    return `${this.#devices}/${this.#group}/${name}`;
  }

  #volume(name: string): string {
    return `${this.#group}/${name}`;
  }

  /** What another guest has left on the disks of the group is not for the next. A thin pool gives out zeros by itself. */
  async #zero(name: string, from: number, { signal }: TransferOptions): Promise<void> {
    if (this.#thinPool !== undefined) return;
    await this.#commands.run(["blkdiscard", "--zeroout", "--offset", String(from), this.#path(name)], {
      timeoutMs: this.#zeroMs,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  async #needing(sizeBytes: number, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!isHyperviseError(error, "COMMAND_FAILED")) throw error;
      if (this.#thinPool !== undefined || (await this.space()).freeBytes >= sizeBytes) throw error;
      throw new DiskFullError("the volume group has no room for the disk", {
        cause: error,
        detail: this.#group,
        remedy: "extend the volume group, or remove disks that are not needed",
      });
    }
  }

  async #volumes(): Promise<ReturnType<typeof checkReport.volumes>> {
    const columns = "lv_name,lv_size,lv_device_open,data_percent,pool_lv";
    return checkReport.volumes(await this.#report("lvs", columns), "lvs");
  }

  async #groupReport(): Promise<ReturnType<typeof checkReport.group>[number]> {
    const [group] = checkReport.group(await this.#report("vgs", "vg_size,vg_free,vg_extent_size,vg_tags"), "vgs");
    if (group === undefined) throw new StateCorruptError("the volume group is not there", { detail: this.#group });
    return group;
  }

  async #report(command: string, columns: string): Promise<unknown> {
    const words = ["--reportformat", "json", "--units", "b", "--nosuffix", "--options", columns, this.#group];
    const text = await this.#lvm(command, words);
    try {
      return JSON.parse(text) as unknown;
    } catch (error) {
      throw new StateCorruptError("LVM printed something that is not a report", { cause: error });
    }
  }

  async #lvm(command: string, words: readonly string[], { signal }: TransferOptions = {}): Promise<string> {
    const { stdout } = await this.#commands.run(["lvm", command, ...this.#config, ...words], {
      timeoutMs: this.#commandMs,
      maxOutputBytes: 64 * 1024 * 1024,
      // The embedder's descriptors are close-on-exec; others that it was started with are none of LVM's business.
      env: { LVM_SUPPRESS_FD_WARNINGS: "1" },
      ...(signal === undefined ? {} : { signal }),
    });
    return stdout;
  }
}

/** `{ report: [{ <kind>: [row, …] }] }`; newer releases of LVM add members. */
function report<K extends string, S extends Parameters<typeof check.object>[0]>(
  kind: K,
  row: S,
): Check<readonly ReturnType<ReturnType<typeof check.object<S>>>[]> {
  const checkRow = check.object(row);
  const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
    typeof value === "object" && value !== null;
  return (value, path) => {
    const reports = isObject(value) && Array.isArray(value["report"]) ? (value["report"] as unknown[]) : [];
    const rows = reports.flatMap((one) => (isObject(one) && Array.isArray(one[kind]) ? (one[kind] as unknown[]) : []));
    return rows.map((one, i) => {
      const known = isObject(one) ? Object.fromEntries(Object.keys(row).map((key) => [key, one[key]])) : one;
      return checkRow(known, `${path}[${i}]`);
    });
  };
}
