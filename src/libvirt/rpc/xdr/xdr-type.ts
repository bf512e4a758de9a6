/** From the types of the protocol to what reads and writes them. */
import { STRING_MAX } from "../protocol/type-node.js";
import type { StructNode, TypeNode } from "../protocol/type-node.js";
import { TYPED_PARAMETER_TYPES } from "../typed-parameter.js";
import type { TypedParameterType } from "../typed-parameter.js";
import { decodeText } from "./utf8.js";
import type { XdrReader } from "./xdr-reader.js";
import type { XdrWriter } from "./xdr-writer.js";

/** Reads and writes the values of one type. */
export interface XdrType {
  /** How many bytes a value takes at least. */
  readonly leastBytes: number;
  read(reader: XdrReader): unknown;
  write(writer: XdrWriter, value: unknown): void;
}

/** `VIR_TYPED_PARAM_FIELD_LENGTH` less its NUL. */
const PARAMETER_NAME_MAX = 79;
const PARAMETER_TYPES = Object.keys(TYPED_PARAMETER_TYPES) as TypedParameterType[];

const NUMBERS = {
  int: { leastBytes: 4, read: (r) => r.int(), write: (w, v) => w.int(v) },
  uint: { leastBytes: 4, read: (r) => r.uint(), write: (w, v) => w.uint(v) },
  hyper: { leastBytes: 8, read: (r) => r.hyper(), write: (w, v) => w.hyper(v) },
  uhyper: { leastBytes: 8, read: (r) => r.uhyper(), write: (w, v) => w.uhyper(v) },
  double: { leastBytes: 8, read: (r) => r.double(), write: (w, v) => w.double(v) },
  char: { leastBytes: 4, read: (r) => r.small(-128, 127), write: (w, v) => w.small(v, -128, 127) },
  uchar: { leastBytes: 4, read: (r) => r.small(0, 255), write: (w, v) => w.small(v, 0, 255) },
  ushort: { leastBytes: 4, read: (r) => r.small(0, 65_535), write: (w, v) => w.small(v, 0, 65_535) },
} as const satisfies Readonly<Record<string, XdrType>>;

const UUID: XdrType = { leastBytes: 16, read: (r) => r.uuid(), write: (w, v) => w.uuid(v) };

const compiled = new WeakMap<TypeNode, XdrType>();

/** What reads and writes a type; made once for each. */
export function xdrTypeOf(node: TypeNode): XdrType {
  let type = compiled.get(node);
  if (type === undefined) {
    type = compile(node);
    compiled.set(node, type);
  }
  return type;
}

function compile(node: TypeNode): XdrType {
  switch (node.kind) {
    case "string":
      return { leastBytes: 4, read: (r) => r.string(node.max), write: (w, v) => w.string(v, node.max) };
    case "opaque":
      return { leastBytes: 4, read: (r) => r.opaque(node.max), write: (w, v) => w.opaque(v, node.max) };
    case "uuid":
      return UUID;
    case "charBytes":
      return {
        leastBytes: 4,
        read: (r) => r.chars(r.count(node.max, 4)),
        write: (w, v) => w.charBytes(v, node.max),
      };
    case "charText":
      return charText(node.length, node.fixed);
    case "typedParameter":
      return typedParameter;
    case "optional":
      return optional(xdrTypeOf(node.of));
    case "array":
      return array(xdrTypeOf(node.of), node.max);
    case "struct":
      return struct(node);
    default:
      return NUMBERS[node.kind];
  }
}

function charText(length: number, fixed: boolean): XdrType {
  return {
    leastBytes: fixed ? length * 4 : 4,
    read: (reader) => {
      const chars = reader.chars(fixed ? length : reader.count(length, 4));
      const end = chars.indexOf(0);
      return decodeText(chars, 0, end < 0 ? chars.length : end);
    },
    write: (writer, value) => writer.charText(value, length, fixed),
  };
}

