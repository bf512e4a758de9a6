/** `npm run docs`: brings the generated parts of the documents up to date. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { format, resolveConfig } from "prettier";
import { GENERATED_DOCUMENTS, withGeneratedParts } from "./generated-parts.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
for (const name of GENERATED_DOCUMENTS) {
  const path = join(root, name);
  const before = readFileSync(path, "utf8");
  const after = await format(withGeneratedParts(before), { ...(await resolveConfig(path)), filepath: path });
  if (after !== before) writeFileSync(path, after);
  console.log(`${after === before ? "unchanged" : "updated  "} ${name}`);
}
