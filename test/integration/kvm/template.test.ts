import { randomUUID } from "node:crypto";
import { mkdir, readFile, readdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type {
  GuestDefinition,
  GuestTemplate,
  GuestTemplateDisk,
  InstanceRef,
  InstanceSpec,
} from "../../../src/driver/index.js";
import { KvmDriver } from "../../../src/kvm/index.js";
import type { KvmHypervisor } from "../../../src/kvm/index.js";
import { QmpClient } from "../../../src/qmp/index.js";
import { DirectoryImageStore } from "../../../src/storage/index.js";
import {
  createBridge,
  createTapPort,
  requirePackages,
  temporaryDirectory,
  testGuest,
  waitFor,
} from "../../lab/index.js";
import { crashDriver } from "./crash-driver.js";
import type { CrashPoint } from "./driver-child.js";
import { KvmLab, disk, nic, waitForConsole } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

beforeAll(() => requirePackages("qemu-system-x86_64"));

const stateOf = async (guest: Guest): Promise<string> => (await guest.info()).state;

describe("guests from a template", () => {
  it("run on from where it was saved, with disks, addresses and a generation of their own, beside its guest", async () => {
    await using directory = await temporaryDirectory("hvt-");
    await using bridge = await createBridge();
    const { disk: image, memoryMiB } = await testGuest();
    const images = new DirectoryImageStore({ directory: join(directory.path, "images") });
    await images.import({ id: "guest", format: "qcow2", path: image });
    const stateDirectory = join(directory.path, "state");
    await using driver = new KvmDriver({ stateDirectory, accelerator: "tcg", collaborators: { images } });
    await driver.initHost();
    let count = 0;
    const spawned: InstanceRef[] = [];
    const spec = () => {
      const macAddress = `52:54:00:7e:00:${String(++count).padStart(2, "0")}`;
      const vif = {
        type: "bridge",
        id: randomUUID(),
        macAddress,
        bridge: bridge.name,
        network: { id: "lab" },
      } as const;
      const flavor = { vcpus: 1, memoryMiB, rootGiB: 1, ephemeralGiB: 1 };
      const one = { uuid: randomUUID(), name: `template-${count}`, flavor, imageId: "guest", vifs: [vif] as const };
      spawned.push(one);
      return one satisfies InstanceSpec;
    };
    // A driver that is let go of leaves its guests running.
    await using _ = {
      [Symbol.asyncDispose]: async () => void (await Promise.all(spawned.map((one) => driver.destroy(one)))),
    };
    const inside = async (instance: InstanceRef, command: string): Promise<string> => {
      const { stdout } = await driver.execInGuest(instance, ["/bin/sh", "-c", command], { deadline: 60_000 });
      return Buffer.from(stdout).toString("utf8").trim();
    };
    const answers = (instance: InstanceRef): Promise<boolean> =>
      waitFor(
        () =>
          inside(instance, "echo here").then(
            (said) => said === "here",
            () => false,
          ),
        {
          timeoutMs: 120_000,
          what: "the guest agent",
        },
      );
    /** Its NIC as the guest has it, with the address that it was leased. */
    const leased = ({ vifs: [{ macAddress }] }: ReturnType<typeof spec>): Promise<string> =>
      waitFor(async () => (await bridge.leases()).find(({ mac }) => mac === macAddress)?.address, {
        timeoutMs: 60_000,
        what: `a lease of ${macAddress}`,
      });
    const sees = (instance: ReturnType<typeof spec>): Promise<string> =>
      inside(instance, "cat /sys/class/net/eth*/address; ip -4 -o addr show dev eth0 | awk '{ print $4 }'");

    const source = spec();
    await driver.spawn(source);
    const said = async (): Promise<string> => Buffer.from((await driver.getConsoleOutput(source)).bytes).toString();
    await waitFor(async () => (await said()).includes("HV-READY"), { timeoutMs: 120_000, what: "a booted guest" });
    await answers(source);
    const address = await leased(source);
    // Something that asks for neighbours ten times a second, and goes on doing so in whoever has its memory.
    await inside(source, "for i in 0 1 2 3 4 5 6 7 8 9; do ping 10.77.0.24$i > /dev/null 2>&1 & usleep 100000; done");
    const bootId = await inside(
      source,
      "echo marked > /run/mark; printf source | dd of=/dev/vdb conv=notrunc 2>/dev/null; sync; cat /proc/sys/kernel/random/boot_id",
    );
    const template = directory.file("template");
    const phases: string[] = [];
    await driver.saveTemplate(source, template, { onProgress: ({ phase }) => phases.push(phase) }).result;
    expect([...new Set(phases)]).toEqual(["disks", "memory"]);
    expect(await sees(source)).toBe(`${source.vifs[0].macAddress}\n${address}/24`);
    await inside(source, "echo later > /run/mark; printf LATER! | dd of=/dev/vdb conv=notrunc 2>/dev/null; sync");

    // While the template's guest stands still, nobody may speak in its name.
    await driver.pause(source);
    using port = await createTapPort(bridge.name);
    port.receive();
    const clones = [spec(), spec()];
    await Promise.all(clones.map((clone) => driver.spawnFromTemplate(clone, template)));
    for (const clone of clones) {
      await answers(clone);
      const own = await leased(clone);
      await waitFor(async () => (await sees(clone)) === `${clone.vifs[0].macAddress}\n${own}/24`, {
        timeoutMs: 30_000,
        what: "the clone's own address",
        detail: () => own,
      });
      const words = await inside(clone, "cat /run/mark /proc/sys/kernel/random/boot_id; head -c 6 /dev/vdb");
      expect(words.split("\n")).toEqual(["marked", bootId, "source"]);
      expect(Buffer.from((await driver.getConsoleOutput(clone)).bytes).toString()).not.toContain("HV-READY");
      await inside(clone, `printf ${clone.name.padEnd(10, "x")} | dd of=/dev/vdb conv=notrunc 2>/dev/null; sync`);
    }
    const senders = new Set(port.receive().map((frame) => frame.subarray(6, 12).toString("hex")));
    const hex = (one: ReturnType<typeof spec>): string => one.vifs[0].macAddress.replaceAll(":", "");
    expect([source, ...clones].map((one) => senders.has(hex(one)))).toEqual([false, true, true]);
    port.close();
    await driver.unpause(source);
    const all = [source, ...clones];
    const addresses = await Promise.all(all.map(leased));
    expect(new Set(addresses).size).toBe(3);
    for (const from of all)
      for (const to of addresses) expect(await inside(from, `ping -c 1 -W 5 ${to}`)).toContain("1 packets received");
    expect(await inside(source, "head -c 6 /dev/vdb")).toBe("LATER!");
    for (const clone of clones) expect(await inside(clone, "head -c 10 /dev/vdb")).toBe(clone.name.padEnd(10, "x"));
    const generations = await Promise.all(all.map(({ uuid }) => generationOf(stateDirectory, uuid)));
    expect(new Set(generations).size).toBe(3);
    await expect(driver.deleteTemplate(template)).rejects.toMatchObject({ code: "CONFLICT" });
    const third = spec();
    await driver.spawnFromTemplate(third, template);
    for (const one of [...all, third]) await driver.destroy(one);
    await driver.deleteTemplate(template);
    expect(await bridge.ports()).toEqual([]);
  });
});

/** What QEMU tells the guest. */
async function generationOf(stateDirectory: string, uuid: string): Promise<string> {
  await using monitor = await QmpClient.open({ path: join(stateDirectory, "guests", uuid, "tools.sock") });
  return (await monitor.execute("query-vm-generation-id")).guid;
}

interface Small {
  readonly guest: Guest;
  readonly disks: readonly GuestTemplateDisk[];
  readonly memoryPath: string;
  readonly place: string;
}

/** A guest that boots at once, with a disk of its own to write to. */
async function small(lab: KvmLab, overrides: Partial<GuestDefinition> = {}): Promise<Small> {
  const base = await lab.definition();
  const data = await lab.image("data.img", 1);
  await writeFile(data, "as it was", { flag: "r+" });
  const guest = await lab.define({ ...base, disks: [...base.disks, disk("data", "vdb", data)], ...overrides });
  await guest.start();
  await waitForConsole(guest, "HV-BOOT");
  const place = lab.directory.file("template");
  await mkdir(place);
  const disks = ["root", "data"].map((diskId) => ({ diskId, path: join(place, diskId), format: "raw" as const }));
  return { guest, disks, memoryPath: join(place, "memory"), place };
}

/** A guest that is to run from a template, its disks the template's own. */
async function cloneOf(lab: KvmLab, template: GuestTemplate, { disks }: Small): Promise<Guest> {
  const uuid = randomUUID();
  lab.note(uuid);
  return lab.hypervisor.define({
    ...template.definition,
    uuid,
    name: `clone-${uuid.slice(0, 8)}`,
    disks: template.definition.disks.map((one, index) => ({
      ...one,
      source: { type: "file", path: disks[index]?.path ?? "", format: "raw" },
    })),
    nics: template.definition.nics.map((one, index) => ({ ...nic(`own-${index}`, 100 + index), backend: one.backend })),
  });
}

async function templateOf({ guest, disks, memoryPath }: Small): Promise<GuestTemplate> {
  const { platform } = await guest.saveTemplate({ memoryPath, disks });
  return { platform, memoryPath, definition: await guest.definition() };
}

describe("saving a template", () => {
  it("leaves the guest as it was, running or paused, and nothing when it fails or is aborted", async () => {
    await using lab = await KvmLab.open();
    const made = await small(lab);
    const { guest, disks, memoryPath, place } = made;
    const request = { memoryPath, disks };
    await expect(guest.saveTemplate({ ...request, disks: disks.slice(1) })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "request.disks",
    });
    await writeFile(memoryPath, "another's");
    await expect(guest.saveTemplate(request)).rejects.toMatchObject({ code: "CONFLICT", detail: memoryPath });
    expect(await readdir(place)).toEqual(["memory"]);
    const other = { ...request, memoryPath: join(place, "memory2") };
    for (const phase of ["disks", "memory"]) {
      const controller = new AbortController();
      const onPhase = (now: string): void => {
        if (now === phase) controller.abort();
      };
      await expect(guest.saveTemplate(other, { onPhase, signal: controller.signal })).rejects.toMatchObject({
        code: "ABORTED",
      });
      expect(await readdir(place)).toEqual(["memory"]);
      expect(await stateOf(guest)).toBe("running");
    }
    await guest.saveTemplate(other);
    expect((await readdir(place)).sort()).toEqual(["data", "memory", "memory2", "root"]);
    expect((await readFile(join(place, "data"), "latin1")).slice(0, 9)).toBe("as it was");
    expect(await stateOf(guest)).toBe("running");
    await guest.pause();
    const second = {
      memoryPath: join(place, "memory3"),
      disks: disks.map((one) => ({ ...one, path: `${one.path}3`, format: "qcow2" as const })),
    };
    await guest.saveTemplate(second);
    expect(await stateOf(guest)).toBe("paused");
    const third = { memoryPath: join(place, "memory4"), disks: disks.map((one) => ({ ...one, path: `${one.path}4` })) };
    await expect(guest.saveTemplate(third)).rejects.toMatchObject({ code: "INVALID_STATE" });
    await lab.reopen();
    const found = (await lab.hypervisor.find(guest.uuid))!;
    expect(await stateOf(found)).toBe("paused");
    await found.resume();
    await found.saveTemplate(third);
    expect(await stateOf(found)).toBe("running");
    expect(lab.lifecycle(guest.uuid)).toEqual(["started self", "paused self", "resumed self"]);
    await found.kill();
  });
});

