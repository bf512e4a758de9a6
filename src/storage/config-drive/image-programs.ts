/** The programs that write images, under limits; which of them this host has is found out when one is first needed. */
import { isHyperviseError, NotSupportedError } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import type { TransferOptions } from "../images/image-store.js";

/** Every bound of a run of a program that writes an image. */
export interface ImageProgramLimits {
  /** Address space in bytes. Default 1 GiB. */
  readonly addressSpaceBytes: number;
  /** CPU time in seconds. Default 60. */
  readonly cpuSeconds: number;
  /** Largest file in bytes. Default 256 MiB. */
  readonly fileBytes: number;
  /** Longest run in milliseconds. Default 60000. */
  readonly runMs: number;
}

export const DEFAULT_IMAGE_PROGRAM_LIMITS: ImageProgramLimits = Object.freeze({
  addressSpaceBytes: 1024 ** 3,
  cpuSeconds: 60,
  fileBytes: 256 * 1024 ** 2,
  runMs: 60_000,
});

/** Programs that take the arguments of mkisofs, the best kept first, each with the words that come before those. */
const ISO_PROGRAMS: readonly (readonly [string, ...string[]])[] = [
  ["xorriso", "-no_rc", "-as", "mkisofs"],
  ["genisoimage"],
  ["mkisofs"],
];

export class ImagePrograms {
  readonly #commands: CommandRunner;
  readonly #limits: ImageProgramLimits;
  readonly #present = new Map<string, Promise<boolean>>();

  constructor(commands: CommandRunner, limits: Partial<ImageProgramLimits> = {}) {
    this.#commands = commands;
    this.#limits = { ...DEFAULT_IMAGE_PROGRAM_LIMITS, ...limits };
  }

  /** ISO 9660 with Rock Ridge and Joliet, of all that is in the directory, owned by root and readable for all. @throws NotSupportedError */
  async writeIso(directory: string, label: string, path: string, options: TransferOptions): Promise<void> {
    const program = await this.#isoProgram();
    await this.#run([...program, "-quiet", "-r", "-J", "-V", label, "-o", path, directory], options);
  }

  /** FAT with long names on a file of its final size. @throws NotSupportedError */
  async writeFat(entries: readonly string[], label: string, path: string, options: TransferOptions): Promise<void> {
    await this.#require("mkfs.vfat", "dosfstools");
    await this.#require("mcopy", "mtools");
    await this.#run(["mkfs.vfat", "-n", label, path], options);
    await this.#run(["mcopy", "-s", "-Q", "-i", path, ...entries, "::/"], options);
  }

  async #isoProgram(): Promise<readonly string[]> {
    for (const program of ISO_PROGRAMS) if (await this.#isPresent(program[0])) return program;
    const names = ISO_PROGRAMS.map(([name]) => name);
    throw missing(`one of ${names.join(", ")}`, names.slice(0, 2).join(" or "));
  }

  async #require(program: string, from: string): Promise<void> {
    if (!(await this.#isPresent(program))) throw missing(program, from);
  }

  /** A program that is absent is looked for again the next time. */
  async #isPresent(program: string): Promise<boolean> {
    const known = this.#present.get(program) ?? this.#probe(program);
    this.#present.set(program, known);
    const present = await known.catch((error: unknown) => {
      this.#present.delete(program);
      throw error;
    });
    if (!present) this.#present.delete(program);
    return present;
  }

  async #probe(program: string): Promise<boolean> {
    try {
      await this.#commands.run([program, program === "mkfs.vfat" ? "--help" : "--version"], {
        timeoutMs: this.#limits.runMs,
      });
      return true;
    } catch (error) {
      if (isHyperviseError(error, "COMMAND_NOT_FOUND")) return false;
      // It is there, and has other words for that.
      if (isHyperviseError(error, "COMMAND_FAILED")) return true;
      throw error;
    }
  }

  async #run(words: readonly string[], { signal }: TransferOptions): Promise<void> {
    const { addressSpaceBytes, cpuSeconds, fileBytes, runMs } = this.#limits;
    const limits = [`--as=${addressSpaceBytes}`, `--cpu=${cpuSeconds}`, `--fsize=${fileBytes}`, "--core=0"];
    await this.#commands.run(["prlimit", ...limits, "--", ...words], {
      timeoutMs: runMs,
      env: ENVIRONMENT,
      ...(signal === undefined ? {} : { signal }),
    });
  }
}

/** mtools reads no settings of anybody's; no thread's own heap uses up the address space. */
const ENVIRONMENT = { MTOOLSRC: "/dev/null", MTOOLS_SKIP_CHECK: "1", MALLOC_ARENA_MAX: "2" };

function missing(program: string, from: string): NotSupportedError {
  return new NotSupportedError({
    capability: "configDrive",
    message: `making this config drive needs ${program}, which this host does not have`,
    remedy: `Install ${from}.`,
  });
}
