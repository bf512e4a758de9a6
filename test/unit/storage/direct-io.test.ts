import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { supportsDirectIo } from "../../../src/storage/index.js";
import { inDirectory, tree } from "./support/tree.js";

describe("direct I/O", () => {
  it("is looked for on a file and in a directory, with one answer, and nothing is left", () =>
    inDirectory(async (directory) => {
      await writeFile(join(directory, "disk"), "bytes");
      expect(await supportsDirectIo(directory)).toBe(await supportsDirectIo(join(directory, "disk")));
      expect(await tree(directory)).toEqual(["disk 5"]);
    }));

  it("is not to be had of what is no disk", async () => {
    expect(await supportsDirectIo("/proc/self/status")).toBe(false);
  });

  it("can't be looked for where there is nothing", () =>
    inDirectory(async (directory) => {
      const missing = { code: "STORAGE_FAILED", errno: "ENOENT" };
      await expect(supportsDirectIo(join(directory, "none"))).rejects.toMatchObject(missing);
      await expect(supportsDirectIo("relative")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }));
});
