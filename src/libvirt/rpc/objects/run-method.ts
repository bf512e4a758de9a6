/** Runs a method by its plan: one call, or two where a count is asked for first. */
import { InvalidArgumentError } from "../../../core/index.js";
import { LibvirtProtocolError } from "../errors.js";
import type { FieldNode } from "../protocol/type-node.js";
import { fromWire, toWire } from "./convert.js";
import type { MakeHandle } from "./convert.js";
import { runCpuMethod } from "./cpu-methods.js";
import { flagsToNumber } from "./flags.js";
import type { MethodPlan } from "./method-plan.js";
import { CALL_OPTIONS } from "./rpc-caller.js";
import type { RpcCaller, WireRecord } from "./rpc-caller.js";

/** What the daemon's strings among typed parameters must be asked for with. `VIR_TYPED_PARAM_STRING_OKAY`. */
const STRINGS_PLEASE = 4n;

/** What the methods of one connection's handles share. */
export interface MethodContext {
  readonly caller: RpcCaller;
  readonly make: MakeHandle;
}

/** @param self the handle; `undefined` for methods of the client */
export async function runMethod(
  plan: MethodPlan,
  context: MethodContext,
  self: object | undefined,
  given: readonly unknown[],
): Promise<unknown> {
  const { args, options } = argumentsOf(plan, self, given);
  const { caller, make } = context;
  const { procedure, result } = plan;
  const call = (changes: WireRecord = {}): Promise<WireRecord> =>
    caller.execute(procedure, { ...args, ...changes }, options) as Promise<WireRecord>;
  switch (result.kind) {
    case "stream":
      return caller.executeStream(procedure, args, options);
    case "vcpus":
    case "vcpuPins":
    case "emulatorPin":
    case "cpuStats":
      return runCpuMethod(result.kind, { caller, args, options, call });
    default:
      return shape(plan, plan.counted ? await callCounted(plan, call) : await call(), make);
  }
}

function argumentsOf(
  plan: MethodPlan,
  self: object | undefined,
  given: readonly unknown[],
): { args: WireRecord; options: object } {
  const { positional, optional } = plan;
  const last = given[positional.length] ?? {};
  if (typeof last !== "object" || given.length > positional.length + 1) {
    const expected = `${positional.length} arguments and an object of options`;
    throw new InvalidArgumentError({ field: "arguments", value: `${given.length} arguments`, expected });
  }
  const args: WireRecord = Object.fromEntries(plan.filled);
  if (self !== undefined && plan.self !== undefined) {
    const { field, as } = plan.self;
    args[field] = as === "reference" ? self : (self as { readonly name?: unknown }).name;
  }
  positional.forEach(({ name, type }, i) => (args[name] = toWire(name, type, given[i])));
  const options: WireRecord = { ...last };
  for (const field of optional) {
    const { name, type } = field;
    args[name] = name === "flags" ? flags(plan, field, options[name]) : toWire(name, type, options[name]);
    delete options[name];
  }
  const unknown = Object.keys(options).find((name) => !CALL_OPTIONS.includes(name));
  if (unknown !== undefined) {
    const names = [...optional.map((field) => field.name), ...CALL_OPTIONS].join(", ");
    throw new InvalidArgumentError({
      field: `options.${unknown}`,
      value: options[unknown],
      expected: `one of ${names}`,
    });
  }
  return { args, options };
}

function flags({ procedure }: MethodPlan, { type }: FieldNode, input: unknown): unknown {
  if (typeof input === "bigint" && type.kind === "uhyper") return input;
  const number = flagsToNumber(input ?? 0, procedure.flagNames, "arguments.flags");
  // As libvirt's own client does; the daemon's drivers are asked with this flag in any case.
  return toWire("flags", type, procedure.stringsAsked ? withStrings(number) : number);
}

/** What is no number is left for the codec to refuse. */
function withStrings(flags: number): number {
  return Number.isSafeInteger(flags) ? Number(BigInt(flags) | STRINGS_PLEASE) : flags;
}

/** Asks for the count of parameters, then for that many; a daemon that gives all of them at once is not asked again. */
async function callCounted(plan: MethodPlan, call: (changes: WireRecord) => Promise<WireRecord>): Promise<WireRecord> {
  const first = await call({ nparams: 0 });
  const count = first["nparams"];
  const most = plan.filled.get("nparams") ?? 0;
  if (typeof count !== "number" || count < 0 || count > most) {
    throw new LibvirtProtocolError(
      `${plan.procedure.name} has ${String(count)} parameters where at most ${most} may be`,
    );
  }
  const list = first["params"];
  return count === 0 || (Array.isArray(list) && list.length > 0) ? first : call({ nparams: count });
}

function shape({ result }: MethodPlan, value: WireRecord, make: MakeHandle): unknown {
  switch (result.kind) {
    case "value": {
      const { name, type } = result.field;
      return result.boolean ? value[name] !== 0 : fromWire(type, value[name], make);
    }
    case "object":
      return Object.fromEntries(
        result.fields
          .filter(({ name }) => Object.hasOwn(value, name))
          .map(({ name, type }) => [name, fromWire(type, value[name], make)]),
      );
    default:
      return undefined;
  }
}
