/** `qemu-img` as typed calls: formats always given, never probed; paths absolute; each run under limits. */
import { isAbsolute } from "node:path";
import { BusyError, InvalidArgumentError, isHyperviseError, StateCorruptError } from "../core/index.js";
import { CommandError, systemCommandRunner } from "../host/index.js";
import type { CommandRunner } from "../host/index.js";
import type { ImageFormat } from "./images/image.js";
import type { TransferOptions } from "./images/image-store.js";

/** Every bound of a run of `qemu-img`. */
export interface QemuImgLimits {
  /** Address space of a run that reads what a stranger made, in bytes. Default 2 GiB. */
  readonly addressSpaceBytes: number;
  /** CPU time of a run that only looks at an image, in seconds. Default 30. */
  readonly inspectCpuSeconds: number;
  /** CPU time of a run that copies an image, in seconds. Default 3600. */
  readonly copyCpuSeconds: number;
  /** Looking at, creating or resizing an image, in milliseconds. Default 60000. */
  readonly shortMs: number;
  /** Copying an image, in milliseconds. Default 3600000. */
  readonly copyMs: number;
}

export const DEFAULT_QEMU_IMG_LIMITS: QemuImgLimits = Object.freeze({
  addressSpaceBytes: 2 * 1024 ** 3,
  inspectCpuSeconds: 30,
  copyCpuSeconds: 3600,
  shortMs: 60_000,
  copyMs: 3_600_000,
});

export interface QemuImgOptions {
  /** Default: {@link systemCommandRunner}. */
  readonly commands?: CommandRunner;
  readonly limits?: Partial<QemuImgLimits>;
}

/** A file and its format, by the names of `qemu-img`. */
export interface FormattedFile {
  /** Absolute path. */
  readonly path: string;
  readonly format: QemuFormat;
}

/** What is no file of the host, by the options of QEMU's block drivers: `{ driver: "rbd", pool: "vms", image: "…" }`. */
export interface ImageByOptions {
  readonly options: Readonly<Record<string, string>>;
}

/** How a new image, or what one grows by, gets its space. `falloc`: reserved. `full`: written. */
export const PREALLOCATIONS = ["none", "falloc", "full"] as const;
export type Preallocation = (typeof PREALLOCATIONS)[number];

export interface ConvertOptions extends TransferOptions {
  readonly preallocation?: Preallocation | undefined;
  /** Write into a target that is there and large enough. Always so for one by options. */
  readonly intoExisting?: boolean;
}

export type QemuFormat = "raw" | "qcow2" | "vmdk" | "vdi" | "vpc" | "vhdx";

export interface QemuImageInfo {
  readonly virtualSizeBytes: number;
  readonly refersToOtherFiles: boolean;
}

/** What `qemu-img` calls a format of an image record; undefined for kernels and ramdisks, which are no disks. */
export function qemuFormatOf(format: ImageFormat): QemuFormat | undefined {
  switch (format) {
    case "raw":
    case "iso":
    case "ami":
      return "raw";
    case "vhd":
      return "vpc";
    case "qcow2":
    case "vmdk":
    case "vdi":
    case "vhdx":
      return format;
    case "ari":
    case "aki":
      return undefined;
  }
}

/** On hosts of many processors each thread's own heap would use up the address space. */
const ENVIRONMENT = { MALLOC_ARENA_MAX: "2" };
const EXIT_CORRUPT = 2;
const EXIT_LEAKS = 3;
const EXIT_NOT_FOUND = 127;
const MIB = 1024 * 1024;

/** Failures are those of the command runner. */
export class QemuImg {
  readonly #commands: CommandRunner;
  readonly #limits: QemuImgLimits;

  constructor(options: QemuImgOptions = {}) {
    this.#commands = options.commands ?? systemCommandRunner;
    this.#limits = { ...DEFAULT_QEMU_IMG_LIMITS, ...options.limits };
  }

