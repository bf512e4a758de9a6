/** Unites what several releases of libvirt have of a program. The protocol only grows; anything else is an error. */
import type { Field, ProcedureModel, ProgramModel } from "./protocol-model.js";

export interface ReleasedProcedure extends ProcedureModel {
  /** The first of the given releases that has it. */
  readonly release: string;
}

export interface MergedProgram {
  readonly program: string;
  readonly procedures: readonly ReleasedProcedure[];
  readonly structs: ReadonlyMap<string, readonly Field[]>;
}

/** @param programs oldest release first */
export function mergePrograms(programs: readonly (readonly [release: string, program: ProgramModel])[]): MergedProgram {
  const procedures = new Map<number, ReleasedProcedure>();
  const structs = new Map<string, readonly Field[]>();
  for (const [release, { procedures: found, structs: types }] of programs) {
    for (const procedure of found) {
      const before = procedures.get(procedure.number);
      if (before !== undefined) same(`procedure ${before.name}`, wireOf(before), wireOf(procedure));
      procedures.set(procedure.number, { ...procedure, release: before?.release ?? release });
    }
    for (const [name, fields] of types) {
      const before = structs.get(name);
      if (before !== undefined) same(`structure ${name}`, before, fields);
      structs.set(name, fields);
    }
  }
  const sorted = [...procedures.values()].sort((a, b) => a.number - b.number);
  sorted.forEach(({ number, name }, i) => {
    if (number !== i + 1) throw new Error(`${name} has number ${number} where ${i + 1} was to come`);
  });
  return { program: programs[0]?.[1].program ?? "", procedures: sorted, structs };
}

function wireOf({ name, arguments: args, result }: ProcedureModel): unknown {
  return { name, args, result };
}

function same(what: string, older: unknown, newer: unknown): void {
  if (JSON.stringify(older) !== JSON.stringify(newer)) throw new Error(`${what} is not the same in all releases`);
}
