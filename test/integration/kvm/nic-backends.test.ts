// NICs on macvtap devices and on switches in user space, under a real QEMU.
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { MacvtapPlugger, VhostUserPlugger } from "../../../src/network/index.js";
import type { MacvtapVif } from "../../../src/network/index.js";
import { run, waitFor } from "../../lab/index.js";
import { KvmLab, nic } from "./lab.js";

const PORT = "ab3e4f10-8f57-4a2b-9c6e-94bd3c9fd8aa";
const INSTANCE = "0d1c4a52-6f0c-4a35-8f0d-2f4c9f3f7a11";
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function openLab(): Promise<KvmLab> {
  const lab = await KvmLab.open();
  cleanups.push(() => lab[Symbol.asyncDispose]());
  return lab;
}

describe("a NIC on a macvtap device", () => {
  it("is there from the start, or is plugged into the guest that runs", async () => {
    await run(["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
    cleanups.push(() => run(["ip", "link", "del", "up0"]));
    await run(["ip", "link", "set", "up0", "up"]);
    await run(["ip", "link", "set", "up1", "up"]);
    const plugger = new MacvtapPlugger();
    const vif = (id: string, last: number): MacvtapVif => ({
      ...{ id, network: { id: "net-1" }, parentInterface: "up0", macAddress: `52:54:00:00:00:0${last}` },
      type: "macvtap",
    });
    const [first, second] = [vif(PORT, 1), vif(`c${PORT.slice(1)}`, 2)] as const;
    const lab = await openLab();
    const backend = await plugger.plug(first, INSTANCE);
    const guest = await lab.define({ nics: [nic("one", 1, { backend })] });
    await guest.start();
    await guest.attachNic(nic("two", 2, { backend: await plugger.plug(second, INSTANCE) }), {});
    await guest.kill();
    for (const one of [first, second]) await plugger.unplug(one, INSTANCE);
    expect(await run(["ip", "-br", "link"])).not.toMatch(/tap[ac]b3e4f10/);
  });
});

describe("a NIC on a switch in user space", () => {
  it("shares the guest's memory with the switch at its socket", async () => {
    const lab = await openLab();
    const socketPath = lab.directory.file("switch.sock");
    const asked: number[] = [];
    const server = await listen(socketPath, asked);
    cleanups.push(() => new Promise((resolve) => server.close(resolve)));
    const plugger = new VhostUserPlugger();
    const vif = {
      type: "vhostUser",
      id: PORT,
      macAddress: "52:54:00:00:00:01",
      network: { id: "n" },
      socketPath,
    } as const;
    const backend = await plugger.plug(vif, INSTANCE);
    const guest = await lab.define({ nics: [nic("one", 1, { backend })] });
    await guest.start();
    await waitFor(() => asked.includes(GET_FEATURES), {
      timeoutMs: 60_000,
      what: "a hypervisor at the switch's socket",
    });
    await guest.kill();
  });
});

const GET_FEATURES = 1;

/** Answers as a switch of the plainest kind does, as far as a guest without a driver gets. */
async function listen(path: string, asked: number[]): Promise<Server> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let rest = Buffer.alloc(0);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
    socket.on("data", (chunk) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= 12 && rest.length >= 12 + rest.readUInt32LE(8)) {
        const request = rest.readUInt32LE(0);
        rest = rest.subarray(12 + rest.readUInt32LE(8));
        asked.push(request);
        if (request !== GET_FEATURES) continue;
        const answer = Buffer.alloc(20);
        answer.writeUInt32LE(request, 0);
        // Version 1, and an answer.
        answer.writeUInt32LE(0b101, 4);
        answer.writeUInt32LE(8, 8);
        // VIRTIO_F_VERSION_1.
        answer.writeBigUInt64LE(1n << 32n, 12);
        socket.write(answer);
      }
    });
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(path, resolve));
  return server;
}
