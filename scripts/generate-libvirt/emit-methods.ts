/** The types of the object handles: the rules of `method-plan.ts`, written down for the compiler. */
import { planMethod, isFlag } from "../../src/libvirt/rpc/objects/method-plan.js";
import type { MethodPlan, Owner } from "../../src/libvirt/rpc/objects/method-plan.js";
import { isNamedValues } from "../../src/libvirt/rpc/objects/convert.js";
import { OBJECT_KINDS, OBJECT_KIND_NAMES, isObjectKind } from "../../src/libvirt/rpc/objects/object-kind.js";
import type { ObjectKind } from "../../src/libvirt/rpc/objects/object-kind.js";
import { CALL_OPTIONS } from "../../src/libvirt/rpc/objects/rpc-caller.js";
import type { ProgramName } from "../../src/libvirt/rpc/procedure.js";
import { readProcedures, readStructs } from "../../src/libvirt/rpc/protocol/read-tables.js";
import type { StructLookup } from "../../src/libvirt/rpc/protocol/read-tables.js";
import type { FieldNode, StructNode, TypeNode } from "../../src/libvirt/rpc/protocol/type-node.js";
import { procedureTable, structTable, usedStructs } from "./emit-tables.js";
import { since } from "./emit-types.js";
import type { MergedProgram } from "./merge-programs.js";

const NUMBERS = ["int", "uint", "double", "char", "uchar", "ushort"];
const TEXTS = ["string", "uuid", "charText"];
const CPU_TYPES = {
  vcpus: "readonly VcpuStatus[]",
  vcpuPins: "readonly Uint8Array[]",
  emulatorPin: "Uint8Array",
  cpuStats: "readonly TypedParameterValues[]",
} as const;

export function emitMethods(programs: readonly MergedProgram[], oldest: string): string {
  return new Emitter(programs, oldest).emit();
}

class Emitter {
  readonly #programs: readonly MergedProgram[];
  readonly #oldest: string;
  readonly #structOf: StructLookup;
  readonly #kinds: readonly ObjectKind[];
  readonly #remoteTypes = new Set<string>();
  readonly #enums = new Set<string>();

  constructor(programs: readonly MergedProgram[], oldest: string) {
    this.#programs = programs;
    this.#oldest = oldest;
    const structs = usedStructs(programs);
    this.#structOf = readStructs(structTable(structs));
    this.#kinds = OBJECT_KIND_NAMES.filter((kind) => structs.has(kind));
  }

