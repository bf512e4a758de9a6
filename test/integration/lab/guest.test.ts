import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { LabMachine, requirePackages, run, temporaryDirectory, testGuest, writeGuestOverlay } from "../../lab/index.js";
import type { LabGuest, LabMachineOptions, TemporaryDirectory } from "../../lab/index.js";

const USER_NETWORK = ["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,id=nic0"];
const execute = promisify(execFile);

let guest: LabGuest;
let directory: TemporaryDirectory;
const machines: LabMachine[] = [];

async function start(options: LabMachineOptions): Promise<LabMachine> {
  const machine = await LabMachine.start({ memoryMiB: guest.memoryMiB, ...options });
  machines.push(machine);
  return machine;
}

const bootDisk = (guestDisk: string): string[] => [
  "-drive",
  `if=none,id=root0,format=qcow2,snapshot=on,file=${guestDisk}`,
];

beforeAll(async () => {
  requirePackages("qemu-system-x86_64", "qemu-img", "genisoimage", "mcopy", "mkfs.ext4");
  guest = await testGuest();
  directory = await temporaryDirectory();
  return () => directory.remove();
});

afterEach(async () => {
  await Promise.all(machines.splice(0).map((machine) => machine.kill()));
});

describe("the test guest, booted from its kernel", () => {
  it("gets an address, runs the guest agent, and gives a shell on the serial port", async () => {
    const machine = await start({ kernel: guest, arguments: USER_NETWORK });
    const ready = await machine.waitUntilReady();
    expect(ready).toMatch(/^HV-READY up=[\d.]+ cpus=1 mem=\d+kB eth0=10\.0\.2\.15\/24 qga=\d+$/);
    expect(machine.serial).toContain("HV-DHCP eth0 10.0.2.15/24 gw 10.0.2.2");

    expect(await machine.agent.execute("guest-ping")).toEqual({});
    expect(await machine.agent.execute("guest-get-host-name")).toEqual({ "host-name": "guest" });
    expect(await machine.agent.execute("guest-get-osinfo")).toMatchObject({
      id: "hypervise-guest",
      "kernel-release": guest.kernelVersion,
    });
    expect(await machine.shell("hostname")).toEqual({ output: "guest\n", exitCode: 0 });
    expect((await machine.shell("false")).exitCode).toBe(1);
    expect(machine.serial).toContain("guest# ");
  });

  it("runs a script that is laid over its initramfs, and powers off afterwards", async () => {
    const initrd = directory.file("overlay.initrd");
    const script = '#!/bin/sh\nhv-log "overlay on $(hostname)"\nexit 5\n';
    await writeGuestOverlay(guest, { "/etc/hypervise/run": script }, initrd);
    const machine = await start({ kernel: { ...guest, initrd }, append: "hv.nowait hv.poweroff", agent: false });
    await machine.waitForSerial(/overlay on guest[^]*HV-RUN-EXIT 5[^]*HV-SHUTDOWN poweroff/);
    expect(await machine.exited).toEqual({ code: 0, signal: null });
  });

  it("powers off when its power button is pressed", async () => {
    const machine = await start({ kernel: guest, append: "hv.nowait", agent: false });
    await machine.waitUntilReady();
    await machine.monitor.execute("system_powerdown");
    await machine.waitForSerial(/HV-POWERDOWN[^]*HV-SHUTDOWN poweroff/);
    expect(await machine.exited).toEqual({ code: 0, signal: null });
  });

  it("notices a network interface and a disk that are plugged in while it runs, and uses both", async () => {
    const disk = directory.file("hot.raw");
    await run(["qemu-img", "create", "-q", "-f", "raw", disk, "16M"]);
    const ports = [1, 2].flatMap((slot) => ["-device", `pcie-root-port,id=port${slot},chassis=${slot}`]);
    const machine = await start({ kernel: guest, arguments: [...USER_NETWORK, ...ports] });
    await machine.waitUntilReady();

    await machine.monitor.execute("netdev_add", { type: "user", id: "net1", net: "10.0.9.0/24" });
    await machine.monitor.execute("device_add", { driver: "virtio-net-pci", netdev: "net1", id: "nic1", bus: "port1" });
    await machine.waitForSerial(/HV-UEVENT add net eth1/);
    await machine.waitForSerial(/HV-DHCP eth1 10\.0\.9\.15\/24/);

    await machine.monitor.execute("blockdev-add", { driver: "file", filename: disk, "node-name": "hot0" });
    const device = { driver: "virtio-blk-pci", drive: "hot0", id: "disk1", bus: "port2", serial: "volume-1" };
    await machine.monitor.execute("device_add", device);
    await machine.waitForSerial(/HV-UEVENT add block vda/);
    const written = await machine.shell("echo token-42 | dd of=/dev/vda conv=sync,fsync 2> /dev/null");
    expect(written.exitCode).toBe(0);
    const named = "/dev/disk/by-id/virtio-volume-1";
    const read = await machine.shell(`until [ -e ${named} ]; do usleep 10000; done; head -c 8 ${named}`);
    expect(read.output).toContain("token-42");
    const { stdout } = await execute("head", ["-c", "8", disk]);
    expect(stdout).toBe("token-42");

    await machine.monitor.execute("device_del", { id: "disk1" });
    await machine.waitForSerial(/HV-UEVENT remove block vda/);
    await machine.monitor.execute("device_del", { id: "nic1" });
    await machine.waitForSerial(/HV-UEVENT remove net eth1/);
  });

  it("mounts an ISO 9660 config drive from a SCSI drive, and an ext4 disk", async () => {
    const iso = directory.file("config.iso");
    const content = directory.file("config");
    await run(["mkdir", "-p", `${content}/openstack/latest`]);
    await writeFile(`${content}/openstack/latest/meta_data.json`, '{"hostname": "from-config-drive"}');
    await run(["genisoimage", "-quiet", "-R", "-J", "-V", "config-2", "-o", iso, content]);
    const disk = directory.file("ephemeral.raw");
    await run(["qemu-img", "create", "-q", "-f", "raw", disk, "32M"]);
    await run(["mkfs.ext4", "-q", "-F", disk]);
    const machine = await start({
      kernel: guest,
      arguments: [
        ...["-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=config0"],
        ...["-drive", `if=none,id=config0,media=cdrom,readonly=on,format=raw,file=${iso}`],
        ...["-drive", `if=none,id=disk0,format=raw,file=${disk}`, "-device", "scsi-hd,drive=disk0,serial=eph1"],
      ],
    });
    await machine.waitUntilReady();
    expect(machine.serial).toContain("HV-CONFIG-DRIVE config-2");
    expect(machine.serial).toContain("HV-MOUNT sda");
    expect((await machine.shell("cat /mnt/config/openstack/latest/meta_data.json")).output).toContain(
      "from-config-drive",
    );
    expect((await machine.shell("readlink /dev/disk/by-id/scsi-eph1")).output).toBe("../../sda\n");
  });

  it("mounts a FAT seed", async () => {
    const seed = directory.file("seed.raw");
    await writeFile(directory.file("meta-data"), "instance-id: i-1\n");
    await run(["qemu-img", "create", "-q", "-f", "raw", seed, "2M"]);
    await run(["mformat", "-i", seed, "-v", "CIDATA", "::"]);
    await run(["mcopy", "-i", seed, directory.file("meta-data"), "::/meta-data"]);
    const machine = await start({ kernel: guest, arguments: ["-drive", `if=virtio,format=raw,file=${seed}`] });
    await machine.waitUntilReady();
    expect(machine.serial).toContain("HV-CONFIG-DRIVE cidata");
    expect((await machine.shell("cat /mnt/config/meta-data")).output).toBe("instance-id: i-1\n");
  });
});

