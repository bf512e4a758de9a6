import { describe, expect, it } from "vitest";
import { checkLinkName, linkExists } from "../../../src/host/index.js";

describe("links", () => {
  it("exist or not", async () => {
    expect(await linkExists("lo")).toBe(true);
    expect(await linkExists("o")).toBe(false);
    expect(await linkExists("no-such-link")).toBe(false);
  });

  it.each(["", "a".repeat(16), "-x", "../x", "a b", "a/b", "a\n", "up;reboot", "ä", "tap%d", ".", ".."])(
    "refuse the name %j",
    async (name) => {
      expect(() => checkLinkName(name)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error);
      await expect(linkExists(name)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    },
  );
});
