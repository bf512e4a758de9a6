/** The types of libvirt's protocol as data, and the short notation in which the generated tables hold them. */

export type NumberNode = {
  readonly kind: "int" | "uint" | "hyper" | "uhyper" | "double" | "char" | "uchar" | "ushort";
};

export interface FieldNode {
  readonly name: string;
  readonly type: TypeNode;
}

export interface StructNode {
  readonly kind: "struct";
  /** Absent for the arguments and results of procedures. */
  readonly name?: string;
  readonly fields: readonly FieldNode[];
}

export type TypeNode =
  | NumberNode
  | { readonly kind: "string"; readonly max: number }
  | { readonly kind: "uuid" }
  /** Bytes. */
  | { readonly kind: "opaque"; readonly max: number }
  /** Bytes, of which each takes four on the wire. */
  | { readonly kind: "charBytes"; readonly max: number }
  /** A text, of which each byte takes four on the wire; its NUL counts. */
  | { readonly kind: "charText"; readonly length: number; readonly fixed: boolean }
  /** A name with a value of one of seven types. */
  | { readonly kind: "typedParameter" }
  | { readonly kind: "optional"; readonly of: TypeNode }
  | { readonly kind: "array"; readonly of: TypeNode; readonly max: number }
  | StructNode;

/** `REMOTE_STRING_MAX`: the most bytes of a string. */
export const STRING_MAX = 4_194_304;

const NUMBERS: Readonly<Record<string, NumberNode["kind"]>> = {
  i: "int",
  u: "uint",
  l: "hyper",
  L: "uhyper",
  d: "double",
  c: "char",
  C: "uchar",
  w: "ushort",
};

/**
 * Reads the notation of a type:
 *
 *     i u l L d c C w   numbers: int, unsigned, hyper, unsigned hyper, double, char, unsigned char, unsigned short
 *     s g p             string, UUID, typed parameter
 *     o9 b9             bytes, at most 9; the same with four bytes on the wire for each
 *     t9 T9             text in an array of char: at most 9, exactly 9
 *     @Name ?x x*9      structure, optional x, at most 9 of x
 */
export function parseType(text: string, structOf: (name: string) => StructNode): TypeNode {
  const array = /^(.+)\*(\d+)$/.exec(text);
  if (array !== null) return { kind: "array", of: parseType(array[1] ?? "", structOf), max: Number(array[2]) };
  const rest = text.slice(1);
  const bound = Number(rest);
  const letter = text.charAt(0);
  switch (letter) {
    case "?":
      return { kind: "optional", of: parseType(rest, structOf) };
    case "@":
      return structOf(rest);
    case "s":
      return { kind: "string", max: STRING_MAX };
    case "g":
      return { kind: "uuid" };
    case "p":
      return { kind: "typedParameter" };
    case "o":
      return { kind: "opaque", max: bound };
    case "b":
      return { kind: "charBytes", max: bound };
    case "t":
    case "T":
      return { kind: "charText", length: bound, fixed: letter === "T" };
  }
  const kind = NUMBERS[letter];
  if (kind === undefined) throw new TypeError(`the table of procedures holds a type ${text}`);
  return { kind };
}

/** Reads `name:type name:type …`. */
export function parseFields(text: string, structOf: (name: string) => StructNode): FieldNode[] {
  if (text === "") return [];
  return text.split(" ").map((field) => {
    const colon = field.indexOf(":");
    return { name: field.slice(0, colon), type: parseType(field.slice(colon + 1), structOf) };
  });
}
