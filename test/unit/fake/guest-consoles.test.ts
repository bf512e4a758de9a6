import { inflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { bench } from "./parts.js";

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

describe("the console of a fake guest", () => {
  it("shows a boot, and is kept when the guest is stopped", async () => {
    const { guest } = await bench();
    expect(await guest.consoleLog!({ maxBytes: 1000 })).toEqual({ bytes: new Uint8Array(), truncated: false });
    await guest.start();
    await guest.requestShutdown();
    await guest.waitUntilStopped({});
    const log = await guest.consoleLog!({ maxBytes: 100_000 });
    expect(text(log.bytes)).toContain("guest-1111 login: ");
    expect(text(log.bytes)).toContain("eth0: 52:54:00:00:00:01");
    expect(text(log.bytes)).toMatch(/Power down\r\n$/);
    const tail = await guest.consoleLog!({ maxBytes: 12 });
    expect(text(tail.bytes)).toBe("Power down\r\n");
    expect(tail.truncated).toBe(true);
  });

  it("lets one at a time log in and run programs, and ends with the guest", async () => {
    const { guest, world } = await bench();
    await guest.start();
    const console = await guest.openConsole!();
    await expect(guest.openConsole!()).rejects.toMatchObject({ code: "CONFLICT" });
    let seen = "";
    console.on("data", (chunk: Buffer) => (seen += chunk.toString()));
    const closed = new Promise((resolve) => console.once("close", resolve));
    console.write("root\r");
    console.write("echo hi there\r");
    await world.clock.sleep(1);
    expect(seen).toContain("login: root\r\n");
    expect(seen).toContain("echo hi there\r\nhi there\r\nguest-1111:~# ");
    await guest.kill();
    await closed;
    await guest.start();
    const again = await guest.openConsole!();
    again.destroy();
    await world.clock.sleep(1);
    (await guest.openConsole!()).destroy();
    expect(world.guest(guest.uuid).console).toContain("hi there");
  });

  it("listens on a port of its own for each display until the guest ends", async () => {
    const { guest, host, world } = await bench();
    await expect(guest.consoleAddress!("vnc")).rejects.toMatchObject({ code: "CONSOLE_UNAVAILABLE" });
    await guest.start();
    const vnc = await guest.consoleAddress!("vnc");
    expect(vnc).toEqual({ kind: "vnc", host: host.ipAddress, port: 5900 });
    expect(await guest.consoleAddress!("vnc")).toEqual(vnc);
    expect((await guest.consoleAddress!("serial")).port).toBe(5901);
    expect(world.ledger().filter(({ kind }) => kind === "consolePort")).toHaveLength(2);
    await guest.kill();
    expect(world.ledger().filter(({ kind }) => kind === "consolePort")).toHaveLength(0);
  });

  it("shows a picture that is a whole PNG, another for another guest", async () => {
    const { guest } = await bench();
    await guest.start();
    const { mediaType, bytes } = await guest.screenshot!();
    expect(mediaType).toBe("image/png");
    const png = Buffer.from(bytes);
    expect(png.subarray(1, 4).toString()).toBe("PNG");
    const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
    const start = png.indexOf("IDAT");
    const pixels = inflateSync(png.subarray(start + 4, start + 4 + png.readUInt32BE(start - 4)));
    expect(pixels.length).toBe((width + 1) * height);
    expect(png.subarray(-8, -4).toString()).toBe("IEND");
  });

  it("shows a non-maskable interrupt, and what the guest makes of it", async () => {
    const { guest, world } = await bench();
    await guest.start();
    await guest.injectNmi!();
    expect(world.guest(guest.uuid).console).toContain("NMI received");
    world.setBehaviour(guest.uuid, { onNmi: "crash" });
    await guest.injectNmi!();
    await world.clock.sleep(1);
    expect((await guest.info()).state).toBe("crashed");
  });
});

describe("the counters of a fake guest", () => {
  it("grow with the time that it runs, and not while it is paused", async () => {
    const { guest, world } = await bench();
    await guest.start();
    const zero = await guest.statistics!();
    expect(zero.disks.map(({ id }) => id)).toEqual(["root"]);
    expect(zero.disks[0]!.readBytes).toBe(0n);
    await world.clock.sleep(10_000);
    const first = await guest.statistics!();
    expect(first.uptimeMs).toBe(10_000);
    expect(first.vcpus).toHaveLength(2);
    expect(first.vcpus[0]!.timeNs).toBe(500_000_000n);
    expect((await guest.info()).cpuTimeNs).toBe(1_000_000_000n);
    expect((await guest.diskStatistics!("root")).readBytes).toBe(655_360n);
    expect((await guest.interfaceStatistics!("port-1")).rxPackets).toBe(200n);
    await guest.pause();
    await world.clock.sleep(10_000);
    expect((await guest.statistics!()).vcpus[0]!.timeNs).toBe(500_000_000n);
    await expect(guest.diskStatistics!("vdz")).rejects.toMatchObject({ code: "DISK_NOT_FOUND" });
    await expect(guest.interfaceStatistics!("none")).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });
    await guest.kill();
    await expect(guest.diskStatistics!("root")).rejects.toMatchObject({ code: "INVALID_STATE" });
    expect(await guest.statistics!()).toMatchObject({ state: "shutdown", vcpus: [], disks: [] });
  });

  it("of the host grow as well, and CPUs compare by their features", async () => {
    const { hypervisor, world, host } = await bench();
    await world.clock.sleep(1000);
    const cpu = await hypervisor.hostCpuStatistics();
    expect(cpu.kernelNs + cpu.idleNs + cpu.userNs + cpu.ioWaitNs).toBe(1_000_000_000n * BigInt(host.vcpus));
    expect(await hypervisor.compareCpu(host.cpu)).toBe("identical");
    expect(await hypervisor.compareCpu({ ...host.cpu, features: ["pge"] })).toBe("superset");
    expect(await hypervisor.compareCpu({ ...host.cpu, features: ["avx512f"] })).toBe("incompatible");
    expect(await hypervisor.compareCpu({ ...host.cpu, arch: "aarch64" })).toBe("incompatible");
  });
});
