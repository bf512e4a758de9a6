/** What a guest of each kind is to libvirt, whole: documents that people have read, which change only when somebody means them to. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { planDomain } from "../../../../src/libvirt/driver/plan/index.js";
import { formatDomainXml } from "../../../../src/libvirt/index.js";
import { PLAN_CASES, factsOf } from "./plan-cases.js";

const folder = fileURLToPath(new URL("plans/", import.meta.url));
const documents = PLAN_CASES.flatMap((one) => (one.document === undefined ? [] : [[one.document, one] as const]));

describe("the document of a guest", () => {
  it.each(documents)("%s", async (document, { virtType, definition, options }) => {
    const xml = formatDomainXml(planDomain(definition, factsOf(virtType), options));
    await expect(`${xml.trimEnd()}\n`).toMatchFileSnapshot(`${folder}${document}.xml`);
  });

  it("is there for each kind, and no other is", () => {
    expect(readdirSync(folder).sort()).toEqual(documents.map(([document]) => `${document}.xml`).sort());
  });
});
