import fc from "fast-check";
import { chmod, link, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MemoryStateStore } from "../../../src/core/index.js";
import { AccessLedger, guestOf, holderOf } from "../../../src/kvm/access/access-ledger.js";
import { mayAccess, withAccess } from "../../../src/kvm/access/file-rights.js";
import { resolveCredentials } from "../../../src/kvm/access/credentials.js";
import { temporaryDirectory } from "../../lab/temporary-directory.js";
import type { TemporaryDirectory } from "../../lab/temporary-directory.js";

const user = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

let directory: TemporaryDirectory;
let store: MemoryStateStore;
let ledger: AccessLedger;
beforeEach(async () => {
  directory = await temporaryDirectory("hva-");
  store = new MemoryStateStore();
  ledger = new AccessLedger(store, directory.path, user);
});
afterEach(() => directory.remove());

async function file(name: string, mode: number): Promise<string> {
  const path = directory.file(name);
  await writeFile(path, "data");
  await chmod(path, mode);
  return path;
}
const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o7777;

describe("the rights of a file", () => {
  const ids = fc.integer({ min: 0, max: 3 });
  it("are enough once they were given, and reading takes nobody's file", () => {
    const ownership = fc.record({ uid: ids, gid: ids, mode: fc.integer({ min: 0, max: 0o777 }) });
    const who = fc.record({ uid: fc.integer({ min: 1, max: 3 }), gid: ids });
    fc.assert(
      fc.property(ownership, who, fc.constantFrom("read" as const, "write" as const), (original, someone, access) => {
        const given = withAccess(original, someone, access);
        expect(mayAccess(given, someone, access)).toBe(true);
        if (access === "read") expect(given.uid).toBe(original.uid);
        expect(given.mode & original.mode).toBe(original.mode);
        // Nobody who could read by the group is shut out.
        if (access === "read" && original.mode & 0o040) expect(given.gid).toBe(original.gid);
      }),
    );
  });
});

describe("the ledger of files that QEMU was given", () => {
  it("gives, and takes back when the last one has let go", async () => {
    const path = await file("disk", 0o040);
    await ledger.grant(holderOf("a", "disk-root"), path, "write");
    expect(await modeOf(path)).toBe(0o640);
    await ledger.grant(holderOf("b", "disk-data"), path, "read");
    await ledger.revoke(holderOf("a", "disk-root"), path);
    expect(await modeOf(path)).toBe(0o640);
    await ledger.revoke(holderOf("b", "disk-data"), path);
    await ledger.revoke(holderOf("b", "disk-data"), path);
    expect(await modeOf(path)).toBe(0o040);
    expect(await store.list("")).toEqual([]);
  });

  it("leaves a file as it is that can be used already", async () => {
    const path = await file("disk", 0o600);
    await ledger.grant(holderOf("a", "x"), path, "write");
    expect(await store.list("")).toEqual([]);
  });

  it("is read by the next process, which takes back what nobody needs any more", async () => {
    const path = await file("disk", 0o000);
    await ledger.grant(holderOf("a", "x"), path, "write");
    const next = new AccessLedger(store, directory.path, undefined);
    await next.load();
    await next.revokeAll((holder) => guestOf(holder) !== "a");
    expect(await modeOf(path)).toBe(0o600);
    await next.revokeAll((holder) => guestOf(holder) === "a");
    expect(await modeOf(path)).toBe(0o000);
  });

  it("leaves alone what is gone, and another file of the name", async () => {
    const [gone, other] = [await file("gone", 0o000), await file("other", 0o000)];
    for (const path of [gone, other]) await ledger.grant(holderOf("a", "x"), path, "read");
    await rm(gone);
    await rename(await file("new", 0o644), other);
    await ledger.revokeAll(() => true);
    expect(await modeOf(other)).toBe(0o644);
    expect(await store.list("")).toEqual([]);
    // What has become a link since is followed nowhere.
    await ledger.grant(holderOf("a", "x"), await file("late", 0o000), "write");
    await rename(directory.file("late"), directory.file("moved"));
    await symlink(other, directory.file("late"));
    await ledger.revokeAll(() => true);
    expect(await modeOf(other)).toBe(0o644);
  });

  it("refuses what is no file, what several names lead to, and what is missing", async () => {
    await expect(ledger.grant(holderOf("a", "x"), directory.path, "read")).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    const path = await file("disk", 0o000);
    await link(path, directory.file("second"));
    await expect(ledger.grant(holderOf("a", "x"), path, "write")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await ledger.grant(holderOf("a", "x"), path, "read");
    await expect(ledger.grant(holderOf("a", "x"), directory.file("none"), "read")).rejects.toMatchObject({
      code: "HOST_IO",
      errno: "ENOENT",
    });
  });

  it("gives nothing where QEMU runs as the driver's own user", async () => {
    const path = await file("disk", 0o000);
    await new AccessLedger(store, directory.path, undefined).grant(holderOf("a", "x"), path, "write");
    expect(await modeOf(path)).toBe(0o000);
  });
});

describe("the user that QEMU runs as", () => {
  const refused = expect.objectContaining({ code: "HYPERVISOR_UNAVAILABLE", retryable: false }) as Error;
  it("is none where none is asked for, and never root", async () => {
    expect(await resolveCredentials(undefined, undefined)).toBeUndefined();
    await expect(resolveCredentials({ uid: 0, gid: 0 }, undefined)).rejects.toEqual(refused);
    await expect(resolveCredentials("root", undefined)).rejects.toEqual(refused);
    await expect(resolveCredentials("no-such-user-here", undefined)).rejects.toEqual(refused);
  });
});
