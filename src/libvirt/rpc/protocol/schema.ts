/** Structures and procedures of the three programs, read from the generated tables on first use. */
import type { ProgramName } from "../procedure.js";
import { LXC_PROCEDURES } from "./lxc-tables.gen.js";
import { QEMU_PROCEDURES } from "./qemu-tables.gen.js";
import { readProcedures, readStructs } from "./read-tables.js";
import type { ProcedureEntry, StructLookup } from "./read-tables.js";
import { REMOTE_PROCEDURES, STRUCTS } from "./remote-tables.gen.js";
import type { StructNode } from "./type-node.js";

const TABLES: Readonly<Record<ProgramName, string>> = {
  remote: REMOTE_PROCEDURES,
  qemu: QEMU_PROCEDURES,
  lxc: LXC_PROCEDURES,
};

let structs: StructLookup | undefined;
const programs = new Map<ProgramName, readonly ProcedureEntry[]>();

/** The structure of a name, such as `Domain`. */
export function structNamed(name: string): StructNode {
  structs ??= readStructs(STRUCTS);
  return structs(name);
}

/** The procedures of a program; number `n` stands at `n - 1`. */
export function proceduresOf(program: ProgramName): readonly ProcedureEntry[] {
  let procedures = programs.get(program);
  if (procedures === undefined) {
    procedures = readProcedures(program, TABLES[program], structNamed);
    programs.set(program, procedures);
  }
  return procedures;
}
