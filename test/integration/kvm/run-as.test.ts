import { chmod, copyFile, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import { KvmDriver } from "../../../src/kvm/index.js";
import type { KvmHypervisor, RunAs } from "../../../src/kvm/index.js";
import { DirectoryImageStore } from "../../../src/storage/index.js";
import { bootSector, requirePackages, run, temporaryDirectory, waitFor } from "../../lab/index.js";
import { KvmLab, disk, isDead, nic, waitForConsole } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

const nobody = { uid: 65_534, gid: 65_534 } as const;
const detach = { timeoutMs: 30_000 } as const;

beforeAll(() => requirePackages("qemu-system-x86_64", "qemu-img"));

async function openLab(runAs: RunAs = nobody): Promise<KvmLab> {
  const lab = await KvmLab.open({ runAs });
  await chmod(lab.directory.path, 0o711);
  return lab;
}

/** A file's owner and mode, as `uid:gid mode`. */
async function rightsOf(path: string): Promise<string> {
  const { uid, gid, mode } = await stat(path);
  return `${uid}:${gid} ${(mode & 0o7777).toString(8)}`;
}

/** Uids, gids and groups of a process. */
async function identityOf(pid: number): Promise<{ uids: string[]; gids: string[]; groups: string[] }> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const field = (name: string): string[] =>
    (new RegExp(`^${name}:(.*)$`, "m").exec(status)?.[1] ?? "")
      .trim()
      .split(/\s+/)
      .filter((word) => word !== "");
  return { uids: field("Uid"), gids: field("Gid"), groups: field("Groups") };
}

async function image(lab: KvmLab, name: string, mode = 0o600): Promise<string> {
  const path = await lab.image(name);
  await chmod(path, mode);
  return path;
}

async function bootable(lab: KvmLab, name: string): Promise<string> {
  const path = lab.directory.file(name);
  await copyFile(bootSector(), path);
  await chmod(path, 0o600);
  return path;
}

const ours = `${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0} 600`;
const theirs = "65534:65534 600";

