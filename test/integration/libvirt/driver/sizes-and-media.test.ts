/** What guests on a real libvirtd have more or less of while they run: vCPUs, memory, media, limits. */
import { truncate } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Secret } from "../../../../src/core/index.js";
import type { GuestDefinition } from "../../../../src/driver/index.js";
import type { LibvirtHypervisor } from "../../../../src/libvirt/driver/index.js";
import { LuksFormat } from "../../../../src/storage/index.js";
import { testGuest, waitFor } from "../../../lab/index.js";
import { HypervisorLab, disk } from "./hypervisor-lab.js";

type Guest = Awaited<ReturnType<LibvirtHypervisor["define"]>>;

const T = { timeout: 240_000 };
const code = (value: string): object => expect.objectContaining({ code: value }) as object;

let lab: HypervisorLab;
beforeAll(async () => {
  lab = await HypervisorLab.open({ timeouts: { letGoMs: 30_000 } });
}, 180_000);
afterAll(() => lab?.[Symbol.asyncDispose](), 120_000);

const sizes = async (guest: Guest): Promise<{ vcpus: number; memoryMiB: number }> => {
  const { vcpus, memoryMiB } = await guest.definition();
  return { vcpus, memoryMiB };
};

/** Of memory that is plugged in, the guest's kernel keeps nothing that can't be moved away again. */
async function movable(overrides: Partial<GuestDefinition>): Promise<Guest> {
  const { kernel, initrd, kernelArguments } = await testGuest();
  const commandLine = `${kernelArguments} memhp_default_state=online_movable`;
  const guest = await lab.linux({
    memoryMiB: 384,
    kernel: { kernelPath: kernel, ramdiskPath: initrd, commandLine },
    ...overrides,
  });
  await guest.start();
  await lab.waitForConsole(guest.uuid, "HV-READY");
  return guest;
}

/** Sizes of the memory devices that libvirt has, MiB, and its vCPUs. */
async function seenByLibvirt(guest: Guest, where: "live" | "configured"): Promise<{ memory: number[]; vcpus: number }> {
  const { devices, vcpu } = await lab.domain(guest.uuid, where);
  const memory = (devices?.memory ?? []).map(
    ({ model, target }) => Number((model === "dimm" ? target?.size : target?.requested)?.$text ?? 0) / 1024,
  );
  return { memory, vcpus: vcpu?.current ?? vcpu?.$text ?? 0 };
}

async function bothSay(guest: Guest, expected: { memory: number[]; vcpus: number }): Promise<void> {
  expect([await seenByLibvirt(guest, "live"), await seenByLibvirt(guest, "configured")]).toEqual([expected, expected]);
}

