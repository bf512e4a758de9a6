/** Addresses of migrations in QEMU's own terms, and finding one on which QEMU can wait. */
import { createServer, isIPv6 } from "node:net";
import type { InstanceRef } from "../../core/index.js";
import { MigrationPreCheckError } from "../../driver/index.js";
import { MAX_SOCKET_PATH_BYTES, QmpCommandError } from "../../qmp/index.js";
import type { Qapi } from "../../qmp/index.js";
import type { MigrationAddress } from "./token.js";

/** An address that QEMU itself can reach, or wait on. */
export type DirectAddress = Exclude<MigrationAddress, { type: "tunnel" }>;

/** For `migrate` and `migrate-incoming`. */
export function uriOf(address: DirectAddress): string {
  if (address.type === "unix") return `unix:${address.path}`;
  const { host, port } = address;
  return `tcp:${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** For `nbd-server-start`. */
export function nbdListener(address: DirectAddress): Qapi.SocketAddressLegacy {
  if (address.type === "unix") return { type: "unix", data: { path: address.path } };
  return { type: "inet", data: { host: address.host, port: String(address.port) } };
}

/** For a block node of the driver `nbd`. */
export function nbdServer(address: DirectAddress): Qapi.SocketAddress {
  if (address.type === "unix") return { type: "unix", path: address.path };
  return { type: "inet", host: address.host, port: String(address.port) };
}

/** A file of the guest's directory as QEMU names it: it has the directory as the first descriptor that it inherits, whatever the length of its path, and whoever it runs as. */
export function pathInQemu(name: string): string {
  return `/proc/self/fd/3/${name}`;
}

/** Whether a path fits the address of a socket. */
export function fitsSocket(path: string): boolean {
  return Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES;
}

/**
 * Has QEMU wait on the first port of the range that it can have: others may hold some. QEMU from 9 on takes no second port after it was refused one, so it is asked for
 * those only that look free.
 * @throws MigrationPreCheckError when it gets none; what `wait` throws beside QEMU's refusals
 */
export async function waitOnPort(
  instance: InstanceRef,
  host: string,
  ports: { readonly first: number; readonly last: number },
  wait: (address: DirectAddress) => Promise<unknown>,
  isFree: (host: string, port: number) => boolean | Promise<boolean> = canListen,
): Promise<DirectAddress> {
  let refusal: QmpCommandError | undefined;
  for (let port = ports.first; port <= ports.last; port++) {
    if (!(await isFree(host, port))) continue;
    const address = { type: "inet", host, port } as const;
    try {
      await wait(address);
      return address;
    } catch (error) {
      if (!(error instanceof QmpCommandError)) throw error;
      refusal = error;
    }
  }
  throw new MigrationPreCheckError(`QEMU can wait on no port from ${ports.first} to ${ports.last}`, {
    instance,
    retryable: true,
    cause: refusal,
    ...(refusal === undefined ? {} : { detail: refusal.desc }),
  });
}

/** Whether somebody could listen there now. */
export function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
