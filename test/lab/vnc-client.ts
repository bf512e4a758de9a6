// As much of a VNC client as it takes to get in with a password, or not to.
import { createCipheriv } from "node:crypto";
import { connect } from "node:net";
import type { NetConnectOpts, Socket } from "node:net";

const VERSION = "RFB 003.008\n";
const PASSWORD = 2;

/** Whether a VNC server that asks for a password lets somebody in with this one. */
export async function logInByVnc(at: NetConnectOpts, password: string): Promise<"in" | "refused"> {
  const socket = connect(at);
  socket.setTimeout(20_000, () => socket.destroy(new Error("a silent VNC server")));
  try {
    const read = reader(socket);
    const greeting = (await read(VERSION.length)).toString("latin1");
    if (greeting !== VERSION) throw new Error(`no VNC server: ${greeting}`);
    socket.write(VERSION);
    const types = await read((await read(1))[0] as number);
    if (!types.includes(PASSWORD)) throw new Error(`asks for no password: ${[...types].join(" ")}`);
    socket.write(Buffer.from([PASSWORD]));
    const challenge = await read(16);
    const key = Buffer.alloc(8);
    Buffer.from(password).copy(key);
    const reversed = key.map((byte) => Number.parseInt([...byte.toString(2).padStart(8, "0")].reverse().join(""), 2));
    // DES alone is not to be had any more; thrice with one key is the same.
    const cipher = createCipheriv("des-ede3-ecb", Buffer.concat([reversed, reversed, reversed]), null);
    cipher.setAutoPadding(false);
    socket.write(Buffer.concat([cipher.update(challenge), cipher.final()]));
    return (await read(4)).readUInt32BE() === 0 ? "in" : "refused";
  } finally {
    socket.destroy();
  }
}

/** Reads exactly so many bytes, again and again. */
function reader(socket: Socket): (length: number) => Promise<Buffer> {
  const parts = socket[Symbol.asyncIterator]();
  let buffered = Buffer.alloc(0);
  return async (length) => {
    while (buffered.length < length) {
      const part = (await parts.next()) as IteratorResult<Buffer, undefined>;
      if (part.done === true) throw new Error("the VNC server hung up");
      buffered = Buffer.concat([buffered, part.value]);
    }
    const taken = buffered.subarray(0, length);
    buffered = buffered.subarray(length);
    return taken;
  };
}