  emit(): string {
    const methods = new Map<Owner, Map<string, string>>();
    for (const program of this.#programs) {
      const entries = readProcedures(program.program as ProgramName, procedureTable(program), this.#structOf);
      program.procedures.forEach((procedure, i) => {
        const entry = entries[i];
        const plan = entry && planMethod(entry);
        if (plan === undefined) return;
        const own = methods.get(plan.owner) ?? new Map<string, string>();
        methods.set(plan.owner, own);
        if (own.has(plan.method)) throw new Error(`${plan.owner} would have two methods ${plan.method}`);
        own.set(plan.method, `${since(procedure, this.#oldest)}${this.#method(plan)}`);
      });
    }
    const handles = this.#kinds.map((kind) => {
      const struct = this.#structOf(kind);
      const own = methods.get(kind) ?? new Map<string, string>();
      for (const { name } of struct.fields)
        if (own.has(name)) throw new Error(`${kind} has a member and a method ${name}`);
      const members = struct.fields.map(({ name, type }) => `  readonly ${name}: ${this.#given(type)};`);
      return `export interface ${OBJECT_KINDS[kind].handle} {\n${[...members, ...sorted(own)].join("\n")}\n}\n`;
    });
    const client = `/** The methods of a client: all that is no object's. */\nexport interface ClientMethods {\n${sorted(methods.get("client") ?? new Map<string, string>()).join("\n")}\n}\n`;
    const imports = [
      `import type { LibvirtExecuteOptions } from "../connection.js";`,
      `import type { LibvirtStream, LibvirtStreamOptions } from "../streams/libvirt-stream.js";`,
      `import type { TypedParameter, TypedParameterInput, TypedParameterValues } from "../typed-parameter.js";`,
      `import type { LibvirtCallOptions } from "../window.js";`,
      `import type { ${[...this.#enums].sort().join(", ")} } from "../protocol/enums.gen.js";`,
      `import type { ${[...this.#remoteTypes].sort().join(", ")} } from "../protocol/remote-types.gen.js";`,
      `import type { VcpuStatus } from "./cpu-methods.js";`,
      `import type { FlagsInput } from "./flags.js";\n`,
    ];
    return [...imports, ...handles, client].join("\n");
  }

  #method(plan: MethodPlan): string {
    const positional = plan.positional.map((field) => `${field.name}: ${this.#taken(field)}`);
    const base = optionsType(plan);
    const own = plan.optional.map((field) => {
      if (CALL_OPTIONS.includes(field.name)) throw new Error(`${plan.method}: ${field.name} is an option of all calls`);
      const type = field.name === "flags" ? this.#flags(plan, field) : this.#taken(field);
      return `readonly ${field.name}?: ${type} | undefined`;
    });
    const options = own.length === 0 ? base : `${base} & { ${own.join("; ")} }`;
    return `  ${plan.method}(${[...positional, `options?: ${options}`].join(", ")}): Promise<${this.#result(plan)}>;`;
  }

  #flags({ procedure }: MethodPlan, { type }: FieldNode): string {
    const wide = type.kind === "uhyper" ? "bigint | " : "";
    if (procedure.flagNames.length === 0) return `${wide}number`;
    for (const name of procedure.flagNames) this.#enums.add(name);
    return `${wide}FlagsInput<${procedure.flagNames.map((name) => `typeof ${name}`).join(" & ")}>`;
  }

  #result({ result }: MethodPlan): string {
    switch (result.kind) {
      case "nothing":
        return "void";
      case "stream":
        return "LibvirtStream";
      case "value": {
        if (result.boolean) return "boolean";
        const { type } = result.field;
        return type.kind === "optional" ? `${this.#given(type.of)} | undefined` : this.#given(type);
      }
      case "object":
        return this.#object(result.fields);
      default:
        return CPU_TYPES[result.kind];
    }
  }

  /** The type of an argument. */
  #taken({ name, type }: FieldNode): string {
    if (type.kind === "optional") return this.#taken({ name, type: type.of });
    if (isFlag({ name, type })) return "boolean";
    if (type.kind === "hyper" || type.kind === "uhyper") return "bigint | number";
    if (type.kind === "array" && type.of.kind === "typedParameter")
      return "TypedParameterInput | readonly TypedParameter[]";
    if (type.kind === "array") return list(this.#taken({ name: "", type: type.of }));
    return type.kind === "struct" ? this.#remote(type) : this.#plain(type);
  }

  /** The type of what is returned. */
  #given(type: TypeNode): string {
    if (isNamedValues(type)) return "TypedParameterValues";
    if (type.kind === "array") return list(this.#given(type.of));
    if (type.kind !== "struct") return this.#plain(type);
    if (isObjectKind(type.name)) return OBJECT_KINDS[type.name].handle;
    return holdsHandles(type) ? this.#object(type.fields) : this.#remote(type);
  }

  #object(fields: readonly FieldNode[]): string {
    const members = fields.map(({ name, type }) =>
      type.kind === "optional"
        ? `readonly ${name}?: ${this.#given(type.of)} | undefined`
        : `readonly ${name}: ${this.#given(type)}`,
    );
    return `{ ${members.join("; ")} }`;
  }

  #remote(struct: StructNode): string {
    const name = `Remote${struct.name}`;
    this.#remoteTypes.add(name);
    return name;
  }

  #plain({ kind }: TypeNode): string {
    if (NUMBERS.includes(kind)) return "number";
    if (TEXTS.includes(kind)) return "string";
    if (kind === "hyper" || kind === "uhyper") return "bigint";
    if (kind === "opaque" || kind === "charBytes") return "Uint8Array";
    throw new Error(`no type for ${kind}`);
  }
}

function optionsType({ procedure, result }: MethodPlan): string {
  if (result.kind === "stream") return "LibvirtStreamOptions";
  return procedure.passesFds === true ? "LibvirtExecuteOptions" : "LibvirtCallOptions";
}

/** Whether a structure is given otherwise than it is read. */
function holdsHandles(type: TypeNode): boolean {
  if (type.kind === "optional") return holdsHandles(type.of);
  if (type.kind === "array") return isNamedValues(type) || holdsHandles(type.of);
  if (type.kind !== "struct") return false;
  return isObjectKind(type.name) || type.fields.some((field) => holdsHandles(field.type));
}

function list(item: string): string {
  return `readonly ${/^readonly| \| /.test(item) ? `(${item})` : item}[]`;
}

function sorted(methods: ReadonlyMap<string, string>): string[] {
  return [...methods].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text);
}
