import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, copyFile, mkdir, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import type { NetConnectOpts, Socket } from "node:net";
import { dirname } from "node:path";
import { connect as secure } from "node:tls";
import type { ConnectionOptions } from "node:tls";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Secret } from "../../../src/core/index.js";
import { findVirtiofsd } from "../../../src/kvm/firmware/read-descriptors.js";
import { HELPER_MARK, findHelpers } from "../../../src/kvm/helpers/find-helpers.js";
import { QmpClient } from "../../../src/qmp/index.js";
import { makeCertificates } from "../../lab/certificates.js";
import { requirePackages, testGuest, waitFor } from "../../lab/index.js";
import { logInByVnc } from "../../lab/vnc-client.js";
import { BOOT_MS, KvmLab, disk, inGuest, isDead, waitReady } from "./lab.js";

let lab: KvmLab;
beforeAll(() => requirePackages("qemu-system-x86_64", "ovmf", "swtpm", "openssl"));
beforeEach(async () => {
  lab = await KvmLab.open();
});
afterEach(() => lab[Symbol.asyncDispose]());

type KvmGuest = Awaited<ReturnType<KvmLab["define"]>>;

function directoryOf({ uuid }: { readonly uuid: string }): string {
  return dirname(lab.file(uuid, "any"));
}

async function helpersOf(guest: { readonly uuid: string }): Promise<number> {
  return (await findHelpers((directory) => directory === directoryOf(guest))).length;
}

/** Asks the guest's QEMU by a monitor beside the driver's own. */
async function ask<T>(guest: KvmGuest, question: (monitor: QmpClient) => Promise<T>): Promise<T> {
  await using monitor = await QmpClient.open({ path: lab.file(guest.uuid, "tools.sock") });
  return await question(monitor);
}

