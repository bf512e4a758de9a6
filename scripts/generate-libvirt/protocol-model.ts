/** What the generator knows of a program: its procedures and structures, with types resolved. */
import type { ApiDescription } from "./api-description.js";
import { camelCase, pascalCase, protocolWords, words } from "./names.js";
import type { Bound, Declaration, EnumItem, Protocol } from "./protocol-parser.js";

export type FieldType =
  | { readonly kind: "number"; readonly of: NumberKind }
  | { readonly kind: "string" | "uuid" | "typedParameter" }
  | { readonly kind: "opaque" | "charBytes"; readonly max: number }
  | { readonly kind: "text"; readonly length: number; readonly fixed: boolean }
  | { readonly kind: "struct"; readonly name: string }
  | { readonly kind: "optional"; readonly of: FieldType }
  | { readonly kind: "array"; readonly of: FieldType; readonly max: number };

export type NumberKind =
  "int" | "unsigned int" | "hyper" | "unsigned hyper" | "double" | "char" | "unsigned char" | "unsigned short";

export interface Field {
  readonly name: string;
  readonly type: FieldType;
}

export interface ProcedureModel {
  readonly number: number;
  readonly name: string;
  /** Words of the constant, for the error messages of the generator. */
  readonly constant: string;
  readonly event: boolean;
  readonly high: boolean;
  readonly stream?: "read" | "write" | "both";
  readonly sparse: boolean;
  readonly fds: boolean;
  readonly stringsAsked: boolean;
  readonly flags: readonly string[];
  readonly since?: string;
  /** Arguments, or the payload of an event. */
  readonly arguments: readonly Field[];
  readonly result: readonly Field[];
}

export interface ProgramModel {
  readonly program: string;
  readonly procedures: readonly ProcedureModel[];
  readonly structs: ReadonlyMap<string, readonly Field[]>;
}

/** What only libvirt's C code tells: which procedures carry descriptors. */
const WITH_FDS = [
  "domainOpenGraphics",
  "domainOpenGraphicsFd",
  "domainCreateXmlWithFiles",
  "domainCreateWithFiles",
  "domainFdAssociate",
  "domainQemuMonitorCommandWithFiles",
  "domainLxcOpenNamespace",
];
/** What only libvirt's C code tells: streams that go both ways though annotated as read. */
const BOTH_WAYS = ["domainOpenConsole", "domainOpenChannel"];
/** What only libvirt's C code tells: a stream that is not annotated. */
const WRITTEN = ["domainMigratePrepareTunnel3Params"];

const TYPED_PARAMETER = "remote_typed_param";
const STRING_MAX = "REMOTE_STRING_MAX";

/**
 * @param shared the remote program's protocol, whose types the other programs use
 */
export function buildProgram(program: string, protocol: Protocol, shared: Protocol, api: ApiDescription): ProgramModel {
  return new Builder(program, protocol, shared, api).build();
}

class Builder {
  readonly #program: string;
  readonly #protocol: Protocol;
  readonly #shared: Protocol;
  readonly #api: ApiDescription;

  constructor(program: string, protocol: Protocol, shared: Protocol, api: ApiDescription) {
    this.#program = program;
    this.#protocol = protocol;
    this.#shared = shared;
    this.#api = api;
  }

  build(): ProgramModel {
    this.#checkTypedParameter();
    const items = this.#protocol.enums.get(`${this.#program}_procedure`) ?? [];
    if (items.length === 0) throw new Error(`${this.#program} has no procedures`);
    const structs = new Map<string, readonly Field[]>();
    for (const [name, members] of this.#protocol.structs) {
      if (name !== TYPED_PARAMETER) structs.set(structName(name), this.#fields(members));
    }
    return { program: this.#program, procedures: items.map((item) => this.#procedure(item)), structs };
  }

  #procedure(item: EnumItem): ProcedureModel {
    const prefix = `${this.#program.toUpperCase()}_PROC_`;
    if (!item.name.startsWith(prefix)) throw new Error(`${item.name} is no procedure`);
    const constant = item.name.slice(prefix.length);
    const base = `${this.#program}_${constant.toLowerCase()}`;
    const payload = this.#protocol.structs.get(`${base}_msg`);
    const given = this.#api.functionLike(this.#program, constant);
    const name = camelCase(given === undefined ? protocolWords(constant.toLowerCase()) : words(given.name));
    const notes = new Map(item.annotations);
    const stream = BOTH_WAYS.includes(name)
      ? "both"
      : notes.has("readstream")
        ? "read"
        : notes.has("writestream") || WRITTEN.includes(name)
          ? "write"
          : undefined;
    return {
      number: item.value,
      name,
      constant,
      event: payload !== undefined,
      high: notes.get("priority") === "high",
      ...(stream === undefined ? {} : { stream }),
      sparse: notes.has("sparseflag"),
      fds: WITH_FDS.includes(name),
      stringsAsked: given !== undefined && this.#api.asksForStrings(given.cName),
      // The phases of a migration are no functions of the C interface, but take the flags of the one that is.
      flags: given?.flags ?? (/^domainMigrate[A-Z]/.test(name) ? ["DomainMigrateFlags"] : []),
      ...(given?.since === undefined ? {} : { since: given.since }),
      arguments: this.#fields(payload ?? this.#protocol.structs.get(`${base}_args`) ?? []),
      result: this.#fields(this.#protocol.structs.get(`${base}_ret`) ?? []),
    };
  }

  #fields(members: readonly Declaration[]): Field[] {
    const fields = members.map((member) => ({
      name: camelCase(protocolWords(member.name)),
      type: this.#declared(member),
    }));
    const names = new Set(fields.map((field) => field.name));
    if (names.size !== fields.length) throw new Error(`two members share a name: ${[...names].join(", ")}`);
    return fields;
  }

