/** What the generator knows of a schema, after names and shapes have been made regular. */

/** A type by name, or a list of it. */
export interface TypeRef {
  readonly name: string;
  readonly list: boolean;
}

export interface Marks {
  readonly since?: string | undefined;
  readonly deprecated: boolean;
  readonly unstable: boolean;
  /** Build options without which QEMU lacks it. */
  readonly condition?: string | undefined;
  /** Releases that have it, of those the generator was run on. */
  readonly versions: readonly string[];
}

export interface Member extends Marks {
  readonly name: string;
  readonly optional: boolean;
  readonly types: readonly TypeRef[];
}

export interface EnumType extends Marks {
  readonly kind: "enum";
  readonly name: string;
  readonly values: readonly Value[];
}

export interface Value extends Marks {
  readonly name: string;
}

export interface StructType extends Marks {
  readonly kind: "struct";
  readonly name: string;
  readonly base: string | undefined;
  readonly members: readonly Member[];
}

export interface UnionType extends Marks {
  readonly kind: "union";
  readonly name: string;
  /** The common members, the discriminator among them. */
  readonly base: string | readonly Member[];
  readonly discriminator: string;
  readonly branches: readonly Branch[];
}

export interface Branch extends Marks {
  readonly value: string;
  readonly type: string;
}

export interface AlternateType extends Marks {
  readonly kind: "alternate";
  readonly name: string;
  readonly types: readonly TypeRef[];
}

export type NamedType = EnumType | StructType | UnionType | AlternateType;

/** Arguments of a command or data of an event: a named type, or members written in place. */
export type Data = { readonly type: string } | { readonly members: readonly Member[] };

export interface Command extends Marks {
  readonly name: string;
  readonly data: Data;
  /** Whether it takes more members than the schema says. */
  readonly open: boolean;
  readonly returns: TypeRef | undefined;
  readonly oob: boolean;
  /** Whether success is answered at all. */
  readonly answers: boolean;
}

export interface Event extends Marks {
  readonly name: string;
  readonly data: Data;
}

export interface Model {
  readonly versions: readonly string[];
  readonly types: ReadonlyMap<string, NamedType>;
  readonly commands: ReadonlyMap<string, Command>;
  readonly events: ReadonlyMap<string, Event>;
}
