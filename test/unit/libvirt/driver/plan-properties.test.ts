/** What holds of every definition: it is refused by the name of a field, or planned, the same each time, and read back as it was written. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isHyperviseError } from "../../../../src/core/index.js";
import { planDomain, readDomain } from "../../../../src/libvirt/driver/plan/index.js";
import { formatDomainXml, parseDomainXml } from "../../../../src/libvirt/index.js";
import { arbitraryPlan, plainPlan } from "./arbitrary-plan.js";
import { factsOf } from "./plan-parts.js";

describe("any definition", () => {
  it("is planned the same each time and read back, or refused by the name of a field", { timeout: 60_000 }, () => {
    let planned = 0;
    fc.assert(
      fc.property(fc.oneof(arbitraryPlan, plainPlan), ({ virtType, definition, options }) => {
        const facts = factsOf(virtType);
        let text: string;
        try {
          text = formatDomainXml(planDomain(definition, facts, options));
        } catch (error) {
          const refusal = error as { readonly field?: string; readonly capability?: string };
          expect(isHyperviseError(error, "NOT_SUPPORTED") || isHyperviseError(error, "INVALID_ARGUMENT")).toBe(true);
          expect(refusal.field ?? refusal.capability).toMatch(/^definition\.\w/);
          return;
        }
        planned += 1;
        const copy = structuredClone(definition);
        expect(formatDomainXml(planDomain(copy, facts, structuredClone(options)))).toBe(text);
        expect(copy).toEqual(definition);
        const domain = parseDomainXml(text);
        expect(formatDomainXml(domain)).toBe(text);
        const found = readDomain(domain);
        expect(found.metadata?.entries).toEqual(definition.metadata);
        if (virtType !== "kvm" && virtType !== "qemu") return;
        expect(found.disks.map(({ id }) => id)).toEqual(definition.disks.map(({ id }) => id));
        expect(found.nics.map(({ id }) => id)).toEqual(definition.nics.map(({ id }) => id));
      }),
      { numRuns: 250, seed: 6 },
    );
    expect(planned).toBeGreaterThan(40);
  });
});
