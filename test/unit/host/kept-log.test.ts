import { appendFile, mkdtemp, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readKeptLog, shortenKeptLog, watchKeptLog } from "../../../src/host/index.js";
import type { KeptLog } from "../../../src/host/index.js";
import { waitFor } from "../../lab/wait-for.js";

let directory: string;
let log: KeptLog;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kept-"));
  const path = join(directory, "log");
  log = { path, older: [`${path}.0`, `${path}.1`, `${path}.2`] };
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const tail = async (maxBytes: number): Promise<readonly [string, boolean]> => {
  const { bytes, truncated } = await readKeptLog(log, maxBytes);
  return [bytes.toString(), truncated];
};

describe("a log that is kept short", () => {
  it("is empty where there is none", async () => {
    expect(await tail(10)).toEqual(["", false]);
    await shortenKeptLog(log, 2);
    expect(await readdir(directory)).toEqual([]);
  });

  it("is read on over its older parts", async () => {
    for (const [name, text] of [
      ["log", "gh"],
      ["log.0", "def"],
      ["log.1", "abc"],
    ] as const)
      await writeFile(join(directory, name), text);
    expect(await tail(1)).toEqual(["h", true]);
    expect(await tail(2)).toEqual(["gh", true]);
    expect(await tail(4)).toEqual(["efgh", true]);
    expect(await tail(8)).toEqual(["abcdefgh", false]);
    expect(await tail(100)).toEqual(["abcdefgh", false]);
  });

  it("keeps the newest when it is shortened, and whoever appends goes on", async () => {
    await writeFile(log.path, "0123456789");
    await writeFile(`${log.path}.1`, "older");
    await shortenKeptLog(log, 8);
    await appendFile(log.path, "!");
    expect(await tail(100)).toEqual(["6789!", false]);
    expect((await readdir(directory)).sort()).toEqual(["log", "log.0"]);
  });

  it("is shortened while it is written, also when others put a new file in its place", async () => {
    const failures: unknown[] = [];
    const stop = watchKeptLog(log, { maxBytes: 20, watched: directory, onFailure: (error) => failures.push(error) });
    try {
      for (const _file of [1, 2]) {
        await appendFile(log.path, "x".repeat(50));
        await waitFor(async () => (await tail(100))[0].length <= 20, { timeoutMs: 20_000, what: "a shorter log" });
        // As virtlogd does.
        await rename(log.path, `${log.path}.0`);
      }
    } finally {
      stop();
    }
    expect(failures).toEqual([]);
  });

  it("follows no link that its writer has put there", async () => {
    await writeFile(join(directory, "secret"), "s".repeat(100));
    await symlink(join(directory, "secret"), log.path);
    await expect(readKeptLog(log, 10)).rejects.toMatchObject({ code: "HOST_IO" });
    await shortenKeptLog(log, 10);
    expect((await readdir(directory)).sort()).toEqual(["log", "secret"]);
  });
});
