import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Journal } from "../../../src/core/index.js";
import { FileStateStore, acquireFileLock, writeFileAtomic } from "../../../src/host/index.js";

const isRoot = process.getuid?.() === 0;

let dir: string;
let mounted = false;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "hv-full-"));
});
afterEach(() => {
  if (mounted) execFileSync("umount", ["-l", dir]);
  mounted = false;
  rmSync(dir, { recursive: true, force: true });
});

function mount(options: string): void {
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", dir]);
  mounted = true;
}

/** Leaves no byte free. */
function fill(): void {
  for (let size = 64 * 1024; size >= 1; size = Math.floor(size / 2)) {
    for (let i = 0; ; i++) {
      try {
        writeFileSync(join(dir, "filler"), Buffer.alloc(size), { flag: "a" });
      } catch {
        break;
      }
    }
  }
}

describe.runIf(isRoot)("on a full disk", () => {
  it("the old file stands, the error says ENOSPC, and no temporary file is left", async () => {
    mount("size=64k");
    const path = join(dir, "file");
    await writeFileAtomic(path, "old");
    fill();
    const error = await writeFileAtomic(path, Buffer.alloc(20_000)).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: "HOST_IO", errno: "ENOSPC", path, remedy: "Free space on the file system." });
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readdirSync(dir).sort()).toEqual(["file", "filler"]);
  });

  it("a transaction does nothing that it can't put on record, and can still be rolled back", async () => {
    mount("size=64k");
    const done: string[] = [];
    const undo = { thing: async () => void done.push("undone") };
    const journal = new Journal({ store: new FileStateStore({ dir }), undo });
    const tx = await journal.begin({ kind: "spawn", params: {} });
    await tx.effect({ kind: "thing", data: {} }, async () => done.push("first"));
    fill();
    const second = tx.effect({ kind: "thing", data: { big: "x".repeat(20_000) } }, async () => done.push("second"));
    await expect(second).rejects.toMatchObject({ code: "HOST_IO", errno: "ENOSPC" });
    await tx.rollback(new Error("x"));
    expect(done).toEqual(["first", "undone"]);
    expect(readdirSync(join(dir, "journal"))).toEqual([]);
  });

  it("no lock can be taken when there is no room for its file", async () => {
    mount("size=64k,nr_inodes=2");
    writeFileSync(join(dir, "last"), "");
    await expect(acquireFileLock(dir)).rejects.toMatchObject({ code: "HOST_IO", errno: "ENOSPC" });
  });
});

describe.runIf(isRoot)("on a read-only file system", () => {
  it("reading works and writing says EROFS", async () => {
    mount("size=64k");
    await new FileStateStore({ dir }).put("a", 1);
    execFileSync("mount", ["-o", "remount,ro", dir]);
    const store = new FileStateStore({ dir });
    expect(await store.get("a")).toBe(1);
    await expect(store.put("a", 2)).rejects.toMatchObject({ code: "HOST_IO", errno: "EROFS" });
    await expect(store.delete("a")).rejects.toMatchObject({ code: "HOST_IO", errno: "EROFS" });
    await expect(acquireFileLock(dir)).rejects.toMatchObject({ code: "HOST_IO", errno: "EROFS" });
    expect(await store.get("a")).toBe(1);
  });
});

describe("without the right to write", () => {
  it("says EACCES", async (context) => {
    context.skip(isRoot, "root may write everywhere");
    chmodSync(dir, 0o500);
    await expect(writeFileAtomic(join(dir, "file"), "x")).rejects.toMatchObject({ code: "HOST_IO", errno: "EACCES" });
  });
});
