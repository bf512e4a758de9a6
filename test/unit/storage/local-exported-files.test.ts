import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LocalExportedFiles } from "../../../src/storage/index.js";

let directory = "";
const files = new LocalExportedFiles();
const at = (name: string): string => join(directory, name);

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "hv-exported-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe("a file", () => {
  it("keeps its identity under its final name, and is removed by it only", async () => {
    await writeFile(at("a.partial"), "content");
    const identity = await files.identify(at("a.partial"));
    await files.publish(at("a.partial"), at("a"));
    expect(await readdir(directory)).toEqual(["a"]);
    expect(await files.identify(at("a"))).toBe(identity);
    await files.remove(at("a"), "0:0");
    expect(await readFile(at("a"), "utf8")).toBe("content");
    for (const _again of [1, 2]) await files.remove(at("a"), identity);
    expect(await files.identify(at("a"))).toBeUndefined();
  });

  it("takes nobody's place", async () => {
    await writeFile(at("a.partial"), "ours");
    await writeFile(at("a"), "theirs");
    await expect(files.publish(at("a.partial"), at("a"))).rejects.toMatchObject({ code: "CONFLICT" });
    expect(await readFile(at("a"), "utf8")).toBe("theirs");
    expect(await readFile(at("a.partial"), "utf8")).toBe("ours");
  });

  it("is not where a symbolic link leads", async () => {
    await writeFile(at("real"), "text");
    await symlink(at("real"), at("link"));
    await expect(files.readText(at("link"))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(await files.identify(at("link"))).not.toBe(await files.identify(at("real")));
    await files.remove(at("link"));
    expect(await readdir(directory)).toEqual(["real"]);
  });
});

describe("a directory", () => {
  it("is made once, published whole, and removed with all that is in it", async () => {
    await files.makeDirectory(at("d.partial"));
    await expect(files.makeDirectory(at("d.partial"))).rejects.toMatchObject({ code: "CONFLICT" });
    expect((await stat(at("d.partial"))).mode & 0o777).toBe(0o700);
    await files.writeText(at("d.partial/x"), "1");
    await files.publish(at("d.partial"), at("d"));
    expect(await files.list(at("d"))).toEqual(["x"]);
    await files.remove(at("d"));
    expect(await readdir(directory)).toEqual([]);
    expect(await files.list(at("d"))).toEqual([]);
  });

  it.each(["file", "directory"])("takes the place of no %s", async (kind) => {
    await files.makeDirectory(at("d.partial"));
    if (kind === "file") await writeFile(at("d"), "");
    else await mkdir(at("d"));
    await expect(files.publish(at("d.partial"), at("d"))).rejects.toMatchObject({ code: "CONFLICT" });
    expect((await readdir(directory)).sort()).toEqual(["d", "d.partial"]);
  });
});

describe("a text", () => {
  it("is replaced in one step, and absent where there is none", async () => {
    expect(await files.readText(at("t"))).toBeUndefined();
    await files.writeText(at("t"), "old");
    await files.writeText(at("t"), "new");
    expect(await files.readText(at("t"))).toBe("new");
    expect(await readdir(directory)).toEqual(["t"]);
  });

  it("is bounded", async () => {
    await writeFile(at("t"), Buffer.alloc(1_048_577));
    await expect(files.readText(at("t"))).rejects.toMatchObject({ code: "OVERFLOW" });
  });
});

describe("every call", () => {
  const calls: readonly (readonly [string, (path: string) => Promise<unknown>])[] = [
    ["identify", (path) => files.identify(path)],
    ["makeDirectory", (path) => files.makeDirectory(path)],
    ["publish", (path) => files.publish(path, at("x"))],
    ["remove", (path) => files.remove(path)],
    ["readText", (path) => files.readText(path)],
    ["writeText", (path) => files.writeText(path, "")],
    ["list", (path) => files.list(path)],
  ];

  it.each(calls)("%s refuses what is no absolute path", async (_name, call) => {
    for (const path of ["a", "", "/a/../b", "/a\0b"])
      await expect(call(path), path).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("says what the operating system said", async () => {
    await expect(files.makeDirectory(at("none/d"))).rejects.toMatchObject({ code: "STORAGE_FAILED", errno: "ENOENT" });
    await expect(files.publish(at("none"), at("d"))).rejects.toMatchObject({ code: "STORAGE_FAILED" });
  });
});
