// A port of a bridge whose guest is the test itself: it holds the TAP, and sends and receives whole frames. What one port sends has reached
// the others, or was dropped, when `send` returns: the kernel forwards within the write.
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { defaultIoctl, IFF_NO_PI, IFF_TAP, TUNSETIFF } from "../../src/host/index.js";
import { run } from "./run.js";
import { requireNetworkRights } from "./sandbox.js";

export interface TapPort extends Disposable {
  readonly name: string;
  send(frame: Uint8Array): void;
  /** Takes all frames that have come in. */
  receive(): Buffer[];
  close(): void;
}

const MAX_FRAME = 65_536;

/** Makes a TAP, plugs it into a bridge, and holds it. It goes when it is closed. */
export async function createTapPort(bridge: string): Promise<TapPort> {
  requireNetworkRights();
  const name = `hvp${randomBytes(4).toString("hex")}`;
  const fd = openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK);
  let isOpen = true;
  const close = (): void => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
  try {
    const request = Buffer.alloc(40);
    request.write(name, "latin1");
    request.writeUInt16LE(IFF_TAP | IFF_NO_PI, 16);
    defaultIoctl()(fd, TUNSETIFF, request);
    // Its own addresses would talk.
    await run(["ip", "link", "set", "dev", name, "addrgenmode", "none"]);
    await run(["ip", "link", "set", "dev", name, "master", bridge, "up"]);
    const buffer = Buffer.alloc(MAX_FRAME);
    return {
      name,
      send: (frame) => void writeSync(fd, frame),
      receive() {
        const frames: Buffer[] = [];
        for (;;) {
          try {
            frames.push(Buffer.from(buffer.subarray(0, readSync(fd, buffer, 0, MAX_FRAME, null))));
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code === "EAGAIN") return frames;
            throw error;
          }
        }
      },
      close,
      [Symbol.dispose]: close,
    };
  } catch (error) {
    close();
    throw error;
  }
}
