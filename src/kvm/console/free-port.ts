/** Ports of the host that nobody listens on. */
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import type { GuestSpice } from "../../driver/index.js";
import { HostIoError } from "../../host/index.js";

/**
 * A port for SPICE, which can't look for one itself; undefined where none is wanted. Somebody may take it before QEMU does: then the start fails, and the next
 * takes another.
 * @throws HostIoError when the address is none of the host's
 */
export async function freeSpicePort(spice: GuestSpice | undefined): Promise<number | undefined> {
  if (spice?.address === undefined || spice.port !== undefined) return undefined;
  const { address } = spice;
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error) =>
      reject(new HostIoError({ operation: "looking for a free port", path: address, cause: error })),
    );
    server.listen({ host: address, port: 0, exclusive: true }, () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
