import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { cloneOrCopyFile, copyFile } from "../../../src/storage/copy-file.js";
import { inDirectory } from "./support/tree.js";

describe("copying a file", () => {
  it("copies the bytes, keeps holes, and tells progress and checksum", () =>
    inDirectory(async (directory) => {
      const [from, to] = [join(directory, "from"), join(directory, "to")];
      await writeFile(
        from,
        Buffer.concat([Buffer.alloc(3_000_000), Buffer.from("data"), Buffer.alloc(70_000), Buffer.from("end")]),
      );
      await truncate(from, 64 * 1024 * 1024);
      const progress: number[] = [];
      const result = await copyFile(from, to, {
        checksum: "sha256",
        onProgress: ({ bytesDone }) => progress.push(bytesDone),
      });
      const bytes = await readFile(from);
      expect((await readFile(to)).equals(bytes)).toBe(true);
      expect(result).toEqual({
        bytes: bytes.length,
        checksum: `sha256:${createHash("sha256").update(bytes).digest("hex")}`,
      });
      expect(progress.at(-1)).toBe(bytes.length);
      const stats = await stat(to);
      expect(stats.blocks * 512).toBeLessThan(1024 * 1024);
      expect(stats.mode & 0o777).toBe(0o600);
    }));

  it("leaves nothing when it is aborted under way", () =>
    inDirectory(async (directory) => {
      await writeFile(join(directory, "from"), Buffer.alloc(8 * 1024 * 1024, 1));
      const controller = new AbortController();
      const copying = copyFile(join(directory, "from"), join(directory, "to"), {
        signal: controller.signal,
        onProgress: () => controller.abort(),
      });
      await expect(copying).rejects.toMatchObject({ code: "ABORTED" });
      expect(await readdir(directory)).toEqual(["from"]);
    }));

  it("refuses what is too large or no regular file", () =>
    inDirectory(async (directory) => {
      await writeFile(join(directory, "from"), Buffer.alloc(1000, 1));
      await mkdir(join(directory, "folder"));
      await expect(copyFile(join(directory, "from"), join(directory, "to"), { maxBytes: 999 })).rejects.toMatchObject({
        code: "IMAGE_UNACCEPTABLE",
      });
      await expect(copyFile(join(directory, "folder"), join(directory, "to"))).rejects.toMatchObject({
        code: "IMAGE_UNACCEPTABLE",
      });
      await expect(copyFile(join(directory, "none"), join(directory, "to"))).rejects.toMatchObject({ code: "ENOENT" });
      expect((await readdir(directory)).sort()).toEqual(["folder", "from"]);
    }));

  it("never writes over a file", () =>
    inDirectory(async (directory) => {
      const [from, to] = [join(directory, "from"), join(directory, "to")];
      await writeFile(from, "new");
      await writeFile(to, "old");
      await expect(copyFile(from, to)).rejects.toMatchObject({ code: "EEXIST" });
      await expect(cloneOrCopyFile(from, to)).rejects.toMatchObject({ code: "EEXIST" });
      expect(await readFile(to, "utf8")).toBe("old");
    }));
});
