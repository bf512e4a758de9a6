/** Names that files bear to say which process made them, so that those of dead ones can be told. */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { HostIoError } from "./errors.js";
import { identityOf, isAlive } from "./process.js";
import type { ProcessIdentity } from "./process.js";

/** Who made a file: a process of a boot, and which of its files it is. */
export interface ProcessMark extends ProcessIdentity {
  readonly boot: string;
  readonly nonce: string;
}

const MARK = /^([0-9a-f]{8})-(\d{1,10})-(\d{1,20})-([0-9a-f]{16})$/;

let own: Promise<Omit<ProcessMark, "nonce">> | undefined;

/** A mark of this process, never given twice. @throws HostIoError without `/proc`. */
export async function newMark(): Promise<ProcessMark> {
  own ??= readOwn();
  try {
    return { ...(await own), nonce: randomBytes(8).toString("hex") };
  } catch (error) {
    own = undefined;
    throw error;
  }
}

/** As part of a file name: 36 to 56 characters of `0-9a-f-`. */
export function formatMark(mark: ProcessMark): string {
  return `${mark.boot}-${mark.pid}-${mark.startTime}-${mark.nonce}`;
}

/** Undefined when the text is no mark. */
export function parseMark(text: string): ProcessMark | undefined {
  const [, boot, pid, startTime, nonce] = MARK.exec(text) ?? [];
  if (boot === undefined || nonce === undefined) return undefined;
  return { boot, pid: Number(pid), startTime: Number(startTime), nonce };
}

/** Whether the process that made it lives; one of an earlier boot does not. Only good within one pid namespace. */
export async function isMarkAlive(mark: ProcessMark): Promise<boolean> {
  return mark.boot === (await newMark()).boot && (await isAlive(mark));
}

async function readOwn(): Promise<Omit<ProcessMark, "nonce">> {
  const path = "/proc/sys/kernel/random/boot_id";
  const boot = await readFile(path, "latin1").catch((error: unknown) => {
    throw new HostIoError({ operation: "reading the id of the boot", path, cause: error });
  });
  const identity = await identityOf(process.pid);
  if (identity === undefined) throw new HostIoError({ operation: "looking at this process", errno: "ENOENT" });
  return {
    ...identity,
    boot: boot
      .replace(/[^0-9a-f]/g, "")
      .slice(0, 8)
      .padEnd(8, "0"),
  };
}