describe("the test guest, booted from its disk", () => {
  it.each(["q35", "pc"])("boots through virtio-blk on %s", async (type) => {
    const machine = await start({
      machine: type,
      arguments: [...USER_NETWORK, ...bootDisk(guest.disk), "-device", "virtio-blk-pci,drive=root0"],
    });
    expect(await machine.waitUntilReady()).toContain("eth0=10.0.2.15/24");
    expect(machine.serial).toContain("HV-MOUNT vda");
    expect(await machine.agent.execute("guest-ping")).toEqual({});
  });

  it("boots through virtio-scsi", async () => {
    const machine = await start({
      arguments: [...bootDisk(guest.disk), "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=root0,bootindex=1"],
    });
    await machine.waitUntilReady();
    expect(machine.serial).toContain("HV-MOUNT sda");
  });

  it("keeps what the guest writes in an overlay, and leaves the shared image alone", async () => {
    const overlay = directory.file("overlay.qcow2");
    await run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", guest.disk, overlay]);
    const drive = ["-drive", `if=virtio,format=qcow2,file=${overlay}`];
    const first = await start({ arguments: drive });
    await first.waitUntilReady();
    expect((await first.shell("echo remembered > /mnt/vda/note.txt && sync")).exitCode).toBe(0);
    await first.kill();

    const second = await start({ arguments: drive });
    await second.waitUntilReady();
    expect((await second.shell("cat /mnt/vda/note.txt")).output).toBe("remembered\n");
    await run(["qemu-img", "check", "-q", guest.disk]);
  });
});
