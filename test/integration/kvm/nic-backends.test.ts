// NICs on macvtap devices and on switches in user space, under a real QEMU.
import { connect, createServer } from "node:net";
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

// The switch is this test's own: it answers the messages of the vhost-user protocol by which QEMU sets a NIC up, and moves no
// packets.
describe("a NIC on a switch in user space", () => {
  it("shares the guest's memory with the switch, whoever of them listens, from the start or plugged in", async () => {
    const lab = await openLab();
    const vifs = await Promise.all(
      (["switch", "hypervisor", "switch", "hypervisor"] as const).map(async (server, at) => {
        const socketPath = lab.directory.file(`switch${at}.sock`);
        const id = `${at}${PORT.slice(1)}`;
        const vif = { type: "vhostUser", id, macAddress: `52:54:00:00:00:0${at}`, network: { id: "n" } } as const;
        const backend = await new VhostUserPlugger().plug({ ...vif, socketPath, server }, INSTANCE);
        return { backend, port: new SwitchPort(socketPath, server), nic: nic(`nic${at}`, at, { backend }) };
      }),
    );
    cleanups.push(() => Promise.all(vifs.map(({ port }) => port.close())));
    const [cold, hot] = [vifs.slice(0, 2), vifs.slice(2)];
    const guest = await lab.define({ nics: cold.map((vif) => vif.nic) });
    // QEMU that listens goes on only when the switch has come.
    for (const { port } of vifs) await port.listen();
    await Promise.all([guest.start(), ...cold.map(({ port }) => port.reach())]);
    for (const vif of hot) await Promise.all([guest.attachNic(vif.nic, {}), vif.port.reach()]);
    for (const { port } of vifs)
      await waitFor(() => port.asked.has(GET_FEATURES) && port.asked.has(SET_OWNER), {
        timeoutMs: 60_000,
        what: "a hypervisor at the switch's socket",
      });
    await guest.kill();
    for (const { port } of vifs) await waitFor(() => port.isLost, { timeoutMs: 60_000, what: "the hypervisor's end" });
  });
});

const GET_FEATURES = 1;
const SET_OWNER = 3;
const GET_VRING_BASE = 11;
const GET_PROTOCOL_FEATURES = 15;
/** Version 1, and an answer. */
const ANSWER = 0b101;
/** VIRTIO_F_VERSION_1, and VHOST_USER_F_PROTOCOL_FEATURES: without it QEMU 7.2 takes no switch for a guest that runs. */
const FEATURES = (1n << 32n) | (1n << 30n);

/** A port of the plainest switch: it answers what QEMU asks, as far as a guest without a driver gets. */
class SwitchPort {
  /** The requests that have come. */
  readonly asked = new Set<number>();
  isLost = false;
  readonly #path: string;
  readonly #listens: "switch" | "hypervisor";
  #server: Server | undefined;
  #socket: Socket | undefined;

  constructor(path: string, listens: "switch" | "hypervisor") {
    this.#path = path;
    this.#listens = listens;
  }

  /** Listens, if it is the switch that does. */
  async listen(): Promise<void> {
    if (this.#listens !== "switch") return;
    const server = createServer((socket) => this.#serve(socket));
    this.#server = server;
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(this.#path, resolve));
  }

  /** Reaches the hypervisor, if it is that which listens. */
  async reach(): Promise<void> {
    if (this.#listens !== "hypervisor") return;
    const attempt = (): Promise<boolean> =>
      new Promise((resolve) => {
        const socket = connect(this.#path);
        socket.once("error", () => resolve(false));
        socket.once("connect", () => {
          this.#serve(socket);
          resolve(true);
        });
      });
    await waitFor(attempt, { timeoutMs: 90_000, what: `a hypervisor that listens at ${this.#path}` });
  }

  async close(): Promise<void> {
    this.#socket?.destroy();
    const server = this.#server;
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  #serve(socket: Socket): void {
    this.#socket = socket;
    let rest = Buffer.alloc(0);
    socket.on("error", () => undefined);
    socket.on("close", () => (this.isLost = true));
    socket.on("data", (chunk) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= 12 && rest.length >= 12 + rest.readUInt32LE(8)) {
        const [request, length] = [rest.readUInt32LE(0), rest.readUInt32LE(8)];
        const payload = rest.subarray(12, 12 + length);
        rest = rest.subarray(12 + length);
        this.asked.add(request);
        if (request === GET_FEATURES) socket.write(answerTo(request, FEATURES));
        if (request === GET_PROTOCOL_FEATURES) socket.write(answerTo(request, 0n));
        // Firmware that has tried to boot from the NIC lets go of the ring whose number comes first; nothing of it was used.
        if (request === GET_VRING_BASE) socket.write(answerTo(request, BigInt(payload.readUInt32LE(0))));
      }
    });
  }
}

function answerTo(request: number, value: bigint): Buffer {
  const answer = Buffer.alloc(20);
  answer.writeUInt32LE(request, 0);
  answer.writeUInt32LE(ANSWER, 4);
  answer.writeUInt32LE(8, 8);
  answer.writeBigUInt64LE(value, 12);
  return answer;
}
