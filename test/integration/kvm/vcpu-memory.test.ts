import { access, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GuestDefinition } from "../../../src/driver/index.js";
import type { KvmHypervisor } from "../../../src/kvm/index.js";
import { QmpClient } from "../../../src/qmp/index.js";
import { requirePackages, testGuest, waitFor } from "../../lab/index.js";
import { cpuEjector } from "./cpu-ejector.js";
import { KvmLab, disk, inGuest, waitForConsole, waitReady } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

const code = (value: string): object => expect.objectContaining({ code: value }) as object;
const mib = 1_048_576;

let lab: KvmLab;
beforeAll(async () => {
  requirePackages("qemu-system-x86_64");
  lab = await KvmLab.open({ timeouts: { letGoMs: 20_000 } });
});
afterAll(() => lab?.[Symbol.asyncDispose]());

const sizes = async (guest: Guest): Promise<{ vcpus: number; memoryMiB: number }> => {
  const { vcpus, memoryMiB } = await guest.definition();
  return { vcpus, memoryMiB };
};
const memTotal = async (guest: Guest): Promise<number> =>
  Number(await inGuest(guest, "awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo"));

/** What QEMU says of the guest, over the monitor for tools. */
async function seenByQemu(
  guest: Guest,
  owner = lab,
): Promise<{ vcpus: number; pluggedMiB: number; objects: string[] }> {
  await using monitor = await QmpClient.open({ path: owner.file(guest.uuid, "tools.sock") });
  const [cpus, memory, objects] = await Promise.all([
    monitor.execute("query-cpus-fast"),
    monitor.execute("query-memory-size-summary"),
    monitor.execute("qom-list", { path: "/objects" }),
  ]);
  return {
    vcpus: cpus.length,
    pluggedMiB: Number(memory["plugged-memory"] ?? 0) / mib,
    objects: objects.map(({ name }) => name).filter((name) => name.endsWith("-ram")),
  };
}

/** Of memory that is plugged in, the guest's kernel keeps nothing that can't be moved away again. */
async function movable(overrides: Partial<GuestDefinition>): Promise<Guest> {
  const { kernel, initrd, kernelArguments } = await testGuest();
  const commandLine = `${kernelArguments} memhp_default_state=online_movable`;
  // A kernel that may be given more sets memory aside for devices that can't reach all of it.
  return lab.linux({ memoryMiB: 384, kernel: { kernelPath: kernel, ramdiskPath: initrd, commandLine }, ...overrides });
}