describe("a running Linux guest", () => {
  it("takes vCPUs and modules of memory, and gives memory back", T, async () => {
    const guest = await movable({ hardware: { cpu: { maxVcpus: 3 }, memory: { maxMiB: 1024, slots: 2 } } });
    await guest.setVcpus(3);
    await guest.setVcpus(3);
    for (const vcpus of [0, 4, 1.5]) await expect(guest.setVcpus(vcpus)).rejects.toEqual(code("INVALID_ARGUMENT"));
    // QEMU without KVM does not survive it.
    await expect(guest.setVcpus(1)).rejects.toEqual(code("NOT_SUPPORTED"));
    await guest.setMemory(384 + 128);
    await guest.setMemory(384 + 128 + 256);
    await expect(guest.setMemory(384 + 512)).rejects.toEqual(code("NO_FREE_SLOT"));
    for (const memoryMiB of [385, 4096, 256])
      await expect(guest.setMemory(memoryMiB)).rejects.toEqual(code("INVALID_ARGUMENT"));
    expect(await sizes(guest)).toEqual({ vcpus: 3, memoryMiB: 768 });
    await bothSay(guest, { memory: [128, 256], vcpus: 3 });
    await guest.setBalloon(512);
    await expect(guest.setBalloon(769)).rejects.toEqual(code("INVALID_ARGUMENT"));
    await guest.setBalloon(768);
    await guest.setMemory(640);
    await bothSay(guest, { memory: [256], vcpus: 3 });
    // What a process did not live to write down, the next one finds out.
    const domain = await (await lab.client()).lookupDomainByUuid(guest.uuid);
    await lab.hypervisor.close();
    await domain.detachDeviceAlias("ua-part-dimm1", { flags: ["live"] });
    await waitFor(async () => (await seenByLibvirt(guest, "live")).memory.length === 0, { timeoutMs: 60_000 });
    await lab.reopen();
    const found = (await lab.hypervisor.find(guest.uuid)) as Guest;
    expect(await sizes(found)).toEqual({ vcpus: 3, memoryMiB: 384 });
    await bothSay(found, { memory: [], vcpus: 3 });
    await found.kill();
    await found.setVcpus(2);
    await found.setMemory(400);
    await found.start({ paused: true });
    expect((await seenByLibvirt(found, "live")).vcpus).toBe(2);
    expect((await found.info()).memoryMiB).toBe(400);
    await found.kill();
  });

  it("takes memory by a virtio-mem device, and gives it back piece by piece", T, async () => {
    const guest = await movable({ hardware: { memory: { maxMiB: 896, hotplug: "virtio-mem" } } });
    await guest.setMemory(384 + 256);
    await bothSay(guest, { memory: [256], vcpus: 1 });
    const currentMiB = async (): Promise<number> => {
      const { devices } = await lab.domain(guest.uuid);
      return Number(devices?.memory?.[0]?.target?.current?.$text ?? 0) / 1024;
    };
    await waitFor(async () => (await currentMiB()) === 256, { timeoutMs: 60_000, what: "a guest that takes memory" });
    await guest.setMemory(384 + 128);
    expect(await currentMiB()).toBe(128);
    expect(await sizes(guest)).toMatchObject({ memoryMiB: 512 });
    await bothSay(guest, { memory: [128], vcpus: 1 });
    await expect(guest.setMemory(1024)).rejects.toEqual(code("INVALID_ARGUMENT"));
    await guest.kill();
  });
});

