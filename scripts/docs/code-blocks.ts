/** The TypeScript in the documents, so that tests can compile and run it. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

export interface CodeBlock {
  readonly document: string;
  /** Line of the block's first line in the document, from 1. */
  readonly line: number;
  /** What follows the language after the fence: a name for tests, or nothing. */
  readonly name: string;
  readonly code: string;
}

/** All of them; those that import nothing are pieces of one before them. */
export function codeBlocks(): readonly CodeBlock[] {
  const documents = [
    "README.md",
    ...readdirSync(join(root, "docs"))
      .filter((name) => name.endsWith(".md"))
      .map((name) => `docs/${name}`),
  ];
  return documents.flatMap((document) => {
    const text = readFileSync(join(root, document), "utf8");
    return [...text.matchAll(/^```ts ?(.*)\n([^]*?)^```$/gm)].map(({ index, 1: name = "", 2: code = "" }) => ({
      document,
      line: text.slice(0, index).split("\n").length + 1,
      name,
      code,
    }));
  });
}

/** @throws Error when the document has no block of the name */
export function codeBlock(document: string, name: string): string {
  const block = codeBlocks().find((candidate) => candidate.document === document && candidate.name === name);
  if (block === undefined) throw new Error(`${document} has no block of code named ${name}`);
  return block.code;
}
