/** The few programs that a simulated guest has. */
import type { GuestRecord } from "./guest-record.js";

export interface ProgramResult {
  readonly exitCode: number;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

type Program = (record: GuestRecord, args: readonly string[], input: Uint8Array) => ProgramResult;

const PROGRAMS: Readonly<Record<string, Program>> = {
  true: () => result(""),
  false: () => result("", 1),
  echo: (_record, args) => result(`${args.join(" ")}\n`),
  hostname: (record) => result(`${record.definition.name}\n`),
  nproc: (record) => result(`${record.definition.vcpus}\n`),
  uname: () => result("Linux\n"),
  cat: (record, args, input) => {
    if (args.length === 0) return { ...result(""), stdout: input };
    const stored = args.map((path) => record.extras?.files[path]);
    const missing = stored.indexOf(undefined);
    if (missing >= 0) return failure(`cat: ${args[missing]}: No such file or directory`);
    return {
      ...result(""),
      stdout: new Uint8Array(Buffer.concat(stored.map((file) => Buffer.from(file ?? "", "base64")))),
    };
  },
  lsblk: (record) => result(record.definition.disks.map((disk) => `${disk.deviceName}\n`).join("")),
};

export const PROGRAM_NAMES = Object.keys(PROGRAMS);

/** Runs a program by the last part of its path; one that is not there ends with 127, as a shell says it. */
export function runProgram(
  record: GuestRecord,
  argv: readonly string[],
  input: Uint8Array = new Uint8Array(),
): ProgramResult {
  const [path = "", ...args] = argv;
  const name = path.slice(path.lastIndexOf("/") + 1);
  const program = Object.hasOwn(PROGRAMS, name) ? PROGRAMS[name] : undefined;
  return program === undefined ? failure(`${path}: not found`, 127) : program(record, args, input);
}

function result(text: string, exitCode = 0): ProgramResult {
  return { exitCode, stdout: new TextEncoder().encode(text), stderr: new Uint8Array() };
}

function failure(text: string, exitCode = 1): ProgramResult {
  return { exitCode, stdout: new Uint8Array(), stderr: new TextEncoder().encode(`${text}\n`) };
}
