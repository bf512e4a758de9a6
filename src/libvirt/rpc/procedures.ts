/** The procedures of libvirt's three programs by name and by number. */
import { InvalidArgumentError } from "../../core/index.js";
import type { Procedure, ProgramName } from "./procedure.js";
import { proceduresOf } from "./protocol/schema.js";

export type { Procedure, ProgramName } from "./procedure.js";

/** Number and version of each program on the wire. */
export const PROGRAMS = {
  remote: { number: 0x20008086, version: 1 },
  qemu: { number: 0x20008087, version: 1 },
  lxc: { number: 0x00068000, version: 1 },
} as const satisfies Readonly<Record<ProgramName, { readonly number: number; readonly version: number }>>;

const byName = new Map<ProgramName, ReadonlyMap<string, Procedure>>();

/** The procedure of a name; `InvalidArgumentError` when the program has none of that name. */
export function procedureNamed(program: ProgramName, name: string): Procedure {
  let names = byName.get(program);
  if (names === undefined) {
    names = new Map(proceduresOf(program).map((procedure) => [procedure.name, procedure]));
    byName.set(program, names);
  }
  const procedure = names.get(name);
  if (procedure === undefined) {
    throw new InvalidArgumentError({
      field: "procedure",
      value: name,
      expected: `a procedure of the program ${program}`,
    });
  }
  return procedure;
}

/** The procedure of a number; `undefined` when this version of the protocol has none. */
export function procedureNumbered(program: ProgramName, number: number): Procedure | undefined {
  return proceduresOf(program)[number - 1];
}
