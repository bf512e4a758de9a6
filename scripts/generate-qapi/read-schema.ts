/** Reads QEMU's schema language: JSON-like expressions with single quotes and comments, spread over files that include one another. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** A value of the schema language. */
export type SchemaValue = string | boolean | readonly SchemaValue[] | { readonly [key: string]: SchemaValue };

/** A top-level expression, with the release that its comment says it came with. */
export interface Expression {
  readonly body: { readonly [key: string]: SchemaValue };
  readonly since: string | undefined;
}

interface Token {
  readonly kind: "punctuation" | "string" | "word" | "comment" | "end";
  readonly text: string;
}

const TOKEN =
  /\s*(?:(?<comment>#[^\n]*)|(?<string>'(?:[^'\\\n]|\\.)*')|(?<word>true|false)|(?<punctuation>[{}[\]:,]))/y;

/** Reads a schema file and all that it includes, each once. */
export function readSchema(path: string, seen: Set<string> = new Set()): Expression[] {
  if (seen.has(path)) return [];
  seen.add(path);
  const expressions: Expression[] = [];
  for (const expression of new Parser(readFileSync(path, "utf8"), path).expressions()) {
    const { include } = expression.body;
    if (typeof include === "string") expressions.push(...readSchema(join(dirname(path), include), seen));
    else if (!("pragma" in expression.body)) expressions.push(expression);
  }
  return expressions;
}

class Parser {
  readonly #text: string;
  readonly #path: string;
  #at = 0;
  #comments: string[] = [];
  #token: Token;

  constructor(text: string, path: string) {
    this.#text = text;
    this.#path = path;
    this.#token = this.#next();
  }

  expressions(): Expression[] {
    const expressions: Expression[] = [];
    while (this.#token.kind !== "end") {
      const comments = this.#comments;
      this.#comments = [];
      const body = this.#value();
      if (typeof body !== "object" || Array.isArray(body)) throw this.#error("an object");
      expressions.push({ body: body as Expression["body"], since: sinceOf(comments) });
    }
    return expressions;
  }

  #value(): SchemaValue {
    const { kind, text } = this.#token;
    if (kind === "string") return this.#take(text.slice(1, -1).replace(/\\(.)/g, "$1"));
    if (kind === "word") return this.#take(text === "true");
    if (text === "{") return this.#object();
    if (text === "[") return this.#array();
    throw this.#error("a value");
  }

  #object(): SchemaValue {
    const object: Record<string, SchemaValue> = {};
    this.#expect("{");
    while (this.#token.text !== "}") {
      const key = this.#value();
      if (typeof key !== "string") throw this.#error("a name");
      this.#expect(":");
      object[key] = this.#value();
      if (this.#token.text !== "}") this.#expect(",");
    }
    this.#expect("}");
    return object;
  }

  #array(): SchemaValue {
    const array: SchemaValue[] = [];
    this.#expect("[");
    while (this.#token.text !== "]") {
      array.push(this.#value());
      if (this.#token.text !== "]") this.#expect(",");
    }
    this.#expect("]");
    return array;
  }

  #take<T>(value: T): T {
    this.#token = this.#next();
    return value;
  }

  #expect(text: string): void {
    if (this.#token.kind !== "punctuation" || this.#token.text !== text) throw this.#error(`"${text}"`);
    this.#token = this.#next();
  }

  #next(): Token {
    for (;;) {
      TOKEN.lastIndex = this.#at;
      const match = TOKEN.exec(this.#text);
      if (match === null) {
        if (this.#text.slice(this.#at).trim() !== "") throw this.#error("a token");
        return { kind: "end", text: "" };
      }
      this.#at = TOKEN.lastIndex;
      const groups = match.groups as Record<string, string | undefined>;
      if (groups["comment"] !== undefined) this.#comments.push(groups["comment"]);
      for (const kind of ["string", "word", "punctuation"] as const) {
        const text = groups[kind];
        if (text !== undefined) return { kind, text };
      }
    }
  }

  #error(expected: string): Error {
    const line = this.#text.slice(0, this.#at).split("\n").length;
    return new Error(`${this.#path}:${line}: expected ${expected}, found "${this.#token?.text ?? ""}"`);
  }
}

/** The release in the last documentation block of the comments before an expression. */
function sinceOf(comments: readonly string[]): string | undefined {
  let since: string | undefined;
  for (const comment of comments) {
    since = /^#\s+Since:?\s+([0-9]+(?:\.[0-9]+)*)\b/i.exec(comment)?.[1] ?? since;
  }
  return since;
}
