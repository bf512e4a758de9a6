import { readFile, readdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { Secret } from "../../../src/core/index.js";
import { PrivateFile } from "../../../src/host/index.js";
import { FileSecretStore, MemorySecretStore, requireSecret } from "../../../src/storage/index.js";
import { withTemporaryDirectory } from "../../lab/index.js";

const VALUE = "p, a=s\ns'\"🔑";

describe("a secret store of files", () => {
  it("keeps secrets for later processes, readable by their owner alone", () =>
    withTemporaryDirectory(async ({ path: root }) => {
      const directory = join(root, "secrets");
      const store = new FileSecretStore({ directory });
      expect(await store.get("vol-1")).toBeUndefined();
      await store.delete("vol-1");
      await store.put("vol-1", Secret.of("old"));
      await store.put("vol-1", Secret.of(VALUE));
      expect((await stat(directory)).mode & 0o777).toBe(0o700);
      expect((await stat(join(directory, "vol-1"))).mode & 0o777).toBe(0o600);
      const later = new FileSecretStore({ directory });
      const found = await later.get("vol-1");
      expect(found?.reveal()).toBe(VALUE);
      expect(inspect(found)).not.toContain(VALUE);
      await later.delete("vol-1");
      expect(await store.get("vol-1")).toBeUndefined();
      expect(await readdir(directory)).toEqual([]);
    }));

  it("sweeps away what a write has left that was cut off", () =>
    withTemporaryDirectory(async ({ path: directory }) => {
      await writeFile(join(directory, ".hypervise-0011.tmp"), VALUE);
      await new FileSecretStore({ directory }).put("a", Secret.of("b"));
      expect(await readdir(directory)).toEqual(["a"]);
    }));

  it.each(["", "../a", "a/b", ".a", "-a", "a b", "x".repeat(129)])("takes %j for no id", (id) =>
    withTemporaryDirectory(async ({ path: directory }) => {
      const store = new FileSecretStore({ directory });
      const uses: (() => Promise<unknown>)[] = [
        () => store.get(id),
        () => store.put(id, Secret.of("a")),
        () => store.delete(id),
      ];
      for (const use of uses)
        await expect(Promise.resolve().then(use)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "id" });
    }),
  );

  it("says what went wrong without saying the secret", () =>
    withTemporaryDirectory(async ({ path: directory }) => {
      const store = new FileSecretStore({ directory });
      const long = Secret.of("y".repeat(70_000));
      const error: unknown = await store.put("a", long).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field: "value" });
      expect(inspect(error, { depth: 9 })).not.toContain("yyyy");
      await writeFile(join(directory, "target"), "elsewhere");
      await symlink("target", join(directory, "link"));
      await expect(store.get("link")).rejects.toMatchObject({ code: "HOST_IO", errno: "ELOOP" });
      const blocked = new FileSecretStore({ directory: join(directory, "target") });
      await expect(blocked.put("a", Secret.of(VALUE))).rejects.toMatchObject({ code: "HOST_IO" });
      expect(() => new FileSecretStore({ directory: "relative" })).toThrow(/options\.directory/);
    }));
});

it("a secret that is not there is named by its id", async () => {
  await expect(requireSecret(new MemorySecretStore(), "vol-9", { device: "vol" })).rejects.toMatchObject({
    code: "SECRET_NOT_FOUND",
    device: "vol",
  });
});

describe("a file without a name", () => {
  it("is read by its path as long as it is not wiped", async () => {
    const file = PrivateFile.create(VALUE);
    const { path } = file;
    expect(await readFile(path, "utf8")).toBe(VALUE);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(path)).nlink).toBe(0);
    file.wipe();
    file.wipe();
    await expect(readFile(path, "utf8")).rejects.toMatchObject({ code: "ENOENT" });
  });
});
