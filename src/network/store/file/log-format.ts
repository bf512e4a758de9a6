/** The lines of a log file: each with a checksum, and between line breaks of its own, so that a torn one spoils no other. */
import { createHash } from "node:crypto";
import type { EncodedChange, TableRecord } from "../record-table.js";

/** What stands in one line. */
export type LogEntry =
  | { readonly type: "begin"; readonly generation: number }
  | { readonly type: "snapshot"; readonly records: readonly TableRecord[]; readonly lastVersion: number }
  | {
      readonly type: "commits";
      /** Names the entry among all. */
      readonly id: string;
      /** A point up to which the writer had the log on the disk, and the checksum of all entries up to there. */
      readonly known?: { readonly offset: number; readonly sum: string } | undefined;
      /** Each of them holds or fails by itself. */
      readonly commits: readonly (readonly EncodedChange[])[];
    }
  /** Nothing behind this counts: the log goes on in the next file. */
  | { readonly type: "seal" };

const SUM_LENGTH = 16;
export const NEW_LINE = 0x0a;

export function sumOf(...parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex").slice(0, SUM_LENGTH);
}

/** An entry as bytes. It begins with a line break too: what was torn off before it ends there. */
export function encodeEntry(entry: LogEntry): Buffer {
  const text = JSON.stringify(entry);
  return Buffer.from(`\n${sumOf(text)} ${text}\n`);
}

/** The entry of a line without its line breaks, and its checksum; undefined when the line is none. */
export function decodeLine(line: Buffer): { readonly entry: LogEntry; readonly sum: string } | undefined {
  if (line.length <= SUM_LENGTH + 1 || line[SUM_LENGTH] !== 0x20) return undefined;
  const body = line.subarray(SUM_LENGTH + 1);
  const sum = sumOf(body);
  if (line.toString("latin1", 0, SUM_LENGTH) !== sum) return undefined;
  return { entry: JSON.parse(body.toString("utf8")) as LogEntry, sum };
}
