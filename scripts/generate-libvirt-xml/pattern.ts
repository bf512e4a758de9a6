/** RELAX NG, as far as libvirt's schemas use it. */

export interface ElementPattern {
  readonly kind: "element";
  /** Absent: any name. */
  readonly name?: string;
  readonly namespace: string;
  readonly content: Pattern;
}

export interface DataPattern {
  readonly kind: "data";
  readonly type: string;
  readonly params: Readonly<Record<string, string>>;
}

export type Pattern =
  | ElementPattern
  | DataPattern
  | { readonly kind: "attribute"; readonly name?: string; readonly content: Pattern }
  | { readonly kind: "group" | "interleave" | "choice"; readonly members: readonly Pattern[] }
  | { readonly kind: "many"; readonly content: Pattern }
  | { readonly kind: "value"; readonly value: string }
  | { readonly kind: "ref"; readonly name: string; readonly grammar: Grammar }
  | { readonly kind: "text" | "empty" | "notAllowed" };

/** Named patterns that refer to each other. A name defined more than once is a choice of its definitions. */
export interface Grammar {
  readonly defines: Map<string, Pattern[]>;
  readonly starts: Pattern[];
}

/** What a reference stands for. */
export function resolve(pattern: Pattern): Pattern {
  if (pattern.kind !== "ref") return pattern;
  const found = pattern.grammar.defines.get(pattern.name);
  if (found === undefined) throw new Error(`nothing is defined as ${pattern.name}`);
  return found.length === 1 ? found[0]! : { kind: "choice", members: found };
}