describe("disks of a running guest", () => {
  it("get other media and other limits, which they start with again", T, async () => {
    const [one, two] = [await lab.image("one.iso"), await lab.image("two.iso")];
    const cdrom = { deviceType: "cdrom", bus: "sata", readOnly: true } as const;
    const { source: _, ...empty } = disk("drive", "sda", one, cdrom);
    const data = disk("data", "vdb", await lab.image("data.img"));
    const guest = await lab.linux({ disks: [empty, data], memoryMiB: 256 });
    await guest.start();
    const media = async (where: "live" | "configured"): Promise<unknown> => {
      const { devices } = await lab.domain(guest.uuid, where);
      const drive = devices?.disk?.find(({ device }) => device === "cdrom");
      return { file: drive?.source?.file, iotune: drive?.iotune?.total_bytes_sec };
    };
    const says = async (expected: object): Promise<void> =>
      expect([await media("live"), await media("configured")]).toEqual([expected, expected]);
    await guest.changeMedium("drive", { type: "file", path: one, format: "raw" });
    await says({ file: one, iotune: undefined });
    await guest.limitDisk("drive", { totalBytesPerSecond: 1_048_576 });
    await guest.changeMedium("drive", { type: "file", path: two, format: "raw" });
    expect(await media("live")).toMatchObject({ file: two });
    await expect(
      guest.changeMedium("drive", { type: "file", path: "/nonexistent/medium", format: "raw" }),
    ).rejects.toEqual(code("DEVICE_ATTACH_FAILED"));
    expect(await media("live")).toMatchObject({ file: two });
    await guest.changeMedium("drive", undefined);
    expect(await media("live")).toMatchObject({ file: undefined });
    await expect(guest.changeMedium("data", undefined)).rejects.toEqual(code("INVALID_ARGUMENT"));
    await expect(guest.changeMedium("none", undefined)).rejects.toEqual(code("DISK_NOT_FOUND"));
    const limits = {
      readBytesPerSecond: 1_000_000,
      writeOperationsPerSecond: 100,
      burst: { readBytesPerSecond: 2_000_000 },
      burstSeconds: 5,
    };
    await guest.limitDisk("data", limits);
    const tune = async (): Promise<unknown[]> =>
      Promise.all(
        (["live", "configured"] as const).map(async (where) => {
          const { devices } = await lab.domain(guest.uuid, where);
          return devices?.disk?.find(({ target }) => target?.dev === "vdb")?.iotune;
        }),
      );
    const expected = {
      read_bytes_sec: 1_000_000,
      write_iops_sec: 100,
      read_bytes_sec_max: 2_000_000,
      read_bytes_sec_max_length: 5,
    };
    for (const seen of await tune()) expect(seen).toMatchObject(expected);
    await guest.limitDisk("data", { totalOperationsPerSecond: 50 });
    for (const seen of await tune()) expect(seen).toMatchObject({ total_iops_sec: 50 });
    await guest.limitDisk("data", {});
    for (const seen of await tune()) expect(JSON.stringify(seen ?? {})).not.toMatch(/[1-9]\d{2}|_sec":[1-9]/);
    await guest.kill();
  });

  it("lock their tray, which is opened by force alone", T, async () => {
    const [one, two] = [await lab.image("one-locked.iso"), await lab.image("two-locked.iso")];
    const guest = await lab.linux({
      disks: [disk("drive", "sda", one, { deviceType: "cdrom", bus: "scsi", readOnly: true })],
    });
    await guest.start();
    await lab.waitForConsole(guest.uuid, "HV-READY");
    await waitFor(
      () =>
        lab.inGuest(guest.uuid, "true").then(
          () => true,
          () => false,
        ),
      { timeoutMs: 90_000 },
    );
    // A program that has the drive open locks its door.
    const opened = await lab.inGuest(guest.uuid, "(sleep 3000 < /dev/sr0) > /dev/null 2>&1 & echo $!; ls /dev/sr0");
    expect(opened).toContain("/dev/sr0");
    const source = { type: "file", path: two, format: "raw" } as const;
    await expect(guest.changeMedium("drive", source)).rejects.toEqual(code("DEVICE_DETACH_FAILED"));
    expect((await guest.definition()).disks[0]?.source).toMatchObject({ path: one });
    await guest.changeMedium("drive", source, { force: true });
    expect((await guest.definition()).disks[0]?.source).toEqual(source);
    expect((await lab.domain(guest.uuid)).devices?.disk?.[0]?.source?.file).toBe(two);
    await guest.kill();
  });

  it("share an encrypted disk's key as long as one needs it, and a disk between guests", T, async () => {
    const guest = await lab.define();
    const other = await lab.define();
    await guest.start({ paused: true });
    await other.start({ paused: true });
    await lab.secrets.put("key", Secret.of("a passphrase"));
    const secretCount = async (): Promise<number> => (await (await lab.client()).listAllSecrets()).length;
    const images: string[] = [];
    for (const name of ["luks1.img", "luks2.img"]) {
      const path = lab.directory.file(name);
      const source = { type: "file", path, format: "raw", encryption: { format: "luks", secretId: "key" } } as const;
      // The least that QEMU takes, so that opening it does not hold up the guest.
      const quick = { iterationMs: 10 };
      await new LuksFormat({ secrets: lab.secrets }).format(source, { sizeBytes: 8 * 1_048_576, ...quick });
      images.push(path);
    }
    for (const [index, path] of images.entries())
      await guest.attachDisk(
        disk(`luks${index}`, `vd${"bc"[index]}`, path, {
          source: { type: "file", path, format: "raw", encryption: { format: "luks", secretId: "key" } },
        }),
      );
    expect(await secretCount()).toBe(1);
    await lab.secrets.put("wrong", Secret.of("another passphrase"));
    const wrong = lab.directory.file("luks1.img");
    await expect(
      other.attachDisk(
        disk("wrong", "vdb", wrong, {
          source: { type: "file", path: wrong, format: "raw", encryption: { format: "luks", secretId: "wrong" } },
        }),
      ),
    ).rejects.toEqual(code("DEVICE_ATTACH_FAILED"));
    expect(await secretCount()).toBe(1);
    await guest.kill();
    expect(await guest.detachDisk("luks0", { timeoutMs: 1_000 })).toBe("detached");
    expect(await secretCount()).toBe(1);
    expect(await guest.detachDisk("luks1", { timeoutMs: 1_000 })).toBe("detached");
    expect(await secretCount()).toBe(0);
    await guest.start({ paused: true });
    const shared = await lab.image("shared.img");
    await truncate(shared, 1_048_576);
    for (const each of [guest, other]) await each.attachDisk(disk("shared", "vdd", shared, { shareable: true }));
    await expect(guest.attachDisk(disk("alone", "vde", shared))).rejects.toEqual(code("DEVICE_ATTACH_FAILED"));
    for (const each of [guest, other]) await each.kill();
  });
});
