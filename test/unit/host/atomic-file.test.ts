import { spawn } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ensureDirectory, readJsonFile, removeFile, writeFileAtomic } from "../../../src/host/index.js";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "hv-atomic-"));
});
afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

describe("writeFileAtomic", () => {
  it("makes and replaces a file, of the given mode whatever the umask, and leaves nothing else", async () => {
    const path = join(dir, "file");
    await writeFileAtomic(path, "one");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await writeFileAtomic(path, Buffer.from("two"), { mode: 0o666 });
    expect((await stat(path)).mode & 0o777).toBe(0o666);
    expect(await readFile(path, "utf8")).toBe("two");
    expect(await readdir(dir)).toEqual(["file"]);
  });

  it("replaces a symbolic link, not what it leads to", async () => {
    await writeFile(join(dir, "victim"), "precious");
    await symlink(join(dir, "victim"), join(dir, "link"));
    await writeFileAtomic(join(dir, "link"), "new");
    expect(await readFile(join(dir, "victim"), "utf8")).toBe("precious");
  });

  it("says why it failed, and leaves the old content and no temporary file", async () => {
    await expect(writeFileAtomic(join(dir, "gone", "file"), "x")).rejects.toMatchObject({
      code: "HOST_IO",
      errno: "ENOENT",
      path: join(dir, "gone", "file"),
    });
    await mkdir(join(dir, "taken", "inside"), { recursive: true });
    await expect(writeFileAtomic(join(dir, "taken"), "x")).rejects.toMatchObject({ code: "HOST_IO", errno: "EISDIR" });
    expect(await readdir(dir)).toEqual(["taken"]);
    const error = await writeFileAtomic(join(dir, "gone", "file"), "x").catch((e: unknown) => e);
    expect(JSON.stringify(error)).not.toContain(dir);
  });

  it("does not write through a temporary file that someone laid out for it", async () => {
    await writeFile(join(dir, "victim"), "precious");
    await symlink(join(dir, "victim"), join(dir, "trap.tmp"));
    await expect(writeFileAtomic(join(dir, "file"), "x", { temporaryName: "trap.tmp" })).rejects.toMatchObject({
      errno: "EEXIST",
    });
    expect(await readFile(join(dir, "victim"), "utf8")).toBe("precious");
    expect((await readdir(dir)).sort()).toEqual(["trap.tmp", "victim"]);
  });

  it("gives readers old or new, whole, while many write", async () => {
    const path = join(dir, "file");
    const contents = Array.from({ length: 20 }, (_, i) => String.fromCharCode(97 + i).repeat(50_000));
    await writeFileAtomic(path, contents[0] ?? "");
    let writing = true;
    const read = async (): Promise<void> => {
      while (writing) expect(contents).toContain(await readFile(path, "utf8"));
    };
    const reading = read();
    await Promise.all(contents.map((content) => writeFileAtomic(path, content)));
    writing = false;
    await reading;
    expect(await readdir(dir)).toEqual(["file"]);
  });
});

describe("readJsonFile and removeFile", () => {
  it("reads JSON, and undefined where there is no file", async () => {
    await writeFile(join(dir, "a"), '{"a":[1]}');
    expect(await readJsonFile(join(dir, "a"))).toEqual({ a: [1] });
    expect(await readJsonFile(join(dir, "none"))).toBeUndefined();
  });

  it("names a file that is none, and one that is too long", async () => {
    await writeFile(join(dir, "cut"), '{"a":');
    const cut = await readJsonFile(join(dir, "cut")).catch((e: unknown) => e);
    expect(cut).toMatchObject({ code: "STATE_CORRUPT", detail: expect.stringContaining(join(dir, "cut")) as string });
    await writeFile(join(dir, "long"), `"${"x".repeat(100)}"`);
    await expect(readJsonFile(join(dir, "long"), 50)).rejects.toMatchObject({ code: "OVERFLOW" });
    await expect(readJsonFile(dir)).rejects.toMatchObject({ code: "HOST_IO", errno: "EISDIR" });
  });

  it("removes a file, and what is absent", async () => {
    await writeFile(join(dir, "a"), "");
    await removeFile(join(dir, "a"));
    await removeFile(join(dir, "a"));
    await removeFile(join(dir, "gone", "a"));
    expect(await readdir(dir)).toEqual([]);
    await expect(removeFile(dir)).rejects.toMatchObject({ code: "HOST_IO" });
  });
});

describe("ensureDirectory", () => {
  it("makes the path, private, and leaves what is there", async () => {
    await ensureDirectory(join(dir, "a", "b", "c"));
    expect((await stat(join(dir, "a"))).mode & 0o777).toBe(0o700);
    await chmod(join(dir, "a"), 0o755);
    await ensureDirectory(join(dir, "a"));
    expect((await stat(join(dir, "a"))).mode & 0o777).toBe(0o755);
    await writeFile(join(dir, "file"), "");
    await expect(ensureDirectory(join(dir, "file", "x"))).rejects.toMatchObject({ code: "HOST_IO", errno: "ENOTDIR" });
  });
});

describe("a writer that is killed", () => {
  /** Stops for good right before its rename, as if the process had been killed there. */
  const script = (module: string, target: string): string => `
    const { syncBuiltinESMExports } = await import("node:module");
    const fs = (await import("node:fs")).promises;
    fs.rename = () => new Promise(() => { console.log("about to rename"); setInterval(() => undefined, 1000); });
    syncBuiltinESMExports();
    const { writeFileAtomic } = await import(${JSON.stringify(module)});
    await writeFileAtomic(${JSON.stringify(target)}, "new content");
  `;

  it("leaves the old content", async () => {
    const path = join(dir, "file");
    await writeFileAtomic(path, "old content");
    const module = new URL("../../../src/host/atomic-file.ts", import.meta.url).href;
    const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script(module, path)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exited = new Promise((resolve) => child.once("exit", resolve));
    try {
      await new Promise<void>((resolve, reject) => {
        child.stdout.once("data", () => resolve());
        child.once("exit", (code) => reject(new Error(`the writer ended with ${code}`)));
      });
    } finally {
      child.kill("SIGKILL");
      await exited;
    }
    expect(await readFile(path, "utf8")).toBe("old content");
    expect(await readdir(dir)).toHaveLength(2);
  });
});
