/** The least that a libvirt client in Node can be: the floor that ours is measured against. It writes frames and counts them. */
import { connect } from "node:net";
import type { Socket } from "node:net";

const REMOTE = 0x20008086;
const EMPTY = Buffer.alloc(0);

export class RawLibvirtClient {
  readonly #socket: Socket;
  readonly #pending = new Map<number, (payload: Buffer) => void>();
  #rest: Buffer = EMPTY;
  #serial = 1;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
  }

  /** Opens a driver as our client does: authentication, then opening, with the daemon's pings not asked for. */
  static async open(path: string, uri: string): Promise<RawLibvirtClient> {
    const socket = connect(path);
    await new Promise((resolve) => socket.once("connect", resolve));
    const client = new RawLibvirtClient(socket);
    await client.call(66, EMPTY);
    const name = Buffer.from(uri);
    const padded = Buffer.alloc(8 + Math.ceil(name.length / 4) * 4 + 4);
    padded.writeUInt32BE(1, 0);
    padded.writeUInt32BE(name.length, 4);
    name.copy(padded, 8);
    await client.call(1, padded);
    return client;
  }

  /** The payload of a procedure's reply, whatever it says. */
  call(procedure: number, payload: Uint8Array): Promise<Buffer> {
    return new Promise((resolve) => {
      const serial = this.#serial++;
      this.#pending.set(serial, resolve);
      const frame = Buffer.allocUnsafe(28 + payload.length);
      frame.writeUInt32BE(28 + payload.length, 0);
      frame.writeUInt32BE(REMOTE, 4);
      frame.writeUInt32BE(1, 8);
      frame.writeInt32BE(procedure, 12);
      frame.writeInt32BE(0, 16);
      frame.writeUInt32BE(serial, 20);
      frame.writeInt32BE(0, 24);
      frame.set(payload, 28);
      this.#socket.write(frame);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (bytes.length >= 28) {
      const length = bytes.readUInt32BE(0);
      if (bytes.length < length) break;
      const serial = bytes.readUInt32BE(20);
      this.#pending.get(serial)?.(bytes.subarray(28, length));
      this.#pending.delete(serial);
      bytes = bytes.subarray(length);
    }
    this.#rest = bytes;
  }
}
