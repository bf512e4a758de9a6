/** One value of each type of libvirt's protocol, always the same, with all of its bits different enough to tell them apart. */
import type { TypedParameter } from "../../../src/libvirt/rpc/typed-parameter.js";
import type { TypeNode } from "../../../src/libvirt/rpc/protocol/type-node.js";

const PARAMETERS: readonly TypedParameter[] = [
  { field: "an int", type: "int", value: -7 },
  { field: "a uint", type: "uint", value: 4_000_000_000 },
  { field: "an llong", type: "llong", value: -9_000_000_000_000_000_000n },
  { field: "a ullong", type: "ullong", value: 18_000_000_000_000_000_000n },
  { field: "a double", type: "double", value: -0.15625 },
  { field: "a boolean", type: "boolean", value: true },
  { field: "a string", type: "string", value: "0-3,^2 ü" },
];

/** Makes values; the numbers in them count on from one to the next. */
export class SampleValues {
  #count = 0;

  of(node: TypeNode): unknown {
    this.#count += 1;
    const n = this.#count;
    switch (node.kind) {
      case "int":
        return n % 2 === 0 ? n * 65_537 : -n;
      case "uint":
        return 0xffffffff - n * 65_537;
      case "hyper":
        return -(BigInt(n) << 40n) - BigInt(n);
      case "uhyper":
        return 0xffff_ffff_ffff_ffffn - (BigInt(n) << 40n);
      case "double":
        return n + 0.5;
      case "char":
        return n % 100;
      case "uchar":
        return 255 - (n % 100);
      case "ushort":
        return 65_535 - n;
      case "string":
        return [..."text ü€😀"].slice(0, n % 9).join("") + String(n);
      case "uuid":
        return `01234567-89ab-cdef-fedc-${String(n).padStart(12, "0")}`;
      case "opaque":
      case "charBytes":
        return Buffer.from([0, 255, 128, n % 256].slice(0, n % 5));
      case "charText":
        return `label é ${n}`.slice(0, node.length - 2);
      case "typedParameter":
        return PARAMETERS[n % PARAMETERS.length];
      case "optional":
        return n % 3 === 0 ? undefined : this.of(node.of);
      case "array":
        return Array.from({ length: Math.min(node.max, node.of.kind === "typedParameter" ? 7 : 2) }, () =>
          this.of(node.of),
        );
      case "struct":
        return Object.fromEntries(
          node.fields.map(({ name, type }) => [name, this.of(type)]).filter(([, value]) => value !== undefined),
        );
    }
  }
}
