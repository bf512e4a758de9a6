/** Typed parameters as drivers take and give them: checked by name and type, and as many as the caller asks for. */
import type { TypedParameter } from "../../../libvirt/rpc/index.js";
import { refusal } from "./refuse.js";

/** Parameters that a procedure has, in libvirt's order, with their types. */
export type ParameterTable = readonly (readonly [field: string, type: TypedParameter["type"]])[];

/** Refuses what a procedure does not have, as libvirt does. @throws FakeLibvirtError */
export function checkParameters(params: readonly TypedParameter[], table: ParameterTable): void {
  for (const { field, type } of params) {
    const known = table.find(([name]) => name === field)?.[1];
    if (known === undefined) throw refusal("argumentUnsupported", "none", `parameter '${field}' not supported`);
    if (known !== type)
      throw refusal("invalidArg", "none", `invalid type '${type}' for parameter '${field}', expected '${known}'`);
  }
}

/** A parameter of the type that the table says, from whatever number or text it is kept as. */
export function parameter(field: string, type: TypedParameter["type"], value: unknown): TypedParameter {
  switch (type) {
    case "llong":
    case "ullong":
      return { field, type, value: BigInt(value as number | bigint | string) };
    case "string":
      return { field, type, value: String(value) };
    case "boolean":
      return { field, type, value: value === true };
    default:
      return { field, type, value: Number(value) };
  }
}

/** The first call asks how many there are, the second for so many; one that has room for fewer is refused. */
export function someParameters(
  all: readonly TypedParameter[],
  nparams: number,
): { readonly params: TypedParameter[]; readonly nparams: number } {
  return nparams === 0 ? { params: [], nparams: all.length } : { params: all.slice(0, nparams), nparams: all.length };
}
