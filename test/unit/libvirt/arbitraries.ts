/** Values of any type of libvirt's protocol, for property tests. */
import fc from "fast-check";
import type { StructNode, TypeNode } from "../../../src/libvirt/rpc/protocol/type-node.js";
import { TYPED_PARAMETER_TYPES } from "../../../src/libvirt/rpc/typed-parameter.js";
import type { TypedParameterType } from "../../../src/libvirt/rpc/typed-parameter.js";

const int = fc.integer({ min: -0x80000000, max: 0x7fffffff });
const uint = fc.integer({ min: 0, max: 0xffffffff });
const hyper = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const uhyper = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const double = fc.double({ noNaN: false });

/** Without NUL; with text of all planes, and sometimes with bytes that are no UTF-8. */
function text(max: number): fc.Arbitrary<string> {
  const plain = fc.string({ unit: "grapheme", maxLength: 12 });
  const bytes = fc.uint8Array({ maxLength: 12 }).map((raw) => Buffer.from(raw).toString("latin1"));
  const escaped = fc.array(fc.integer({ min: 0x80, max: 0xff }), { maxLength: 1 }).map((byte) => {
    return byte.map((value) => String.fromCharCode(0xdc00 + value)).join("");
  });
  const all = fc.oneof(
    { weight: 4, arbitrary: plain },
    bytes,
    fc.tuple(plain, escaped).map(([a, b]) => a + b),
  );
  return all.map((value) => {
    const clean = value.replaceAll("\0", "");
    return Buffer.byteLength(clean) > max ? "" : clean;
  });
}

const bytes = (max: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength: Math.min(max, 40) }).map((raw) => Buffer.from(raw));

function typedValue(type: TypedParameterType): fc.Arbitrary<unknown> {
  switch (type) {
    case "int":
      return int;
    case "uint":
      return uint;
    case "llong":
      return hyper;
    case "ullong":
      return uhyper;
    case "double":
      return double;
    case "boolean":
      return fc.boolean();
    case "string":
      return text(1000);
  }
}

const typedParameter = fc
  .constantFrom(...(Object.keys(TYPED_PARAMETER_TYPES) as TypedParameterType[]))
  .chain((type) => fc.record({ field: text(79), type: fc.constant(type), value: typedValue(type) }));

export function valueOf(node: TypeNode): fc.Arbitrary<unknown> {
  switch (node.kind) {
    case "int":
      return int;
    case "uint":
      return uint;
    case "hyper":
      return hyper;
    case "uhyper":
      return uhyper;
    case "double":
      return double;
    case "char":
      return fc.integer({ min: -128, max: 127 });
    case "uchar":
      return fc.integer({ min: 0, max: 255 });
    case "ushort":
      return fc.integer({ min: 0, max: 65_535 });
    case "string":
      return text(node.max);
    case "uuid":
      return fc.uuid();
    case "opaque":
    case "charBytes":
      return bytes(node.max);
    case "charText":
      return text(node.length - 1);
    case "typedParameter":
      return typedParameter;
    case "optional":
      return fc.option(valueOf(node.of), { nil: undefined });
    case "array":
      return fc.array(valueOf(node.of), { maxLength: Math.min(node.max, 3) });
    case "struct":
      return structOf(node);
  }
}

export function structOf(node: StructNode): fc.Arbitrary<unknown> {
  const fields = node.fields.map(({ name, type }) => [name, valueOf(type)] as const);
  return fc.record(Object.fromEntries(fields)).map((value) => {
    // As the codec gives it: what is optional and absent has no key.
    return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined));
  });
}
