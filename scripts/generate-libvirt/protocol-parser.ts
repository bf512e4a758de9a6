/** The grammar of protocol descriptions: XDR's language as libvirt uses it, with the annotations in its comments. */
import { tokens } from "./protocol-lexer.js";
import type { Token } from "./protocol-lexer.js";

/** A number, or the name of a constant. */
export type Bound = number | string;

export interface Declaration {
  readonly name: string;
  /** `int`, `unsigned hyper`, `string`, `opaque`, or the name of a type. */
  readonly type: string;
  readonly shape:
    | { readonly kind: "plain" | "optional" }
    | { readonly kind: "array"; readonly max: Bound }
    | { readonly kind: "fixed"; readonly length: Bound };
}

export interface UnionCase {
  readonly value: Bound;
  readonly declaration: Declaration;
}

export interface EnumItem {
  readonly name: string;
  readonly value: number;
  /** Annotations such as `@priority: high`, in order. */
  readonly annotations: readonly (readonly [name: string, value: string])[];
}

export interface Protocol {
  readonly constants: ReadonlyMap<string, Bound>;
  readonly typedefs: ReadonlyMap<string, Declaration>;
  readonly structs: ReadonlyMap<string, readonly Declaration[]>;
  readonly unions: ReadonlyMap<string, readonly UnionCase[]>;
  readonly enums: ReadonlyMap<string, readonly EnumItem[]>;
}

const SIZED = ["int", "hyper", "char", "short"];

export function parseProtocol(text: string, file: string): Protocol {
  return new Parser(tokens(text, file), file).parse();
}

class Parser {
  readonly #tokens: readonly Token[];
  readonly #file: string;
  #at = 0;

  constructor(all: readonly Token[], file: string) {
    this.#tokens = all;
    this.#file = file;
  }

  parse(): Protocol {
    const constants = new Map<string, Bound>();
    const typedefs = new Map<string, Declaration>();
    const structs = new Map<string, readonly Declaration[]>();
    const unions = new Map<string, readonly UnionCase[]>();
    const enums = new Map<string, readonly EnumItem[]>();
    while (this.#peek().kind !== "end") {
      const keyword = this.#word();
      if (keyword === "const") {
        const name = this.#word();
        this.#expect("=");
        constants.set(name, this.#bound());
      } else if (keyword === "typedef") {
        const declaration = this.#declaration();
        typedefs.set(declaration.name, declaration);
      } else if (keyword === "struct") {
        structs.set(this.#word(), this.#members());
      } else if (keyword === "union") {
        unions.set(this.#word(), this.#cases());
      } else if (keyword === "enum") {
        enums.set(this.#word(), this.#items());
      } else this.#fail(`no definition starts with ${keyword}`);
      this.#expect(";");
    }
    return { constants, typedefs, structs, unions, enums };
  }

  #members(): Declaration[] {
    const members: Declaration[] = [];
    this.#expect("{");
    while (!this.#accept("}")) {
      members.push(this.#declaration());
      this.#expect(";");
    }
    return members;
  }

  #cases(): UnionCase[] {
    if (this.#word() !== "switch") this.#fail("a union wants a switch");
    this.#expect("(");
    this.#declaration();
    this.#expect(")");
    this.#expect("{");
    const cases: UnionCase[] = [];
    while (!this.#accept("}")) {
      if (this.#word() !== "case") this.#fail("a union wants cases");
      const value = this.#bound();
      this.#expect(":");
      cases.push({ value, declaration: this.#declaration() });
      this.#expect(";");
    }
    return cases;
  }

  #items(): EnumItem[] {
    const items: EnumItem[] = [];
    this.#expect("{");
    while (!this.#accept("}")) {
      const annotations = annotationsOf(this.#peek().comment);
      const name = this.#word();
      this.#expect("=");
      const value = this.#bound();
      if (typeof value !== "number") this.#fail(`${name} wants a number`);
      items.push({ name, value: Number(value), annotations });
      if (!this.#accept(",") && this.#peek().text !== "}") this.#fail("expected , or }");
    }
    return items;
  }

  #declaration(): Declaration {
    const first = this.#word();
    const sized = first === "unsigned" && SIZED.includes(this.#peek().text);
    const type = sized ? `unsigned ${this.#word()}` : first;
    const optional = this.#accept("*");
    const name = this.#word();
    if (optional) return { name, type, shape: { kind: "optional" } };
    if (this.#accept("<")) {
      const max = this.#bound();
      this.#expect(">");
      return { name, type, shape: { kind: "array", max } };
    }
    if (this.#accept("[")) {
      const length = this.#bound();
      this.#expect("]");
      return { name, type, shape: { kind: "fixed", length } };
    }
    return { name, type, shape: { kind: "plain" } };
  }

  #bound(): Bound {
    const token = this.#next();
    if (token.kind === "number") return Number(token.text);
    if (token.kind !== "word") this.#fail(`expected a number or a constant, not "${token.text}"`);
    return token.text;
  }

  #word(): string {
    const token = this.#next();
    if (token.kind !== "word") this.#fail(`expected a word, not "${token.text}"`);
    return token.text;
  }

  #expect(symbol: string): void {
    if (!this.#accept(symbol)) this.#fail(`expected ${symbol}, not "${this.#peek().text}"`);
  }

  #accept(symbol: string): boolean {
    if (this.#peek().text !== symbol) return false;
    this.#at += 1;
    return true;
  }

  #next(): Token {
    const token = this.#peek();
    this.#at += 1;
    return token;
  }

  #peek(): Token {
    const token = this.#tokens[this.#at];
    if (token === undefined) throw new Error(`${this.#file}: ends in the middle of a definition`);
    return token;
  }

  #fail(message: string): never {
    throw new Error(`${this.#file}:${this.#tokens[Math.max(0, this.#at - 1)]?.line}: ${message}`);
  }
}

function annotationsOf(comment: string): [string, string][] {
  return [...comment.matchAll(/@(\w+):\s*(\S+)/g)].map(([, name = "", value = ""]) => [name, value]);
}
