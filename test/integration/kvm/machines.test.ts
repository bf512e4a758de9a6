import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GuestDefinition } from "../../../src/driver/index.js";
import { findVirtiofsd } from "../../../src/kvm/firmware/read-descriptors.js";
import { QmpClient } from "../../../src/qmp/index.js";
import { bootSector, requirePackages, run, testGuest } from "../../lab/index.js";
import { KvmLab, disk, inGuest, nic, waitForConsole, waitReady } from "./lab.js";

const plans = fileURLToPath(new URL("../../unit/kvm/plans/", import.meta.url));
interface Case {
  readonly definition: GuestDefinition;
  readonly target?: "aarch64";
  /** False for what wants a host that a test has not. */
  readonly runnable?: false;
}
const cases = readdirSync(plans)
  .filter((name) => name.endsWith(".json"))
  .map((name) => ({ name, ...(JSON.parse(readFileSync(join(plans, name), "utf8")) as Case) }))
  .filter(({ runnable }) => runnable !== false);

let lab: KvmLab;
beforeAll(async () => {
  requirePackages("qemu-system-x86_64", "qemu-img", "ovmf", "swtpm", "qemu-system-aarch64", "aavmf");
  lab = await KvmLab.open();
});
afterAll(() => lab?.[Symbol.asyncDispose]());

/** The devices that a guest has, as QEMU tells. */
async function devicesOf(lab: KvmLab, uuid: string): Promise<string[]> {
  await using monitor = await QmpClient.open({ path: lab.file(uuid, "tools.sock") });
  return (await monitor.execute("qom-list", { path: "/machine/peripheral" })).map(({ name }) => name);
}

describe("QEMU takes the command line", () => {
  it.each(cases)("that is written down in $name", async ({ name, definition: written, target }) => {
    const { kernel, initrd } = await testGuest();
    await using arm = target === "aarch64" ? await KvmLab.open({ qemuBinary: "qemu-system-aarch64" }) : undefined;
    const on = arm ?? lab;
    const { hardware } = written;
    // Up to QEMU 7.2 it comes with QEMU; later it is a package that not everybody has.
    const served = (await findVirtiofsd()) !== undefined;
    const filesystems = hardware?.filesystems?.filter(({ driver }) => served || driver === "9p") ?? [];
    const definition = await on.definition({
      ...written,
      ...(hardware === undefined ? {} : { hardware: { ...hardware, filesystems } }),
      uuid: crypto.randomUUID(),
      name: name.replace(".json", ""),
      // What the host lacks is left out: block devices, NBD servers, TAPs.
      disks: await Promise.all(
        written.disks.map(async (planned) => {
          if (planned.source === undefined) return planned;
          const path = on.directory.file(`${name}-${planned.id}`);
          await run(["qemu-img", "create", "-q", "-f", planned.source.format, path, "1440K"]);
          return { ...planned, source: { type: "file", path, format: planned.source.format } as const };
        }),
      ),
      nics: written.nics.map((planned) => ({ ...planned, queues: 1, backend: { type: "user" } as const })),
      ...(written.kernel === undefined
        ? {}
        : { kernel: { ...written.kernel, kernelPath: kernel, ramdiskPath: initrd } }),
    });
    const guest = await on.define(definition);
    await guest.start({ paused: true });
    const devices = await devicesOf(on, guest.uuid);
    const count = (kind: string): number => devices.filter((device) => new RegExp(`^${kind}\\d+$`).test(device)).length;
    expect(count("disk")).toBe(definition.disks.length);
    expect(count("nic")).toBe(definition.nics.length);
    await guest.kill();
  });
});

describe("a guest boots", () => {
  it.each(["virtio", "scsi", "sata", "ide", "usb", "nvme"] as const)("from a disk on %s", async (bus) => {
    const guest = await lab.define({
      disks: [disk("root", "vda", bootSector(), { bus, readOnly: bus !== "sata" && bus !== "ide", bootIndex: 0 })],
    });
    await guest.start();
    await waitForConsole(guest, "HV-BOOT");
    await guest.kill();
  });

  it("from the disk that comes first, wherever it stands", async () => {
    const empty = await lab.image("empty.img");
    const guest = await lab.define({
      disks: [
        disk("a", "vda", empty, { bootIndex: 7 }),
        disk("b", "vdb", bootSector(), { readOnly: true, bootIndex: 1 }),
      ],
    });
    await guest.start();
    await waitForConsole(guest, "HV-BOOT");
    await guest.kill();
  });

  it("Linux on pc, with disks, NIC and agent", async () => {
    const data = disk("data", "vda", await lab.image("pc.img"), { serial: "data" });
    const guest = await lab.linux({ machine: "pc", disks: [data], nics: [nic("port", 1)] });
    await guest.start();
    await waitReady(guest);
    expect(await inGuest(guest, "echo $(cat /sys/block/vda/serial) $(ls /sys/class/net)")).toBe("data eth0 lo");
    await guest.requestShutdown();
    await guest.waitUntilStopped({ deadline: 60_000 });
  });

  // Not to its end: without KVM's clock Linux may wait for ever for a timer that a microvm does not have.
  it("Linux on microvm, which has neither display nor hot plug", async () => {
    const guest = await lab.linux({ machine: "microvm", nics: [nic("port", 1)] });
    await guest.start();
    expect(await guest.info()).toMatchObject({ state: "running" });
    await expect(guest.screenshot()).rejects.toMatchObject({ code: "CONSOLE_UNAVAILABLE" });
    await expect(guest.attachNic(nic("second", 2))).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    await guest.kill();
  });

  it("with every bus at once, several vCPUs, and forty root ports", async () => {
    await using wide = await KvmLab.open({ hotplugPorts: 40 });
    const image = (name: string): Promise<string> => wide.image(name, 1);
    const guest = await wide.linux({
      vcpus: 2,
      memoryMiB: 256,
      cpuTopology: { sockets: 1, cores: 2, threads: 1 },
      disks: [
        disk("one", "vda", await image("one"), { serial: "one" }),
        disk("two", "sda", await image("two"), { bus: "scsi", serial: "two" }),
        disk("three", "sdb", await image("three"), { bus: "scsi", deviceType: "cdrom", readOnly: true }),
      ],
      nics: [nic("a", 1), nic("b", 2)],
    });
    await guest.start();
    await waitReady(guest);
    expect(await inGuest(guest, "echo $(nproc) $(ls /sys/class/net) $(cat /sys/block/vda/serial)")).toBe(
      "2 eth0 eth1 lo one",
    );
    await guest.kill();
  });
});