describe("starting from a template", () => {
  it("refuses what it can't be started from, and leaves nothing when it fails", async () => {
    await using lab = await KvmLab.open({ timeouts: { letGoMs: 1_000 } });
    const made = await small(lab, { nics: [nic("port", 1)] });
    const template = await templateOf(made);
    const clone = await cloneOf(lab, template, made);
    const { accelerator: _, ...platform } = template.platform;
    const unusable: readonly Partial<GuestTemplate>[] = [
      { platform },
      { platform: { ...template.platform, accelerator: "kvm" } },
      { platform: { ...template.platform, cpuModel: "of another" } },
      {
        platform: {
          ...template.platform,
          hardware: { ...(template.platform["hardware"] as object), machineType: "pc-q35-99.0" },
        },
      },
      { definition: { ...template.definition, vcpus: 2 } },
      { definition: { ...template.definition, nics: [] } },
      { definition: {} as GuestDefinition },
    ];
    for (const change of unusable)
      await expect(clone.startFromTemplate({ ...template, ...change })).rejects.toMatchObject({
        code: "TEMPLATE_UNUSABLE",
      });
    const before = await clone.definition();
    const nowhere = { ...template, memoryPath: join(made.place, "nowhere") };
    await expect(clone.startFromTemplate(nowhere)).rejects.toMatchObject({ code: "HOST_IO" });
    const cut = join(made.place, "cut");
    await writeFile(cut, await readFile(made.memoryPath));
    await truncate(cut, 4_096);
    await expect(clone.startFromTemplate({ ...template, memoryPath: cut })).rejects.toMatchObject({
      code: "GUEST_START_FAILED",
    });
    // No operating system in this guest lets go of anything.
    await expect(clone.startFromTemplate(template)).rejects.toMatchObject({
      code: "GUEST_START_FAILED",
      device: "own-0",
    });
    const controller = new AbortController();
    controller.abort();
    await expect(clone.startFromTemplate(template, { signal: controller.signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    expect(await stateOf(clone)).toBe("shutdown");
    expect(await lab.pid(clone.uuid)).toBeUndefined();
    expect(await clone.definition()).toEqual(before);
    expect(lab.events.filter(({ type }) => type === "deviceDetached")).toEqual([]);
    await clone.start();
    await waitForConsole(clone, "HV-BOOT");
    await expect(clone.startFromTemplate(template)).rejects.toMatchObject({ code: "INVALID_STATE" });
    expect(await stateOf(clone)).toBe("running");
    expect(lab.lifecycle(clone.uuid)).toEqual(["started self", "stopped self", "started self"]);
    for (const guest of [clone, made.guest]) await guest.kill();
  });
});

describe("a driver process that dies while it saves a template", () => {
  const points: readonly CrashPoint[] = [
    { what: "blockdev-mirror", nth: 2, when: "after" },
    { what: "stop", nth: 1, when: "after" },
    { what: "block-job-cancel", nth: 1, when: "after" },
    { what: "migrate", nth: 1, when: "after" },
    { what: "cont", nth: 1, when: "before" },
  ];
  it.each(points)("$when $what leaves a guest that runs, and no file", async (point) => {
    await using lab = await KvmLab.open();
    const definition = await lab.definition();
    lab.note(definition.uuid);
    const place = lab.directory.file("template");
    await mkdir(place);
    const survived = await crashDriver(lab, {
      stateDirectory: lab.stateDirectory,
      definition,
      disk: disk("data", "vdb", await lab.image("data.img", 1)),
      nic: nic("port", 1),
      target: { path: join(place, "t"), format: "qcow2" },
      before: ["define", "start", "attachDisk"],
      step: "saveTemplate",
      point,
    });
    expect(survived).toBe(false);
    const guest = (await lab.hypervisor.find(definition.uuid))!;
    await waitFor(async () => (await stateOf(guest)) === "running", { timeoutMs: 30_000, what: "the guest running" });
    await waitFor(async () => (await readdir(place)).length === 0, { timeoutMs: 30_000, what: "no file" });
    const disks = ["root", "data"].map((diskId) => ({ diskId, path: join(place, diskId), format: "raw" as const }));
    await guest.saveTemplate({ memoryPath: join(place, "memory"), disks });
    expect(await stateOf(guest)).toBe("running");
    await guest.kill();
  });
});

describe("a driver process that dies while it starts a guest from a template", () => {
  it.each(["migrate-incoming", "cont"])("after %s leaves the guest as it was before", async (what) => {
    await using lab = await KvmLab.open();
    const definition = await lab.definition();
    lab.note(definition.uuid);
    const survived = await crashDriver(lab, {
      stateDirectory: lab.stateDirectory,
      definition,
      disk: disk("data", "vdb", await lab.image("data.img", 1)),
      nic: nic("port", 1),
      target: { path: lab.directory.file("t"), format: "qcow2" },
      before: ["define", "start", "attachDisk", "saveTemplate", "kill"],
      step: "startFromTemplate",
      point: { what, nth: 1, when: "after" },
    });
    expect(survived).toBe(false);
    const guest = (await lab.hypervisor.find(definition.uuid))!;
    await waitFor(async () => (await stateOf(guest)) === "shutdown", { timeoutMs: 30_000, what: "no guest" });
    await waitFor(async () => (await lab.pid(guest.uuid)) === undefined, { timeoutMs: 30_000, what: "no QEMU" });
    expect((await guest.definition()).disks.map(({ id }) => id)).toEqual(["root", "data"]);
    await guest.start();
    await guest.kill();
    await lab.hypervisor.undefine(guest.uuid);
    expect(await readdir(join(lab.stateDirectory, "guests"))).toEqual([]);
  });
});