function optional(of: XdrType): XdrType {
  return {
    leastBytes: 4,
    read: (reader) => (reader.present() ? of.read(reader) : undefined),
    write: (writer, value) => {
      const present = value !== undefined && value !== null;
      writer.int(present ? 1 : 0);
      if (present) of.write(writer, value);
    },
  };
}

function array(of: XdrType, max: number): XdrType {
  return {
    leastBytes: 4,
    read: (reader) => {
      const count = reader.count(max, of.leastBytes);
      const items: unknown[] = [];
      for (let i = 0; i < count; i += 1) items.push(of.read(reader));
      return items;
    },
    write: (writer, value) => {
      if (!Array.isArray(value)) throw writer.refuse(value, "an array");
      writer.count(value, max);
      value.forEach((item, i) => writer.within(`[${i}]`, () => of.write(writer, item)));
    },
  };
}

function struct(node: StructNode): XdrType {
  const fields = node.fields.map(({ name, type }) => ({
    name,
    step: `.${name}`,
    optional: type.kind === "optional",
    type: xdrTypeOf(type),
  }));
  const names = new Set(fields.map((field) => field.name));
  return {
    leastBytes: fields.reduce((sum, field) => sum + field.type.leastBytes, 0),
    read: (reader) => {
      const value: Record<string, unknown> = {};
      for (const field of fields) {
        const read = field.type.read(reader);
        if (!field.optional || read !== undefined) value[field.name] = read;
      }
      return value;
    },
    write: (writer, value) => {
      if (!isRecord(value)) throw writer.refuse(value, "an object");
      for (const field of fields) writer.within(field.step, () => field.type.write(writer, value[field.name]));
      // References to objects may carry more than their wire form: object handles do.
      if (node.name !== undefined) return;
      for (const name of Object.keys(value)) {
        if (!names.has(name) && value[name] !== undefined) {
          writer.within(`.${name}`, () => {
            throw writer.refuse(value[name], "nothing of that name");
          });
        }
      }
    },
  };
}

const typedParameter: XdrType = {
  leastBytes: 12,
  read: (reader) => {
    const field = reader.string(PARAMETER_NAME_MAX);
    const code = reader.int();
    const type = PARAMETER_TYPES[code - 1];
    if (type === undefined) throw reader.refuse(`a typed parameter of the unknown type ${code}`);
    return { field, type, value: readParameter(reader, type) };
  },
  write: (writer, value) => {
    if (!isRecord(value)) throw writer.refuse(value, "a typed parameter");
    writer.within(".field", () => writer.string(value["field"], PARAMETER_NAME_MAX));
    const type = PARAMETER_TYPES.find((name) => name === value["type"]);
    writer.within(".type", () => {
      if (type === undefined) throw writer.refuse(value["type"], `one of ${PARAMETER_TYPES.join(", ")}`);
      writer.int(TYPED_PARAMETER_TYPES[type]);
    });
    if (type !== undefined) writer.within(".value", () => writeParameter(writer, type, value["value"]));
  },
};

function readParameter(reader: XdrReader, type: TypedParameterType): number | bigint | boolean | string {
  switch (type) {
    case "int":
      return reader.int();
    case "uint":
      return reader.uint();
    case "llong":
      return reader.hyper();
    case "ullong":
      return reader.uhyper();
    case "double":
      return reader.double();
    case "boolean":
      return reader.int() !== 0;
    case "string":
      return reader.string(STRING_MAX);
  }
}

function writeParameter(writer: XdrWriter, type: TypedParameterType, value: unknown): void {
  switch (type) {
    case "int":
      return writer.int(value);
    case "uint":
      return writer.uint(value);
    case "llong":
      return writer.hyper(value);
    case "ullong":
      return writer.uhyper(value);
    case "double":
      return writer.double(value);
    case "string":
      return writer.string(value, STRING_MAX);
    case "boolean":
      if (typeof value !== "boolean") throw writer.refuse(value, "true or false");
      return writer.int(value ? 1 : 0);
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
