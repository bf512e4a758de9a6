// A port of the plainest switch in user space: it answers the messages of the vhost-user protocol by which QEMU sets a NIC up, as far as a guest without a
// driver gets, and moves no packets.
import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { waitFor } from "./wait-for.js";

const GET_FEATURES = 1;
const SET_OWNER = 3;
const GET_VRING_BASE = 11;
const GET_PROTOCOL_FEATURES = 15;
/** Version 1, and an answer. */
const ANSWER = 0b101;
/** VIRTIO_F_VERSION_1, and VHOST_USER_F_PROTOCOL_FEATURES: without it QEMU 7.2 takes no switch for a guest that runs. */
const FEATURES = (1n << 32n) | (1n << 30n);

export class SwitchPort {
  isLost = false;
  readonly #asked = new Set<number>();
  readonly #path: string;
  readonly #listens: "switch" | "hypervisor";
  #server: Server | undefined;
  #socket: Socket | undefined;

  constructor(path: string, listens: "switch" | "hypervisor") {
    this.#path = path;
    this.#listens = listens;
  }

  /** Whether a hypervisor has come, and begun to set a NIC up. */
  get isSetUp(): boolean {
    return this.#asked.has(GET_FEATURES) && this.#asked.has(SET_OWNER);
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
        this.#asked.add(request);
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
