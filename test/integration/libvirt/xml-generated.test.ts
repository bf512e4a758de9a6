import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { format, resolveConfig } from "prettier";
import { describe, expect, it } from "vitest";
import { generate } from "../../../scripts/generate-libvirt-xml/generate.js";
import { libvirtSources, reasonToSkip } from "./xml-schemas.js";

const skip = reasonToSkip();
const committed = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

describe("the generated types and table", () => {
  it("are those of libvirt's schemas", async (context) => {
    context.skip(skip !== undefined, skip);
    for (const [path, content] of generate(await libvirtSources())) {
      const filepath = committed(path);
      const options = await resolveConfig(filepath);
      expect(await format(content, { ...options, filepath }), path).toBe(readFileSync(filepath, "utf8"));
    }
  });
});