describe.runIf(process.getuid?.() === 0)("a guest whose QEMU runs as another user", () => {
  it("runs as that user alone, and its files come back when it ends", async () => {
    await using lab = await openLab();
    const [root, extra] = [await bootable(lab, "root.raw"), await image(lab, "extra.raw")];
    const guest = await lab.define({ disks: [disk("root", "vda", root, { bootIndex: 0 })] });
    await guest.start();
    await waitForConsole(guest, "HV-BOOT");
    const pid = (await lab.pid(guest.uuid)) as number;
    const four = ["65534", "65534", "65534", "65534"];
    expect(await identityOf(pid)).toEqual({ uids: four, gids: four, groups: [] });
    expect(await rightsOf(root)).toBe(theirs);
    // What is the driver's stays the driver's.
    expect(await rightsOf(lab.file(guest.uuid, "runtime.json"))).toBe(ours);
    expect(await rightsOf(lab.file(guest.uuid, "."))).toBe("0:65534 1770");

    await guest.attachDisk(disk("data", "vdb", extra));
    await guest.attachNic(nic("port", 1));
    expect(await rightsOf(extra)).toBe(theirs);
    expect((await guest.screenshot()).bytes.length).toBeGreaterThan(100);
    const going = guest.detachDisk("data", detach);
    await waitFor(async () => (await guest.detachDisk("data", { timeoutMs: 1 })) === "pending");
    await guest.reset();
    expect(await going).toBe("detached");
    expect(await rightsOf(extra)).toBe(ours);
    await guest.kill();
    expect(await isDead(pid)).toBe(true);
    expect(await rightsOf(root)).toBe(ours);
    // And again, with the console log that is there.
    await guest.start();
    await guest.kill();
    expect(await readdir(`${lab.stateDirectory}/access`)).toEqual([]);
  });

  it("shares a base image that it may only read", async () => {
    await using lab = await openLab();
    const base = await bootable(lab, "base.raw");
    const overlays = await Promise.all(
      ["one", "two"].map(async (name) => {
        const path = lab.directory.file(`${name}.qcow2`);
        await run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", path]);
        await chmod(path, 0o600);
        return path;
      }),
    );
    const guests: Guest[] = [];
    for (const path of overlays) {
      const source = { type: "file", path, format: "qcow2" } as const;
      guests.push(await lab.define({ disks: [disk("root", "vda", path, { source, bootIndex: 0 })] }));
    }
    for (const guest of guests) await guest.start();
    expect(await rightsOf(base)).toBe("0:65534 640");
    await guests[0]?.kill();
    expect(await rightsOf(overlays[0] as string)).toBe(ours);
    expect(await rightsOf(base)).toBe("0:65534 640");
    await guests[1]?.kill();
    expect(await rightsOf(base)).toBe(ours);
  });

  it("gives everything back when the guest does not start, or a disk is refused", async () => {
    await using lab = await openLab();
    const [good, broken] = [await bootable(lab, "good.raw"), lab.directory.file("broken.qcow2")];
    await writeFile(broken, "no qcow2", { mode: 0o600 });
    const source = { type: "file", path: broken, format: "qcow2" } as const;
    const failing = await lab.define({
      disks: [disk("root", "vda", good, { bootIndex: 0 }), disk("bad", "vdb", broken, { source })],
    });
    await expect(failing.start()).rejects.toMatchObject({ instance: { uuid: failing.uuid } });
    expect([await rightsOf(good), await rightsOf(broken)]).toEqual([ours, ours]);

    const guest = await lab.define({ disks: [disk("root", "vda", good, { bootIndex: 0 })] });
    await guest.start();
    const small = await image(lab, "odd.raw");
    await expect(guest.attachDisk(disk("again", "vdb", small, { bus: "ide" }))).rejects.toMatchObject({
      code: "NOT_SUPPORTED",
    });
    const controller = new AbortController();
    controller.abort();
    await expect(guest.attachDisk(disk("late", "vdc", small), { signal: controller.signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    await expect(guest.attachDisk(disk("bad", "vdd", broken, { source }))).rejects.toThrow();
    expect([await rightsOf(small), await rightsOf(broken)]).toEqual([ours, ours]);
    await guest.kill();
    expect(await readdir(`${lab.stateDirectory}/access`)).toEqual([]);
  });

  it("is found again, and its files come back when it ended while nobody watched", async () => {
    await using lab = await openLab();
    const [root, other] = [await bootable(lab, "root.raw"), await bootable(lab, "other.raw")];
    const guest = await lab.define({ disks: [disk("root", "vda", root, { bootIndex: 0 })] });
    const ending = await lab.define({ disks: [disk("root", "vda", other, { bootIndex: 0 })] });
    for (const each of [guest, ending]) await each.start();
    const pid = (await lab.pid(ending.uuid)) as number;
    await lab.hypervisor.close();
    process.kill(pid, "SIGKILL");
    await waitFor(() => isDead(pid));
    await lab.reopen({ runAs: "nobody" });
    expect([await rightsOf(root), await rightsOf(other)]).toEqual([theirs, ours]);
    const again = (await lab.hypervisor.find(guest.uuid)) as Guest;
    expect(await again.info()).toMatchObject({ state: "running" });
    await again.kill();
    expect(await rightsOf(root)).toBe(ours);
  });

  it("can't lead the driver to other files by links in its directory", async () => {
    await using lab = await openLab();
    const guest = await lab.define({ disks: [disk("root", "vda", await bootable(lab, "root.raw"), { bootIndex: 0 })] });
    await guest.start();
    await waitForConsole(guest, "HV-BOOT");
    const secret = lab.directory.file("secret");
    await writeFile(secret, "a secret", { mode: 0o600 });
    const log = lab.file(guest.uuid, "console.log");
    const asNobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    await run([...asNobody, "ln", "-sf", secret, log]);
    await expect(run([...asNobody, "rm", lab.file(guest.uuid, "runtime.json")])).rejects.toThrow();
    await expect(guest.consoleLog({ maxBytes: 1_000 })).rejects.toMatchObject({ code: "HOST_IO" });
    await guest.kill();
    expect(await readFile(secret, "utf8")).toBe("a secret");
    expect(await rightsOf(secret)).toBe(ours);
  });

  it("is refused for root, for nobody that there is, and where this process may not", async () => {
    for (const runAs of ["no-such-user", "root"])
      await expect(KvmLab.open({ runAs })).rejects.toMatchObject({ code: "HYPERVISOR_UNAVAILABLE" });
    expect(() => new KvmDriver({ stateDirectory: "/x", runAs: { uid: 0, gid: 0 } })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: "options.runAs.uid" }),
    );
  });

  it("is spawned, made an image of, and destroyed by the driver as any other", async () => {
    await using directory = await temporaryDirectory("hvr-");
    await chmod(directory.path, 0o711);
    const stateDirectory = directory.file("state");
    const images = new DirectoryImageStore({ directory: directory.file("state/images") });
    await images.import({ id: "boot", format: "raw", path: bootSector() });
    await using driver = new KvmDriver({
      stateDirectory,
      runAs: nobody,
      accelerator: "tcg",
      collaborators: { images },
    });
    await driver.initHost();
    const uuid = randomUUID();
    const instance = { uuid, name: "unprivileged" };
    const flavor = { vcpus: 1, memoryMiB: 64, rootGiB: 1 };
    await driver.spawn({ ...instance, flavor, imageId: "boot", vifs: [] });
    expect(await driver.getInfo(instance)).toMatchObject({ state: "running" });
    await driver.snapshot(instance, "copy").result;
    expect(await images.describe("copy")).toMatchObject({ id: "copy" });
    await driver.reboot(instance, "hard");
    await driver.destroy(instance);
    expect(await readdir(`${stateDirectory}/guests`)).toEqual([]);
    expect(await readdir(`${stateDirectory}/access`)).toEqual([]);
  });
});
