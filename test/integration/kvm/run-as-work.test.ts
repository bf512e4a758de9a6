import { chmod, copyFile, readdir, stat } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import type { KvmHypervisor } from "../../../src/kvm/index.js";
import { bootSector, requirePackages, run } from "../../lab/index.js";
import { Tools, hasPattern, qcow2, qcow2Disk, same, smallDirectory } from "./block-lab.js";
import { KvmLab, disk, waitForConsole } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

const nobody = { uid: 65_534, gid: 65_534 } as const;

beforeAll(() => requirePackages("qemu-system-x86_64", "qemu-img"));

const ours = `${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0} 600`;
const theirs = "65534:65534 600";

/** A file's owner and mode, as `uid:gid mode`. */
async function rightsOf(path: string): Promise<string> {
  const { uid, gid, mode } = await stat(path);
  return `${uid}:${gid} ${(mode & 0o7777).toString(8)}`;
}

const file = (path: string, format: "qcow2" | "raw" = "qcow2") => ({ type: "file", path, format }) as const;

/** Nothing is given away any more. */
async function expectTakenBack(lab: KvmLab, paths: readonly string[]): Promise<void> {
  for (const path of paths) expect(await rightsOf(path), path).toBe(ours);
  expect(await readdir(`${lab.stateDirectory}/access`)).toEqual([]);
}

