/** The files that the schemas of some versions of libvirt give. */
import { join } from "node:path";
import { buildClasses } from "./build-classes.js";
import { emitTable } from "./emit-table.js";
import { emitTypes } from "./emit-types.js";
import { KINDS } from "./kinds.js";
import { mergeClasses } from "./merge-classes.js";
import { readGrammar } from "./read-grammar.js";

export interface Source {
  readonly version: string;
  /** Holds `src/conf/schemas`. */
  readonly folder: string;
}

const GENERATED = "src/libvirt/xml/generated";

/** From the path of each file to its content. */
export function generate(sources: readonly Source[]): Map<string, string> {
  const versions = sources.map(({ version }) => version).join(" and ");
  const starts = new Map(
    KINDS.map(({ kind, schema, element }) => {
      const files = sources.map(({ folder }) => join(folder, "src", "conf", "schemas", schema));
      return [kind, { element, patterns: files.flatMap((file) => readGrammar(file).starts) }];
    }),
  );
  const graph = mergeClasses(buildClasses(starts));
  return new Map([
    [`${GENERATED}/types.gen.ts`, emitTypes(graph, versions)],
    [`${GENERATED}/table.gen.ts`, emitTable(graph, versions)],
  ]);
}