describe("a running Linux guest", () => {
  let guest: Guest;
  let booted: number;
  let base: number;
  beforeAll(async () => {
    guest = await movable({
      hardware: {
        cpu: { maxVcpus: 3 },
        memory: { maxMiB: 1024, slots: 2 },
        balloon: { statisticsPeriodSeconds: 1 },
      },
    });
    ({ memoryMiB: base } = await sizes(guest));
    await guest.start();
    await waitReady(guest);
    booted = await memTotal(guest);
  });
  afterAll(() => guest?.kill());

  it("takes vCPUs, up to its most", async () => {
    expect(await inGuest(guest, "nproc")).toBe("1");
    await guest.setVcpus(3);
    await waitFor(async () => (await inGuest(guest, "nproc")) === "3", { timeoutMs: 30_000, what: "three vCPUs" });
    expect(await sizes(guest)).toMatchObject({ vcpus: 3 });
    expect(await guest.info()).toMatchObject({ vcpus: 3 });
    await guest.setVcpus(3);
    for (const vcpus of [0, 4, 1.5])
      await expect(guest.setVcpus(vcpus)).rejects.toEqual(
        expect.objectContaining({ code: "INVALID_ARGUMENT", field: "vcpus" }),
      );
    // QEMU without KVM does not survive it.
    await expect(guest.setVcpus(1)).rejects.toEqual(code("NOT_SUPPORTED"));
    const gone = AbortSignal.abort();
    await expect(guest.setMemory(base + 128, { signal: gone })).rejects.toEqual(code("ABORTED"));
    expect(await seenByQemu(guest)).toEqual({ vcpus: 3, pluggedMiB: 0, objects: [] });
  });

  it("takes memory, until its slots are full, and gives it back", async () => {
    await guest.setMemory(base + 128);
    await guest.setMemory(base + 128 + 256);
    await waitFor(async () => (await memTotal(guest)) > booted + 300, { timeoutMs: 30_000, what: "more memory" });
    expect(await sizes(guest)).toMatchObject({ memoryMiB: base + 384 });
    await expect(guest.setMemory(base + 512)).rejects.toEqual(code("NO_FREE_SLOT"));
    await expect(guest.setMemory(base + 385)).rejects.toEqual(code("INVALID_ARGUMENT"));
    await expect(guest.setMemory(4096)).rejects.toEqual(code("INVALID_ARGUMENT"));
    await expect(guest.setMemory(base - 128)).rejects.toEqual(code("INVALID_ARGUMENT"));
    expect(await seenByQemu(guest)).toMatchObject({ pluggedMiB: 384 });
    await guest.setMemory(base + 256);
    await waitFor(async () => (await memTotal(guest)) < booted + 300, { timeoutMs: 30_000, what: "less memory" });
    expect(await sizes(guest)).toMatchObject({ memoryMiB: base + 256 });
    await guest.setMemory(base);
    expect(await seenByQemu(guest)).toEqual({ vcpus: 3, pluggedMiB: 0, objects: [] });
    expect(await sizes(guest)).toMatchObject({ memoryMiB: base });
  });

  it("has what the definition says when nobody waits for its answer any more", async () => {
    await guest.setMemory(base + 128);
    await waitFor(async () => (await memTotal(guest)) > booted + 100, { timeoutMs: 30_000, what: "more memory" });
    const controller = new AbortController();
    const going = guest.setMemory(base, { signal: controller.signal });
    controller.abort();
    await expect(going).rejects.toEqual(code("ABORTED"));
    const agrees = async (): Promise<boolean> =>
      (await sizes(guest)).memoryMiB - base === (await seenByQemu(guest)).pluggedMiB;
    await waitFor(agrees, { timeoutMs: 30_000, what: "definition and QEMU to agree" });
    await guest.setMemory(base);
    expect(await seenByQemu(guest)).toMatchObject({ pluggedMiB: 0, objects: [] });
  });

  it("says how much memory it uses, and leaves some to the host when it is asked to", async () => {
    await waitFor(async () => (await guest.statistics()).memory.usedMiB !== undefined, {
      timeoutMs: 30_000,
      what: "the guest's report",
    });
    const { memory } = await guest.statistics();
    expect(memory.usedMiB).toBeGreaterThan(0);
    expect(memory.usedMiB).toBeLessThan(base);
    await guest.setBalloon(base - 64);
    await waitFor(async () => (await guest.statistics()).memory.currentMiB === base - 64, {
      timeoutMs: 30_000,
      what: "the balloon",
    });
    for (const wrong of [0, base + 1]) await expect(guest.setBalloon(wrong)).rejects.toEqual(code("INVALID_ARGUMENT"));
    await guest.setBalloon(base);
  });

  it("takes a USB tablet, with a controller where it has none, and lets go of it", async () => {
    const tablet = { type: "usbInput", id: "pointer", model: "tablet" } as const;
    await guest.attachDevice(tablet);
    expect((await guest.definition()).hardware?.devices).toEqual([tablet]);
    await expect(guest.attachDevice(tablet)).rejects.toEqual(code("CONFLICT"));
    expect(await guest.detachDevice("pointer", { timeoutMs: 10_000 })).toBe("detached");
    expect(await guest.detachDevice("pointer", { timeoutMs: 10_000 })).toBe("absent");
    await expect(guest.attachDevice({ type: "pciHost", id: "nic", address: "ffff:ff:1f.7" })).rejects.toEqual(
      expect.objectContaining({ code: "DEVICE_ATTACH_FAILED", device: "nic" }),
    );
    expect((await guest.definition()).hardware?.devices).toEqual([]);
  });

  it("has all of it again with the next driver, and after a restart", async () => {
    await guest.setMemory(base + 128);
    await guest.attachDevice({ type: "usbInput", id: "keys", model: "keyboard" });
    await lab.reopen();
    guest = (await lab.hypervisor.find(guest.uuid)) as Guest;
    expect(await sizes(guest)).toEqual({ vcpus: 3, memoryMiB: base + 128 });
    await guest.kill();
    await guest.start({ paused: true });
    expect(await seenByQemu(guest)).toMatchObject({ vcpus: 3, pluggedMiB: 128 });
    expect(await sizes(guest)).toEqual({ vcpus: 3, memoryMiB: base + 128 });
    await guest.detachDevice("keys", { timeoutMs: 10_000 });
    await guest.kill();
    await guest.setMemory(base);
    await guest.setVcpus(2);
    await guest.start({ paused: true });
    expect(await seenByQemu(guest)).toEqual({ vcpus: 2, pluggedMiB: 0, objects: [] });
  });
});