describe.runIf(process.getuid?.() === 0)("a guest whose QEMU runs as another user", () => {
  /** A guest of two disks in files that are the driver's alone. */
  async function begin(lab: KvmLab): Promise<{ guest: Guest; root: string; data: string }> {
    await chmod(lab.directory.path, 0o711);
    const root = lab.directory.file("root.raw");
    await copyFile(bootSector(), root);
    const data = await qcow2(lab, "data", 16);
    await run(["qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", data]);
    for (const path of [root, data]) await chmod(path, 0o600);
    const guest = await lab.define({
      disks: [disk("root", "vda", root, { bootIndex: 0 }), qcow2Disk("data", "vdb", data)],
    });
    await guest.start();
    await waitForConsole(guest, "HV-BOOT");
    return { guest, root, data };
  }
  const made = async (lab: KvmLab, name: string, under?: string): Promise<string> => {
    const path = await qcow2(lab, name, 16, under === undefined ? undefined : { path: under, format: "qcow2" });
    await chmod(path, 0o600);
    return path;
  };

  it("has its disks mirrored, overlaid, merged, copied and backed up, and new files are the driver's", async () => {
    await using lab = await KvmLab.open({ runAs: nobody });
    const { guest, root, data } = await begin(lab);
    const at = (name: string): string => lab.directory.file(name);

    const mirrored = await made(lab, "mirrored");
    await guest.mirrorDisk("data", file(mirrored));
    expect([await rightsOf(data), await rightsOf(mirrored)]).toEqual([ours, theirs]);

    const overlay = await made(lab, "overlay", mirrored);
    await guest.snapshotDisk("data", file(overlay));
    expect(await rightsOf(overlay)).toBe(theirs);
    {
      await using tools = await Tools.open(lab, guest.uuid);
      await tools.write(1, 2, "2M", "1M");
    }
    // A driver that comes later knows what was given to whom.
    await lab.reopen();
    const found = (await lab.hypervisor.find(guest.uuid))!;
    await found.commitDisk("data", file(mirrored));
    expect([await rightsOf(overlay), await rightsOf(mirrored)]).toEqual([ours, theirs]);

    await found.copyDisk("data", at("copy"), "qcow2");
    await found.backup({ disks: [{ diskId: "data", path: at("full"), format: "qcow2" }], checkpoint: "one" });
    await found.backup({ disks: [{ diskId: "data", path: at("later"), format: "qcow2" }], since: "one" });
    await found.dumpMemory(at("dump"), "elf");
    for (const name of ["copy", "full", "later", "dump"]) expect(await rightsOf(at(name)), name).toBe(ours);
    expect(await hasPattern(at("copy"), "qcow2", 2, "2M", "1M")).toBe(true);
    expect(await same(at("full"), "qcow2", mirrored, "qcow2")).toBe(true);

    await found.kill();
    await expectTakenBack(lab, [root, data, mirrored, overlay]);
  });

  it("is suspended and saved as a template, and runs on from both", async () => {
    await using lab = await KvmLab.open({ runAs: nobody });
    const { guest, root, data } = await begin(lab);
    await guest.suspend.save();
    expect(await rightsOf(lab.file(guest.uuid, "memory.state"))).toBe(ours);
    await expectTakenBack(lab, [root, data]);
    await guest.suspend.restore();
    expect((await guest.info()).state).toBe("running");
    expect(await rightsOf(data)).toBe(theirs);

    const at = (name: string): string => lab.directory.file(`template-${name}`);
    const disks = (["root", "data"] as const).map((diskId) => ({ diskId, path: at(diskId), format: "qcow2" as const }));
    const memoryPath = at("memory");
    const saved = await guest.saveTemplate({ memoryPath, disks });
    for (const name of ["root", "data", "memory"]) expect(await rightsOf(at(name)), name).toBe(ours);
    const overlays = [await made(lab, "clone-root", at("root")), await made(lab, "clone-data", at("data"))] as const;
    const clone = await lab.define({
      disks: [qcow2Disk("root", "vda", overlays[0], { bootIndex: 0 }), qcow2Disk("data", "vdb", overlays[1])],
    });
    await clone.startFromTemplate({ ...saved, memoryPath, definition: await guest.definition() });
    expect((await clone.info()).state).toBe("running");
    expect(await rightsOf(overlays[1])).toBe(theirs);
    expect(await rightsOf(at("data"))).toBe("0:65534 640");
    for (const one of [clone, guest]) await one.kill();
    await expectTakenBack(lab, [root, data, ...overlays, at("root"), at("data")]);
  });

  it("gives new files back, or leaves none, when the work fails, is aborted or its driver goes", async () => {
    await using lab = await KvmLab.open({ runAs: nobody });
    const { guest, root, data } = await begin(lab);
    const small = await smallDirectory(lab, "small", 4);
    await using _ = small;
    await chmod(small.path, 0o711);
    {
      await using tools = await Tools.open(lab, guest.uuid);
      await tools.write(1, 3, "0", "8M");
    }
    const target = `${small.path}/target`;
    await run(["qemu-img", "create", "-q", "-f", "qcow2", target, "16M"]);
    await chmod(target, 0o600);
    await expect(guest.mirrorDisk("data", file(target))).rejects.toMatchObject({ code: "DISK_FULL" });
    await expect(guest.copyDisk("data", `${small.path}/copy`, "qcow2")).rejects.toMatchObject({ code: "DISK_FULL" });
    expect(await readdir(small.path)).toEqual(["target"]);
    expect([await rightsOf(target), await rightsOf(data)]).toEqual([ours, theirs]);

    // An overlay of something else is no overlay.
    const foreign = await made(lab, "foreign");
    await expect(guest.snapshotDisk("data", file(foreign))).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED" });
    expect(await rightsOf(foreign)).toBe(ours);

    const stop = new AbortController();
    const other = await made(lab, "other");
    {
      await using tools = await Tools.open(lab, guest.uuid);
      const slowed = tools.slow("mirror-disk1");
      const mirroring = guest.mirrorDisk("data", file(other), { signal: stop.signal });
      await slowed;
      expect(await rightsOf(other)).toBe(theirs);
      stop.abort();
      await expect(mirroring).rejects.toMatchObject({ code: "ABORTED" });
      expect(await rightsOf(other)).toBe(ours);

      const again = tools.slow("mirror-disk1");
      const left = guest.mirrorDisk("data", file(other)).catch((error: unknown) => error);
      await again;
      await lab.hypervisor.close();
      expect(await left).toBeInstanceOf(Error);
      expect(await rightsOf(other)).toBe(theirs);
    }
    await lab.reopen({ runAs: nobody });
    const found = (await lab.hypervisor.find(guest.uuid))!;
    expect([await rightsOf(other), await rightsOf(data)]).toEqual([ours, theirs]);
    await found.kill();
    await expectTakenBack(lab, [root, data, other, foreign, target]);
  });

  it("moves to another host's directory through sockets, and its disk with it", async () => {
    await using a = await KvmLab.open({
      runAs: nobody,
      migration: {
        copy: "running",
        openTunnel: async (request) => b.hypervisor.openMigrationChannel(request.uuid, request.channel),
      },
    });
    await using b = await KvmLab.open({ runAs: nobody, migration: { transport: "tunnel", copy: "running" } });
    const { guest, root, data } = await begin(a);
    await chmod(b.directory.path, 0o711);
    const there = await made(b, "data");
    b.note(guest.uuid);
    const definition = await guest.definition();
    const disks = definition.disks.map((one) => (one.id === "data" ? { ...one, source: file(there) } : one));
    const request = { copyDisks: ["data"], paused: false, guest: await guest.describeMigration() };
    const { token } = await b.hypervisor.prepareIncoming({ ...definition, disks }, request);
    const sent = { token, copyDisks: ["data"], downtimeMs: 500, allowPostcopy: false, autoConverge: false };
    expect(await guest.migrate(sent, {})).toBe("completed");
    const moved = await b.hypervisor.finishIncoming(guest.uuid);
    await guest.kill();
    await a.hypervisor.undefine(guest.uuid);
    expect(await rightsOf(there)).toBe(theirs);
    expect(await rightsOf(data)).toBe(ours);
    await moved.kill();
    expect(await hasPattern(there, "qcow2", 1, "0", "1M")).toBe(true);
    await expectTakenBack(b, [there, root]);
  });
});