  /** Does not open a backing file. */
  async info(file: FormattedFile, options: TransferOptions = {}): Promise<QemuImageInfo> {
    const words = ["info", "--output=json", "-f", file.format, local(file.path)];
    return parseInfo(await this.#run(words, this.#inspect(), options));
  }

  /** @throws BusyError when a process has the image open for writing, as QEMU's locks tell. */
  async requireUnused(file: FormattedFile): Promise<void> {
    try {
      await this.info(file);
    } catch (error) {
      if (!isHyperviseError(error, "COMMAND_FAILED")) throw error;
      // The same without regard to locks: what fails again has another reason.
      await this.#run(["info", "-U", "--output=json", "-f", file.format, local(file.path)], this.#inspect(), {});
      throw new BusyError("a guest has the disk open", { cause: error, remedy: "stop the guest first" });
    }
  }

  /** The size of what `-f raw` image options describe, for example an NBD export. */
  async sizeOf(imageOptions: Readonly<Record<string, string>>, options: TransferOptions = {}): Promise<number> {
    const words = ["info", "--output=json", "--image-opts", optionText(imageOptions)];
    return parseInfo(await this.#run(words, this.#inspect(), options)).virtualSizeBytes;
  }

  /** Runs a command of `qemu-img` that this class has no name for, as long as one that looks at an image or one that copies may take. */
  perform(words: readonly string[], as: "look" | "copy", options: TransferOptions = {}): Promise<string> {
    const copying = { limits: [`--cpu=${this.#limits.copyCpuSeconds}`], timeoutMs: this.#limits.copyMs };
    return this.#run(words, as === "look" ? this.#inspect() : copying, options);
  }

  /** False when the image's tables are damaged or refer to beyond its end. Leaked clusters are no damage. */
  async isSound(file: FormattedFile, options: TransferOptions = {}): Promise<boolean> {
    try {
      await this.#run(["check", "--output=json", "-q", "-f", file.format, local(file.path)], this.#inspect(), options);
      return true;
    } catch (error) {
      if (error instanceof CommandError && error.exitCode === EXIT_LEAKS) return true;
      if (error instanceof CommandError && error.exitCode === EXIT_CORRUPT) return false;
      // It names each bad cluster: more than is bearable.
      if (isHyperviseError(error, "OVERFLOW")) return false;
      throw error;
    }
  }

  /** Creates an empty image, or an overlay, whose size is then the backing file's unless it is given. */
  async create(
    file: FormattedFile,
    content: {
      readonly sizeBytes?: number;
      readonly backing?: FormattedFile;
      readonly preallocation?: Preallocation | undefined;
    },
    options: TransferOptions = {},
  ): Promise<void> {
    const { backing, sizeBytes, preallocation } = content;
    const on = backing === undefined ? [] : ["-b", local(backing.path), "-F", backing.format];
    const size = sizeBytes === undefined ? [] : [String(sizeBytes)];
    const space = preallocated(preallocation);
    const words = ["create", "-q", "-f", file.format, ...on, ...space, local(file.path), ...size];
    await this.#run(words, this.#filling(preallocation), options);
  }

  async resize(
    file: FormattedFile,
    sizeBytes: number,
    options: TransferOptions & { readonly preallocation?: Preallocation | undefined } = {},
  ): Promise<void> {
    const { preallocation = "none" } = options;
    const space = preallocation === "none" ? [] : [`--preallocation=${preallocation}`];
    const words = ["resize", "-q", "-f", file.format, ...space, local(file.path), String(sizeBytes)];
    await this.#run(words, this.#filling(preallocation), options);
  }

  /** Writes a flat copy, which is never larger than `virtualSizeBytes` and its metadata. Progress is told in `virtualSizeBytes`. */
  async convert(
    from: FormattedFile | ImageByOptions,
    to: FormattedFile | ImageByOptions,
    virtualSizeBytes: number,
    options: ConvertOptions = {},
  ): Promise<void> {
    const source = "options" in from ? ["--image-opts"] : ["-f", from.format];
    const target = "options" in to ? ["--target-image-opts"] : ["-O", to.format];
    const existing = "options" in to || options.intoExisting === true ? ["-n"] : preallocated(options.preallocation);
    const words = ["convert", "-p", ...source, ...target, ...existing, placeOf(from), placeOf(to)];
    const limits = [`--cpu=${this.#limits.copyCpuSeconds}`, `--fsize=${Math.ceil(virtualSizeBytes * 1.01) + 64 * MIB}`];
    const { onProgress } = options;
    const onStdout = (chunk: Buffer): void => {
      const percent = lastPercentage(chunk.toString("latin1"));
      if (percent === undefined) return;
      onProgress?.({ bytesDone: Math.round((virtualSizeBytes * percent) / 100), bytesTotal: virtualSizeBytes });
    };
    await this.#run(words, { limits, timeoutMs: this.#limits.copyMs, onStdout }, options);
  }

  /** Writes what the overlay holds into its backing file, which grows to the overlay's size. The overlay stays as it is. */
  async commit(file: FormattedFile, options: TransferOptions = {}): Promise<void> {
    await this.#run(
      ["commit", "-q", "-d", "-f", file.format, local(file.path)],
      { limits: [`--cpu=${this.#limits.copyCpuSeconds}`], timeoutMs: this.#limits.copyMs },
      options,
    );
  }

  #inspect(): RunLimits {
    return { limits: [`--cpu=${this.#limits.inspectCpuSeconds}`], timeoutMs: this.#limits.shortMs };
  }

  #short(): RunLimits {
    return { limits: [], timeoutMs: this.#limits.shortMs };
  }

  /** Space that is written, or reserved where the file system can only write it, takes as long as a copy. */
  #filling(preallocation: Preallocation = "none"): RunLimits {
    return preallocation === "none" ? this.#short() : { limits: [], timeoutMs: this.#limits.copyMs };
  }

  async #run(words: readonly string[], limits: RunLimits, options: TransferOptions): Promise<string> {
    const prlimit = ["prlimit", `--as=${this.#limits.addressSpaceBytes}`, "--core=0", ...limits.limits, "--"];
    try {
      const { stdout } = await this.#commands.run([...prlimit, "qemu-img", ...words], {
        timeoutMs: limits.timeoutMs,
        env: ENVIRONMENT,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        ...(limits.onStdout === undefined ? {} : { onStdout: limits.onStdout }),
      });
      return stdout;
    } catch (error) {
      // `prlimit` was there and qemu-img was not: without it in between, the runner's own error says what to install.
      if (error instanceof CommandError && error.exitCode === EXIT_NOT_FOUND)
        await this.#commands.run(["qemu-img", "--version"]);
      throw error;
    }
  }
}

