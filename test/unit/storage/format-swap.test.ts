import { describe, expect, it } from "vitest";
import { swapHeader } from "../../../src/storage/disks/format-swap.js";

const UUID = "0fbeab4c-8a4b-4c0c-9e55-0e7b1b9a1f10";

describe("the header of a swap area", () => {
  it("says version, size, identity and label where the kernel looks for them", () => {
    const page = swapHeader({ sizeBytes: 64 * 1024 * 1024 + 1, uuid: UUID, label: "swap" });
    expect(page).toHaveLength(4096);
    expect(page.subarray(4086).toString()).toBe("SWAPSPACE2");
    expect(page.readUInt32LE(1024)).toBe(1);
    expect(page.readUInt32LE(1028)).toBe(64 * 256 - 1);
    expect(page.readUInt32LE(1032)).toBe(0);
    expect(page.subarray(1036, 1052).toString("hex")).toBe(UUID.replaceAll("-", ""));
    expect(page.subarray(1052, 1068).toString()).toBe("swap".padEnd(16, "\0"));
  });

  it("has no more pages than its number can say", () => {
    expect(swapHeader({ sizeBytes: 2 ** 50, uuid: UUID }).readUInt32LE(1028)).toBe(0xffff_fffe);
  });

  it("is refused for an area that the kernel takes for none", () => {
    expect(() => swapHeader({ sizeBytes: 9 * 4096, uuid: UUID })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error,
    );
  });
});
