// VLANs on a kernel that has them, whatever the machine's own has: a test guest whose root is the machine's own tree, read-only.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { describe, expect, it } from "vitest";
import { findVirtiofsd } from "../../../src/kvm/firmware/read-descriptors.js";
import {
  LabMachine,
  requirePackages,
  temporaryDirectory,
  testGuest,
  waitForFile,
  writeGuestOverlay,
} from "../../lab/index.js";

const MEMORY_MIB = 768;
const BOOT_MS = 600_000;

/** Puts the machine's tree under a layer in memory, with the guest's own kernel interfaces, and runs a program there. */
const runScript = (program: string): string => `#!/bin/sh
modprobe -a virtiofs overlay 8021q bridge veth sch_htb sch_ingress cls_u32 act_police
mkdir -p /host /rw /new
mount -t virtiofs -o ro hostroot /host || exit 90
mount -t tmpfs -o size=50% tmpfs /rw && mkdir /rw/u /rw/w
mount -t overlay -o lowerdir=/host,upperdir=/rw/u,workdir=/rw/w overlay /new || exit 91
mount --bind /dev /new/dev
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
mount -t tmpfs run /new/run
chroot /new /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/ ${process.execPath} ${program} > /dev/console 2>&1
`;

describe("a network on a VLAN", () => {
  it("is carried by tagged frames, apart from others of the same interface", async () => {
    requirePackages("qemu-system-x86_64", "ip", "udhcpc", "sysctl");
    const virtiofsd = await findVirtiofsd();
    if (virtiofsd === undefined) throw new Error("no virtiofsd: it comes with QEMU, or as a package of its own");
    await using directory = await temporaryDirectory("hvl-");
    const program = directory.file("child.cjs");
    const entry = fileURLToPath(new URL("vlan-child.ts", import.meta.url));
    await build({
      entryPoints: [entry],
      bundle: true,
      platform: "node",
      format: "cjs",
      outfile: program,
      external: ["koffi", "ioctl-napi", "pg"],
      logLevel: "error",
    });
    const guest = await testGuest();
    const initrd = directory.file("initrd");
    await writeGuestOverlay(guest, { "/etc/hypervise/run": runScript(program) }, initrd);
    const socket = directory.file("fs.sock");
    const server = spawn(
      virtiofsd,
      [`--socket-path=${socket}`, "-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot", "-f"],
      {
        stdio: "ignore",
      },
    );
    const ended = once(server, "exit");
    try {
      await waitForFile(socket, { timeoutMs: 60_000 });
      await using machine = await LabMachine.start({
        machine: "q35,memory-backend=ram0",
        memoryMiB: MEMORY_MIB,
        kernel: { kernel: guest.kernel, initrd, kernelArguments: guest.kernelArguments },
        append: "hv.nowait",
        agent: false,
        arguments: [
          ...["-cpu", "max", "-smp", "2"],
          ...["-object", `memory-backend-memfd,id=ram0,size=${MEMORY_MIB}M,share=on`],
          ...["-chardev", `socket,id=fs0,path=${socket}`],
          ...["-device", "vhost-user-fs-pci,queue-size=1024,chardev=fs0,tag=hostroot"],
        ],
      });
      const [, json = ""] = await machine.waitForSerial(/HV-RESULT (\{.*\})\r?\n/, { timeoutMs: BOOT_MS });
      const result = JSON.parse(json) as Readonly<Record<string, unknown>>;
      expect(result).toMatchObject({
        ...{ bridge: "br5", sameVlan: true, otherVlan: false, second: "br6", secondVlan: true },
        ...{ vlanId: "5", mtu: "1400", again: "", policed: true, left: false },
      });
      expect(result.plan).toContain("ip link add link par0 name vlan5 type vlan id 5\n");
    } finally {
      server.kill("SIGKILL");
      await ended;
    }
  }, 720_000);
});