interface RunLimits {
  readonly limits: readonly string[];
  readonly timeoutMs: number;
  readonly onStdout?: (chunk: Buffer) => void;
}

/** What `qemu-img info` prints as JSON. @throws StateCorruptError */
export function parseInfo(json: string): QemuImageInfo {
  try {
    const info = JSON.parse(json) as Record<string, unknown>;
    const size = info["virtual-size"];
    if (Number.isSafeInteger(size)) {
      const refersToOtherFiles = "backing-filename" in info || "full-backing-filename" in info || hasDataFile(info);
      return { virtualSizeBytes: size as number, refersToOtherFiles };
    }
  } catch (error) {
    if (isHyperviseError(error)) throw error;
  }
  throw new StateCorruptError("qemu-img info printed something that is not a description of an image");
}

function hasDataFile(info: Record<string, unknown>): boolean {
  const specific = info["format-specific"] as { data?: Record<string, unknown> } | undefined;
  return specific?.data?.["data-file"] !== undefined;
}

/** The progress that `-p` printed last: `    (12.34/100%)`. */
function lastPercentage(text: string): number | undefined {
  const last = [...text.matchAll(/\((\d{1,3}\.\d\d)\/100%\)/g)].at(-1)?.[1];
  return last === undefined ? undefined : Number(last);
}

function preallocated(preallocation: Preallocation = "none"): string[] {
  return preallocation === "none" ? [] : ["-o", `preallocation=${preallocation}`];
}

function placeOf(image: FormattedFile | ImageByOptions): string {
  return "options" in image ? optionText(image.options) : local(image.path);
}

function optionText(options: Readonly<Record<string, string>>): string {
  return Object.entries(options)
    .map(([key, value]) => `${key}=${value.replaceAll(",", ",,")}`)
    .join(",");
}

/** An absolute path can be taken neither for an option nor for a protocol. */
function local(path: string): string {
  if (!isAbsolute(path) || path.includes("\0")) {
    throw new InvalidArgumentError({ field: "path", value: path, expected: "an absolute path" });
  }
  return path;
}
