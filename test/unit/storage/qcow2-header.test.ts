import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isHyperviseError } from "../../../src/core/index.js";
import { parseQcow2Header } from "../../../src/storage/images/qcow2-header.js";
import { qcow2Header } from "./support/qcow2-bytes.js";

describe("the header of a qcow2 file", () => {
  it("tells size, clusters and what the file refers to", () => {
    const header = parseQcow2Header(
      qcow2Header({ virtualSizeBytes: 5 * 1024 ** 3, backingFile: "/images/base", backingFormat: "raw" }),
    );
    expect(header).toEqual({
      version: 3,
      virtualSizeBytes: 5 * 1024 ** 3,
      clusterSizeBytes: 65_536,
      backingFile: "/images/base",
      backingFormat: "raw",
      externalDataFile: false,
      encrypted: false,
      corrupt: false,
      internalSnapshots: 0,
    });
  });

  it.each([
    ["an external data file by its feature bit", { incompatible: 4n }, { externalDataFile: true }],
    ["an external data file by its name alone", { dataFile: "/etc/shadow" }, { externalDataFile: true }],
    ["encryption", { cryptMethod: 2 }, { encrypted: true }],
    ["the mark of damage", { incompatible: 2n }, { corrupt: true }],
    ["internal snapshots", { snapshots: 3 }, { internalSnapshots: 3 }],
    ["an old version", { version: 2, backingFile: "b" }, { version: 2, backingFile: "b" }],
    ["a backing file without a name", { backingFile: "" }, { backingFile: "" }],
  ])("shows %s", (_what, parts, expected) => {
    expect(parseQcow2Header(qcow2Header(parts))).toMatchObject(expected);
  });

  it.each([
    ["nothing", Buffer.alloc(0)],
    ["something else", Buffer.alloc(512, "x")],
    ["a version of the future", qcow2Header({ version: 4 })],
    ["clusters of 256 bytes", qcow2Header({ clusterBits: 8 })],
    ["clusters of 4 MiB", qcow2Header({ clusterBits: 22 })],
    ["a size that no number holds", qcow2Header({ virtualSizeBytes: 2n ** 60n })],
    ["a feature of the future", qcow2Header({ incompatible: 1n << 10n })],
    ["a header that is cut short", qcow2Header({ backingFile: "/images/base" }).subarray(0, 110)],
    ["a backing name of 2000 bytes", qcow2Header({ backingFile: "x".repeat(2000) })],
  ])("is refused when the file holds %s", (_what, bytes) => {
    expect(() => parseQcow2Header(bytes)).toThrow(expect.objectContaining({ code: "IMAGE_UNACCEPTABLE" }) as Error);
  });

  it("is read or refused, whatever the bytes", () => {
    const patch = fc.tuple(fc.nat(160), fc.uint8Array({ minLength: 1, maxLength: 8 }));
    fc.assert(
      fc.property(fc.array(patch, { maxLength: 6 }), fc.nat(200), (patches, cut) => {
        const bytes = qcow2Header({ backingFile: "/b", backingFormat: "qcow2" });
        for (const [at, change] of patches)
          bytes.set(change.subarray(0, Math.max(0, bytes.length - at)), Math.min(at, bytes.length));
        try {
          const header = parseQcow2Header(bytes.subarray(0, bytes.length - Math.min(cut, bytes.length)));
          expect(Number.isSafeInteger(header.virtualSizeBytes)).toBe(true);
        } catch (error) {
          expect(isHyperviseError(error, "IMAGE_UNACCEPTABLE")).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });
});