describe("the hardware of a guest", () => {
  it(
    "has UEFI, a TPM and a directory of the host, whose processes live and end with it",
    async () => {
      const shared = lab.directory.file("shared");
      await mkdir(shared);
      await writeFile(`${shared}/note`, "from the host\n");
      const virtiofsd = await findVirtiofsd();
      const filesystem = { tag: "shared", path: shared, driver: "virtiofs" } as const;
      const { memoryMiB } = await testGuest();
      const guest = await lab.linux({
        // The firmware needs some of it.
        memoryMiB: memoryMiB + 128,
        firmware: "uefi",
        hardware: {
          tpm: {},
          ...(virtiofsd === undefined ? {} : { filesystems: [filesystem] }),
          smbios: { system: { product: "Hyper, Vise", serial: "S-1" } },
        },
      });
      await guest.start();
      await waitReady(guest);
      expect(await inGuest(guest, "ls -d /sys/firmware/efi")).toBe("/sys/firmware/efi");
      expect(await inGuest(guest, "cat /sys/class/dmi/id/product_name")).toBe("Hyper, Vise");
      expect(await ask(guest, (monitor) => monitor.execute("query-tpm"))).toMatchObject([{ model: "tpm-crb" }]);
      if (virtiofsd !== undefined) {
        const mounted = "modprobe virtiofs; mkdir -p /mnt/s; mount -t virtiofs shared /mnt/s && cat /mnt/s/note";
        expect(await inGuest(guest, mounted)).toBe("from the host");
      }
      const helpers = await helpersOf(guest);
      expect(helpers).toBeGreaterThanOrEqual(virtiofsd === undefined ? 1 : 2);
      const variables = lab.file(guest.uuid, "uefi-variables");
      const { ino } = await stat(variables);

      await lab.reopen();
      const found = (await lab.hypervisor.find(guest.uuid)) as KvmGuest;
      expect(await helpersOf(guest)).toBe(helpers);
      await found.kill();
      expect(await helpersOf(guest)).toBe(0);

      await found.start({ paused: true });
      expect((await stat(variables)).ino).toBe(ino);
      expect(await readdir(lab.file(guest.uuid, "tpm"))).toContain("tpm2-00.permall");
      await found.kill();
      await lab.hypervisor.undefine(guest.uuid);
      await expect(access(directoryOf(guest))).rejects.toMatchObject({ code: "ENOENT" });
    },
    BOOT_MS,
  );

  it("leaves nothing when a process beside QEMU does not come up, and ends one that was left behind", async () => {
    const virtiofsd = await findVirtiofsd();
    const hardware = {
      tpm: {},
      filesystems: [{ tag: "gone", path: "/nonexistent/directory", driver: "virtiofs" as const }],
    };
    if (virtiofsd === undefined) {
      await expect(lab.define({ hardware })).rejects.toMatchObject({ code: "NOT_SUPPORTED", capability: "virtiofsd" });
      return;
    }
    const guest = await lab.define({ hardware });
    await expect(guest.start()).rejects.toMatchObject({ code: "GUEST_START_FAILED" });
    expect(await helpersOf(guest)).toBe(0);
    expect((await readdir(directoryOf(guest))).filter((name) => name.endsWith(".sock"))).toEqual([]);

    const left = spawn("sleep", ["600"], { env: { ...process.env, [HELPER_MARK]: directoryOf(guest) } });
    await waitFor(async () => (await helpersOf(guest)) === 1, { timeoutMs: 10_000, what: "a process left behind" });
    await lab.reopen();
    expect(await isDead(left.pid as number)).toBe(true);
  });

  it("is seen by QEMU: what can be plugged, who listens, and a watchdog that bites", async () => {
    const bite = lab.directory.file("bite.raw");
    // mov dx, 0x443; mov al, 15; out dx, al; hlt; jmp: at its port, the watchdog is told to bite after 0 seconds.
    await writeFile(bite, bootSectorOf([0xba, 0x43, 0x04, 0xb0, 0x0f, 0xee, 0xf4, 0xeb, 0xfd]));
    const guest = await lab.define({
      disks: [disk("root", "vda", bite, { readOnly: true })],
      vcpus: 2,
      memoryMiB: 128,
      hardware: {
        cpu: {
          maxVcpus: 4,
          numaCells: [
            { vcpus: [0, 2], memoryMiB: 64 },
            { vcpus: [1, 3], memoryMiB: 64 },
          ],
        },
        memory: { maxMiB: 1024, slots: 3 },
        watchdog: { model: "ib700", action: "pause" },
        vnc: { passwordRequired: true },
        spice: { address: "127.0.0.1" },
      },
    });
    await guest.start();
    await lab.event((event) => event.type === "lifecycle" && event.transition === "paused");
    const cpus = await ask(guest, (monitor) => monitor.execute("query-hotpluggable-cpus"));
    expect(cpus.map(({ "qom-path": path }) => path === undefined).sort()).toEqual([false, false, true, true]);
    const summary = await ask(guest, (monitor) => monitor.execute("query-memory-size-summary"));
    expect(Number(summary["base-memory"])).toBe(128 * 1_048_576);

    const vnc = await guest.consoleAddress("vnc");
    expect(vnc).toEqual({ kind: "vnc", socketPath: lab.file(guest.uuid, "vnc.sock") });
    const path = vnc.socketPath as string;
    await expect(logInByVnc({ path }, "secret")).resolves.toBe("refused");
    await guest.setConsolePassword("vnc", Secret.of("secret"));
    await expect(logInByVnc({ path }, "secret")).resolves.toBe("in");
    await expect(logInByVnc({ path }, "wrong")).resolves.toBe("refused");
    await expect(guest.setConsolePassword("vnc", Secret.of("longer than eight"))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "password",
    });
    await expect(guest.setConsolePassword("spice", Secret.of("secret"))).rejects.toMatchObject({
      code: "CONSOLE_UNAVAILABLE",
    });

    const spice = await guest.consoleAddress("spice");
    expect(spice).toMatchObject({ kind: "spice", host: "127.0.0.1" });
    expect(await spiceGreeting(spice.port as number)).toBe("REDQ");
    await guest.kill();
    await expect(guest.consoleAddress("vnc")).rejects.toMatchObject({ code: "CONSOLE_UNAVAILABLE" });
  });

  it("has consoles that TLS alone reaches, for those who have a certificate, by the ciphers that are asked for", async () => {
    const certificates = await makeCertificates(lab.directory.path);
    const directory = lab.directory.file("tls");
    await mkdir(directory);
    await copyFile(certificates.ca, `${directory}/ca-cert.pem`);
    await copyFile(certificates.serverCertificate, `${directory}/server-cert.pem`);
    await copyFile(certificates.serverKey, `${directory}/server-key.pem`);
    const [ca, cert, key] = await Promise.all(
      ["cacert", "clientcert", "clientkey"].map((name) => readFile(lab.directory.file(`${name}.pem`))),
    );
    const address = "127.0.0.1";
    const guest = await lab.define({
      hardware: {
        vnc: { address, tlsDirectory: directory, verifyClients: true },
        spice: { address, tlsDirectory: directory, tlsCiphers: "ECDHE-ECDSA-AES256-GCM-SHA384" },
      },
    });
    await guest.start({ paused: true });

    const vnc = await guest.consoleAddress("vnc");
    await expect(logInByTls(vnc.port as number, { ca, cert, key })).resolves.toBe("in");
    await expect(logInByTls(vnc.port as number, { ca })).rejects.toThrow();

    const spice = await guest.consoleAddress("spice");
    const old = { ca, maxVersion: "TLSv1.2", host: address, port: spice.tlsPort as number } as const;
    expect(spice.port).toBeUndefined();
    expect(await cipherOf(old)).toBe("ECDHE-ECDSA-AES256-GCM-SHA384");
    await expect(cipherOf({ ...old, ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" })).rejects.toThrow();
    await guest.kill();
  });

  it("ends with the guest's own reset where that is wanted", async () => {
    const path = lab.directory.file("reset.raw");
    // mov al, 0xfe; out 0x64, al; hlt; jmp: the keyboard controller pulls the reset line.
    await writeFile(path, bootSectorOf([0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd]));
    const guest = await lab.define({
      disks: [disk("root", "vda", path, { readOnly: true })],
      hardware: { onReboot: "poweroff", generationId: true },
    });
    await guest.start();
    await guest.waitUntilStopped({ deadline: 30_000 });
    expect(lab.lifecycle(guest.uuid)).toEqual(["started self", "stopped guest"]);
  });

  it("is refused where QEMU or the host lacks it, by its name", async () => {
    const refused = async (hardware: object, capability: string): Promise<void> => {
      await expect(lab.define({ hardware })).rejects.toMatchObject({ code: "NOT_SUPPORTED", capability });
    };
    await refused({ cpu: { mode: "custom", model: "Pentium-99" } }, "CPU model Pentium-99");
    await refused({ cpu: { features: [{ name: "avx512f", policy: "require" }] } }, "CPU feature avx512f");
    await refused({ cpu: { mode: "hostPassthrough" } }, "CPU mode hostPassthrough");
    await refused({ memory: { backing: "hugepages", hugepageKiB: 4 } }, "huge pages of 4 KiB");
    const hasVsock = await access("/dev/vhost-vsock").then(
      () => true,
      () => false,
    );
    if (!hasVsock) await refused({ vsock: { cid: 7 } }, "vsock");
  });
});

/** A disk that boots these instructions of a real-mode program. The BIOS boots from none that is smaller than a cylinder. */
function bootSectorOf(code: readonly number[]): Buffer {
  const sectors = Buffer.alloc(1_048_576);
  Buffer.from(code).copy(sectors);
  sectors.writeUInt16LE(0xaa55, 510);
  return sectors;
}

/** A reader that gives so many bytes at a time. */
async function dial(to: NetConnectOpts): Promise<{ readonly socket: Socket; read(count: number): Promise<Buffer> }> {
  const socket = connect(to);
  let held = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => (held = Buffer.concat([held, chunk])));
  socket.on("error", () => undefined);
  const read = async (count: number): Promise<Buffer> => {
    await waitFor(() => held.length >= count || socket.destroyed, { timeoutMs: 10_000, what: `${count} bytes` });
    const [head, rest] = [held.subarray(0, count), held.subarray(count)];
    held = rest;
    return head;
  };
  return { socket, read };
}

/** VeNCrypt without a password: TLS begins in the middle of the conversation. */
async function logInByTls(port: number, options: ConnectionOptions): Promise<"in" | "refused"> {
  const { socket, read } = await dial({ host: "127.0.0.1", port });
  try {
    expect((await read(12)).toString("latin1")).toBe("RFB 003.008\n");
    socket.write("RFB 003.008\n");
    expect([...(await read((await read(1))[0] as number))]).toEqual([19]);
    socket.write(Buffer.from([19]));
    expect([...(await read(2))]).toEqual([0, 2]);
    socket.write(Buffer.from([0, 2]));
    expect([...(await read(2))]).toEqual([0, 1]);
    expect((await read(4)).readUInt32BE()).toBe(260);
    socket.write(Buffer.from([0, 0, 1, 4]));
    expect([...(await read(1))]).toEqual([1]);
    socket.removeAllListeners("data");
    const secured = secure({ ...options, socket });
    try {
      const [result] = (await first(secured, "data")) as [Buffer];
      return result.readUInt32BE() === 0 ? "in" : "refused";
    } finally {
      secured.destroy();
    }
  } finally {
    socket.destroy();
  }
}

/** The event, unless the connection ends or is silent before. */
async function first(socket: Socket, event: string): Promise<unknown[]> {
  socket.setTimeout(20_000, () => socket.destroy(new Error("silence")));
  const ended = once(socket, "close").then(() => Promise.reject(new Error("closed")));
  ended.catch(() => undefined);
  return Promise.race([once(socket, event), ended]);
}

/** The cipher that a server agrees to. */
async function cipherOf(options: ConnectionOptions): Promise<string> {
  const socket = secure(options);
  try {
    await first(socket, "secureConnect");
    return socket.getCipher().name;
  } finally {
    socket.destroy();
  }
}

/** The first word of a SPICE server that is asked for its main channel. */
async function spiceGreeting(port: number): Promise<string> {
  const { socket, read } = await dial({ host: "127.0.0.1", port });
  try {
    const link = Buffer.alloc(18);
    link.writeUInt8(1, 4);
    link.writeUInt32LE(18, 14);
    socket.write(Buffer.concat([Buffer.from("REDQ"), words(2, 2, link.length), link]));
    return (await read(4)).toString("latin1");
  } finally {
    socket.destroy();
  }
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => bytes.writeUInt32LE(value, 4 * index));
  return bytes;
}
