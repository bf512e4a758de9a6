/** A pool of Ceph's block devices, by the `rbd` and `ceph` commands and QEMU's own driver; the host has no device for them. */
import { check, InvalidArgumentError, StateCorruptError } from "../../../core/index.js";
import { CommandError } from "../../../host/index.js";
import type { CommandRunner } from "../../../host/index.js";
import type { RbdDiskSource } from "../disk-source.js";
import { DiskFullError } from "../../errors.js";
import type { TransferOptions } from "../../images/image-store.js";
import type { ImageByOptions } from "../../qemu-img.js";
import type { DiskPool, PoolContent, PoolSpace, PoolVolume } from "./disk-pool.js";

export interface RbdPoolOptions {
  readonly pool: string;
  /** Of the pool. Default: the pool's own. */
  readonly namespace?: string;
  /** Name of the Ceph user without `client.`. Default: the configuration's. Its key is read from the key ring that the configuration names. */
  readonly user?: string;
  /** Absolute path of a Ceph configuration. Default: Ceph's own choice. */
  readonly configPath?: string;
  /** A command of Ceph, in milliseconds. Default 120000. */
  readonly commandMs?: number;
}

/** The exit status of `rbd` is the errno. */
const EXIT = { notFound: 2, noSpace: 28, overQuota: 122 } as const;
const NAME = /^[A-Za-z0-9_.][A-Za-z0-9_.+-]*$/;
/** Of names of images. */
const MAX_IMAGE_NAME = 200;
/** Marks are images of no bytes: the one thing that a pool can make, rename and list in one step. */
const MARK = "hypervise+";

const checkName = check.string({
  max: 128,
  pattern: /^[A-Za-z0-9_.][A-Za-z0-9_.-]*$/,
  expected: "a name that Ceph allows",
});

/** Written as a plan after Ceph's documentation: its commands are tested word by word, not against a cluster. */
export class RbdPool implements DiskPool {
  readonly label = "the Ceph pool";
  readonly #commands: CommandRunner;
  readonly #options: RbdPoolOptions;
  readonly #commandMs: number;