describe("what happens behind a driver's back", () => {
  it("is found: a vCPU that was plugged, memory whose driver died before the device, a guest that ends", async () => {
    const guest = await lab.define({ memoryMiB: 128, hardware: { cpu: { maxVcpus: 2 }, memory: { maxMiB: 512 } } });
    await guest.start();
    await waitForConsole(guest, "HV-BOOT");
    await guest.setMemory(256);
    await lab.hypervisor.close();
    {
      await using monitor = await QmpClient.open({ path: lab.file(guest.uuid, "tools.sock") });
      const [slot] = (await monitor.execute("query-hotpluggable-cpus")).filter(
        (entry) => entry["qom-path"] === undefined,
      );
      await monitor.execute("device_add", { driver: slot!.type, id: "vcpu1", ...slot!.props });
    }
    await lab.reopen();
    const again = (await lab.hypervisor.find(guest.uuid)) as Guest;
    expect(await sizes(again)).toEqual({ vcpus: 2, memoryMiB: 256 });
    // Nobody in this guest answers.
    await expect(again.setMemory(128, { deadline: 300 })).rejects.toEqual(code("DEVICE_DETACH_FAILED"));
    expect(await sizes(again)).toMatchObject({ memoryMiB: 256 });
    const going = again.setMemory(128, { deadline: 60_000 });
    await again.kill();
    await going.catch(() => undefined);
    expect(await sizes(again)).toMatchObject({ memoryMiB: 128 });
  });

  it("is an error for whoever waits when QEMU dies", async () => {
    const guest = await lab.define({ memoryMiB: 128, hardware: { memory: { maxMiB: 512 } } });
    await guest.start();
    const pid = (await lab.pid(guest.uuid)) as number;
    process.kill(pid, "SIGSTOP");
    const plugging = guest.setMemory(256);
    plugging.catch(() => undefined);
    process.kill(pid, "SIGKILL");
    await expect(plugging).rejects.toEqual(code("GUEST_CRASHED"));
    await lab.event(
      (event) => event.type === "lifecycle" && event.uuid === guest.uuid && event.transition === "crashed",
    );
    expect(await sizes(guest)).toMatchObject({ memoryMiB: 128 });
  });
});

describe("a guest with a virtio-mem device", () => {
  it("grows and shrinks by it", async () => {
    const guest = await movable({ hardware: { memory: { maxMiB: 768, hotplug: "virtio-mem" } } });
    const { memoryMiB: base } = await sizes(guest);
    await guest.start();
    await waitReady(guest);
    const booted = await memTotal(guest);
    await guest.setMemory(base + 256);
    await waitFor(async () => (await memTotal(guest)) > booted + 200, { timeoutMs: 30_000, what: "more memory" });
    await guest.setMemory(base);
    expect(await sizes(guest)).toMatchObject({ memoryMiB: base });
    await expect(guest.setMemory(base - 128)).rejects.toEqual(code("INVALID_ARGUMENT"));
    await guest.kill();
  });
});

/** A guest of a few instructions runs under KVM on hosts where Linux does not. */
const kvm = await access("/dev/kvm").then(
  () => true,
  () => false,
);

describe.runIf(kvm)("a guest under KVM", () => {
  it("lets go of vCPUs, those that it was started with too", async () => {
    await using own = await KvmLab.open({ accelerator: "kvm", cpuModel: "qemu64", timeouts: { letGoMs: 10_000 } });
    const image = own.directory.file("ejector.img");
    await writeFile(image, cpuEjector());
    const ejecting = await own.definition({ disks: [disk("root", "vda", image, { bootIndex: 0 })], vcpus: 2 });
    const definition: GuestDefinition = { ...ejecting, hardware: { cpu: { maxVcpus: 4 } } };
    own.note(definition.uuid);
    const guest = await own.hypervisor.define(definition);
    await guest.start();
    await waitForConsole(guest, "HV-EJECT");
    await guest.setVcpus(4);
    await guest.setVcpus(2);
    expect(await sizes(guest)).toMatchObject({ vcpus: 2 });
    expect((await seenByQemu(guest, own)).vcpus).toBe(2);
    await guest.pause();
    await expect(guest.setVcpus(1, { deadline: 300 })).rejects.toEqual(code("DEVICE_DETACH_FAILED"));
    expect(await sizes(guest)).toMatchObject({ vcpus: 2 });
    // It lets go when it can, whoever waits.
    await guest.resume();
    await waitFor(async () => (await sizes(guest)).vcpus === 1, { timeoutMs: 10_000, what: "the vCPU's leaving" });
    await guest.kill();
  });
});