  #declared({ name, type, shape }: Declaration): FieldType {
    if (type === "string") throw new Error(`${name}: a string that is no typedef`);
    if (type === "opaque") {
      if (shape.kind === "fixed" && this.#number(shape.length) === 16) return { kind: "uuid" };
      if (shape.kind === "array") return { kind: "opaque", max: this.#number(shape.max) };
      throw new Error(`${name}: opaque of an unknown form`);
    }
    if (type === "char" && shape.kind === "fixed")
      return { kind: "text", length: this.#number(shape.length), fixed: true };
    if (type === "char" && shape.kind === "array") {
      // SASL's data are bytes; all others are texts that count their NUL.
      const max = this.#number(shape.max);
      return name === "data" ? { kind: "charBytes", max } : { kind: "text", length: max, fixed: false };
    }
    const of = this.#named(type);
    switch (shape.kind) {
      case "plain":
        return of;
      case "optional":
        return { kind: "optional", of };
      case "array":
        return { kind: "array", of, max: this.#number(shape.max) };
      case "fixed":
        throw new Error(`${name}: a fixed array of ${type}`);
    }
  }

  #named(type: string): FieldType {
    switch (type) {
      case "int":
      case "unsigned int":
      case "hyper":
      case "unsigned hyper":
      case "double":
      case "char":
      case "unsigned char":
      case "unsigned short":
        return { kind: "number", of: type };
      case TYPED_PARAMETER:
        return { kind: "typedParameter" };
    }
    if (this.#has("enums", type)) return { kind: "number", of: "int" };
    if (this.#has("structs", type)) return { kind: "struct", name: structName(type) };
    const typedef = this.#protocol.typedefs.get(type) ?? this.#shared.typedefs.get(type);
    if (typedef === undefined) throw new Error(`type ${type} is not defined`);
    if (typedef.type !== "string") return this.#declared(typedef);
    if (typedef.shape.kind !== "array" || typedef.shape.max !== STRING_MAX) {
      throw new Error(`${type}: a string of another length than ${STRING_MAX}`);
    }
    return { kind: "string" };
  }

  /** The codec knows the one union of the protocol by heart; it must be the one it knows. */
  #checkTypedParameter(): void {
    const cases = this.#shared.unions.get("remote_typed_param_value") ?? [];
    const found = cases.map(({ value, declaration }) => `${this.#number(value)} ${declaration.type}`).join(", ");
    const known = "1 int, 2 unsigned int, 3 hyper, 4 unsigned hyper, 5 double, 6 int, 7 remote_nonnull_string";
    const [field, value, ...more] = this.#shared.structs.get(TYPED_PARAMETER) ?? [];
    const shape = `${field?.type} ${value?.type} ${more.length}`;
    if (found !== known || shape !== "remote_nonnull_string remote_typed_param_value 0") {
      throw new Error(`typed parameters are no longer what the codec knows: ${found}`);
    }
  }

  #has(table: "enums" | "structs", name: string): boolean {
    return this.#protocol[table].has(name) || this.#shared[table].has(name);
  }

  #number(bound: Bound): number {
    if (typeof bound === "number") return bound;
    const own = this.#protocol.constants.get(bound) ?? this.#shared.constants.get(bound);
    if (own !== undefined) return this.#number(own);
    const value = this.#api.constant(bound);
    if (value === undefined) throw new Error(`constant ${bound} is not defined`);
    return value;
  }
}

/** `remote_nonnull_storage_vol` → `StorageVol`. */
function structName(name: string): string {
  return pascalCase(protocolWords(name.replace(/^(remote|qemu|lxc)_(nonnull_)?/, "")));
}
