import assert from "node:assert/strict";
import { FACET_METHODS, FACET_NAMES, HANDLE_METHODS, supports } from "../../driver/index.js";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const capabilitiesContract: ContractPart = (context, it) => {
  it("has just the facets that it is said to have", async () => {
    const has = FACET_NAMES.filter((name) => context.driver.capabilities.facets[name]);
    assert.deepEqual([...has].sort(), [...context.harness.facets].sort());
  });

  it("agrees with supports()", async () => {
    for (const name of FACET_NAMES)
      assert.equal(supports(context.driver, name), context.driver.capabilities.facets[name]);
  });

  it("has every method of every facet, and refuses those of a facet that it lacks with NotSupportedError", async () => {
    const methods = context.driver as unknown as Readonly<
      Record<string, ((...args: unknown[]) => unknown) | undefined>
    >;
    for (const facet of FACET_NAMES) {
      for (const method of FACET_METHODS[facet]) {
        const call = methods[method];
        assert(typeof call === "function", `${method} is not there`);
        if (context.driver.capabilities.facets[facet]) continue;
        const refused = async (): Promise<unknown> => {
          const answer = call.call(context.driver, NOBODY);
          return HANDLE_METHODS.has(method) ? (answer as { readonly result: Promise<unknown> }).result : answer;
        };
        await rejectsWith("NOT_SUPPORTED", refused());
      }
    }
  });
};