  /** @throws InvalidArgumentError */
  constructor(options: RbdPoolOptions, commands: CommandRunner) {
    const { pool, namespace, user, configPath } = options;
    this.#commands = commands;
    this.#options = {
      pool: checkName(pool, "pool"),
      ...(namespace === undefined ? {} : { namespace: checkName(namespace, "namespace") }),
      ...(user === undefined ? {} : { user: checkName(user, "user") }),
      ...(configPath === undefined ? {} : { configPath: check.absolutePath()(configPath, "configPath") }),
    };
    this.#commandMs = check.integer({ min: 1, max: 2 ** 31 - 1 })(options.commandMs ?? 120_000, "commandMs");
  }

  checkName(name: string, field: string): void {
    if (NAME.test(name) && name.length <= MAX_IMAGE_NAME) return;
    throw new InvalidArgumentError({ field, value: name, expected: "a shorter name" });
  }

  async read(): Promise<PoolContent> {
    const rows = await this.#json(["rbd", ...this.#access(), "ls", "--long", "--format", "json", this.#place()]);
    const images = list(rows).filter((row) => row["snapshot"] === undefined);
    const volumes = images.map((row) => ({ name: text(row["image"]), sizeBytes: bytes(row["size"]) }));
    const isMark = ({ name }: PoolVolume): boolean => name.startsWith(MARK);
    return {
      volumes: volumes.filter((volume) => !isMark(volume)),
      marks: volumes.filter(isMark).map(({ name }) => name.slice(MARK.length)),
    };
  }

  roundUp(sizeBytes: number): Promise<number> {
    return Promise.resolve(sizeBytes);
  }

  async create(name: string, sizeBytes: number, options: TransferOptions): Promise<void> {
    await this.#rbd(["create", "--size", `${sizeBytes}B`, this.#place(name)], options);
  }

  async grow({ name }: PoolVolume, sizeBytes: number, options: TransferOptions): Promise<void> {
    await this.#rbd(["resize", "--no-progress", "--size", `${sizeBytes}B`, this.#place(name)], options);
  }

  async remove(name: string): Promise<void> {
    await this.#unlessMissing(this.#rbd(["rm", "--no-progress", this.#place(name)]));
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#rbd(["rename", this.#place(from), this.#place(to)]);
  }

  /** Whoever has an image open watches it. */
  async isInUse(name: string): Promise<boolean> {
    const status = await this.#json(["rbd", ...this.#access(), "status", "--format", "json", this.#place(name)]);
    return list(object(status)["watchers"] ?? []).length > 0;
  }

  async remark(from: string | undefined, to: string | undefined): Promise<void> {
    const place = (mark: string): string => this.#place(`${MARK}${mark}`);
    if (from !== undefined && to !== undefined) await this.#rbd(["rename", place(from), place(to)]);
    else if (to !== undefined) await this.#rbd(["create", "--size", "0B", place(to)]);
    else if (from !== undefined) await this.#unlessMissing(this.#rbd(["rm", "--no-progress", place(from)]));
  }

  async allocatedBytes(volumes: readonly PoolVolume[]): Promise<ReadonlyMap<string, number>> {
    const taken = new Map<string, number>();
    for (const { name } of volumes) {
      const usage = await this.#json(["rbd", ...this.#access(), "du", "--format", "json", this.#place(name)]);
      const rows = list(object(usage)["images"] ?? []).filter((row) => row["name"] === name);
      taken.set(
        name,
        rows.reduce((sum, row) => sum + bytes(row["used_size"]), 0),
      );
    }
    return taken;
  }

  async space(): Promise<PoolSpace> {
    const answer = object(await this.#json(["ceph", ...this.#access(), "df", "--format", "json"]));
    const pool = list(answer["pools"] ?? []).find((row) => row["name"] === this.#options.pool);
    if (pool === undefined) throw new StateCorruptError("the Ceph pool is not there", { detail: this.#options.pool });
    const stats = object(pool["stats"]);
    const freeBytes = bytes(stats["max_avail"]);
    return { totalBytes: freeBytes + bytes(stats["stored"]), freeBytes };
  }

  sourceOf(name: string): RbdDiskSource {
    const { pool, namespace, user, configPath } = this.#options;
    return {
      type: "rbd",
      pool,
      ...(namespace === undefined ? {} : { namespace }),
      image: name,
      ...(user === undefined ? {} : { user }),
      ...(configPath === undefined ? {} : { configPath }),
      format: "raw",
    };
  }

  imageOf(name: string): ImageByOptions {
    const { pool, namespace, user, configPath } = this.#options;
    return {
      options: {
        driver: "raw",
        "file.driver": "rbd",
        "file.pool": pool,
        ...(namespace === undefined ? {} : { "file.namespace": namespace }),
        "file.image": name,
        ...(user === undefined ? {} : { "file.user": user }),
        ...(configPath === undefined ? {} : { "file.conf": configPath }),
      },
    };
  }

  #place(image?: string): string {
    const { pool, namespace } = this.#options;
    return [pool, namespace, image].filter((part) => part !== undefined).join("/");
  }

  #access(): string[] {
    const { user, configPath } = this.#options;
    return [...(configPath === undefined ? [] : ["--conf", configPath]), ...(user === undefined ? [] : ["--id", user])];
  }

  async #rbd(words: readonly string[], { signal }: TransferOptions = {}): Promise<void> {
    try {
      await this.#commands.run(["rbd", ...this.#access(), ...words], {
        timeoutMs: this.#commandMs,
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      const full =
        error instanceof CommandError && (error.exitCode === EXIT.noSpace || error.exitCode === EXIT.overQuota);
      if (!full) throw error;
      throw new DiskFullError("the Ceph pool has no room", { cause: error, detail: this.#place() });
    }
  }

  async #unlessMissing(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      if (!(error instanceof CommandError && error.exitCode === EXIT.notFound)) throw error;
    }
  }

  async #json(argv: readonly string[]): Promise<unknown> {
    const { stdout } = await this.#commands.run(argv, {
      timeoutMs: this.#commandMs,
      maxOutputBytes: 64 * 1024 * 1024,
    });
    try {
      return JSON.parse(stdout) as unknown;
    } catch (error) {
      throw unreadable(error);
    }
  }
}

type Row = Readonly<Record<string, unknown>>;

function object(value: unknown): Row {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw unreadable();
  return value as Row;
}

/** Older releases of Ceph write lists of watchers as objects. */
function list(value: unknown): readonly Row[] {
  if (typeof value !== "object" || value === null) throw unreadable();
  return Object.values(value).map(object);
}

function text(value: unknown): string {
  if (typeof value !== "string") throw unreadable();
  return value;
}

function bytes(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw unreadable();
  return value as number;
}

function unreadable(cause?: unknown): StateCorruptError {
  return new StateCorruptError("Ceph printed something that is not the report that was asked for", { cause });
}
