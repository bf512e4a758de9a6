/** A `qemu-img` that works on small files: a true qcow2 header, then the names of what was written, one a line. */
import { readFile, stat, truncate, writeFile } from "node:fs/promises";
import { CommandError, CommandNotFoundError } from "../../../../src/host/index.js";
import type { CommandOptions, CommandResult, CommandRunner } from "../../../../src/host/index.js";
import { parseQcow2Header } from "../../../../src/storage/images/qcow2-header.js";
import { qcow2Header } from "./qcow2-bytes.js";

const BODY_AT = 512 * 8;

export class FakeQemuImg implements CommandRunner {
  /** The words after `qemu-img` of each call. */
  readonly calls: string[][] = [];
  /** Limits that each call ran under. */
  readonly limits: string[][] = [];
  /** Called before a command does anything; throws to make it fail. */
  before: (words: readonly string[]) => void | Promise<void> = () => undefined;
  /** False: the program is not installed. */
  installed = true;
  /** What `check` says. */
  sound = true;

  async run(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    options.signal?.throwIfAborted();
    const at = argv.indexOf("qemu-img");
    if (!this.installed && at === 0) throw new CommandNotFoundError("qemu-img");
    if (!this.installed) throw failure(argv, 127);
    const words = argv.slice(at + 1);
    this.limits.push(argv.slice(0, at));
    this.calls.push([...words]);
    await this.before(words);
    options.signal?.throwIfAborted();
    return { stdout: await this.#act(words, argv, options), stderr: "", exitCode: 0 };
  }

  async #act(words: readonly string[], argv: readonly string[], options: CommandOptions): Promise<string> {
    const plain = words.filter((word, i) => !word.startsWith("-") && !/^-[fFObo]$/.test(words[i - 1] ?? ""));
    const [verb, first = "", second = ""] = plain;
    const option = (name: string): string | undefined =>
      words.includes(name) ? words[words.indexOf(name) + 1] : undefined;
    switch (verb) {
      case "create": {
        const backing = option("-b");
        if (backing !== undefined) await stat(backing);
        const size = second === "" ? await sizeOf(backing ?? "", option("-F")) : Number(second);
        await create(first, option("-f"), size, backing, option("-F"), []);
        return "";
      }
      case "resize":
        if (option("-f") === "raw") await truncate(first, Number(second));
        else await rewrite(first, { sizeBytes: Number(second) });
        return "";
      case "info": {
        if (option("-f") !== "qcow2") return JSON.stringify({ "virtual-size": (await stat(first)).size });
        const header = parseQcow2Header(await readFile(first));
        const backing = header.backingFile === undefined ? {} : { "backing-filename": header.backingFile };
        return JSON.stringify({ "virtual-size": header.virtualSizeBytes, ...backing });
      }
      case "check":
        if (!this.sound) throw failure(argv, 2);
        return "{}";
      case "convert":
        options.onStdout?.(Buffer.from("    (0.00/100%)\r    (50.00/100%)\r"));
        if (words.includes("-n")) {
          const { size } = await stat(second);
          await create(second, "raw", size, undefined, undefined, await contentOf(first, option("-f")));
          return "";
        }
        await create(
          second,
          option("-O"),
          await sizeOf(first, option("-f")),
          undefined,
          undefined,
          await contentOf(first, option("-f")),
        );
        return "";
      case "commit": {
        const { backingFile = "", virtualSizeBytes } = parseQcow2Header(await readFile(first));
        const content = await ownContent(first);
        const below = await ownContent(backingFile);
        await rewrite(backingFile, {
          sizeBytes: virtualSizeBytes,
          content: [...below, ...content.filter((item) => !below.includes(item))],
        });
        return "";
      }
      case "fallocate":
        return "";
      default:
        throw failure(argv, 1);
    }
  }
}

/** What a guest sees on a disk: what was written to it and to all that it is an overlay of. */
export async function contentOf(path: string, format = "qcow2"): Promise<string[]> {
  if (format !== "qcow2")
    return (await readFile(path, "utf8"))
      .replace(/\0+$/, "")
      .split("\n")
      .filter((line) => line !== "");
  const { backingFile, backingFormat } = parseQcow2Header(await readFile(path));
  const below = backingFile === undefined ? [] : await contentOf(backingFile, backingFormat);
  return [...new Set([...below, ...(await ownContent(path))])];
}

/** What a guest does. */
export async function guestWrites(path: string, item: string, format = "qcow2"): Promise<void> {
  if (format === "qcow2") return rewrite(path, { content: [...(await ownContent(path)), item] });
  const { size } = await stat(path);
  await writeFile(path, [...(await contentOf(path, "raw")), item, ""].join("\n"));
  await truncate(path, size);
}

/** A qcow2 image of that content. */
export async function makeImage(path: string, content: readonly string[], sizeBytes = 1024 * 1024): Promise<void> {
  await create(path, "qcow2", sizeBytes, undefined, undefined, content);
}

export function failure(argv: readonly string[], exitCode: number): CommandError {
  return new CommandError({ argv, exitCode, stderr: "qemu-img: it said no" });
}

async function create(
  path: string,
  format: string | undefined,
  sizeBytes: number,
  backing: string | undefined,
  backingFormat: string | undefined,
  content: readonly string[],
): Promise<void> {
  if (format === "raw") {
    await writeFile(path, content.map((item) => `${item}\n`).join(""));
    return truncate(path, sizeBytes);
  }
  const header = qcow2Header({
    virtualSizeBytes: sizeBytes,
    ...(backing === undefined ? {} : { backingFile: backing }),
    ...(backingFormat === undefined ? {} : { backingFormat }),
  });
  await writeFile(
    path,
    Buffer.concat([header, Buffer.alloc(BODY_AT - header.length), Buffer.from(JSON.stringify(content))]),
  );
}

async function ownContent(path: string): Promise<string[]> {
  return JSON.parse((await readFile(path)).toString("utf8", BODY_AT)) as string[];
}

async function rewrite(
  path: string,
  change: { readonly sizeBytes?: number; readonly content?: readonly string[] },
): Promise<void> {
  const bytes = await readFile(path);
  if (change.sizeBytes !== undefined) bytes.writeBigUInt64BE(BigInt(change.sizeBytes), 24);
  const content = change.content ?? (await ownContent(path));
  await writeFile(path, Buffer.concat([bytes.subarray(0, BODY_AT), Buffer.from(JSON.stringify(content))]));
}

async function sizeOf(path: string, format: string | undefined): Promise<number> {
  return format === "qcow2" ? parseQcow2Header(await readFile(path)).virtualSizeBytes : (await stat(path)).size;
}
