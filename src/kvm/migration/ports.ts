/** Ports on which guests that come to this host will wait again when a connection has broken: nobody listens there until then, and none of our own guests may take them. */
import type { GuestCore } from "../guest-core.js";
import type { KvmHost } from "../host.js";

const claims = new WeakMap<KvmHost, Map<GuestCore, Set<number>>>();

/** False when another guest that comes has it. */
export function claimPort(core: GuestCore, port: number): boolean {
  const all = claims.get(core.host) ?? new Map<GuestCore, Set<number>>();
  claims.set(core.host, all);
  for (const [other, ports] of all) {
    if (!isComing(other)) all.delete(other);
    else if (other !== core && ports.has(port)) return false;
  }
  all.set(core, new Set([...(all.get(core) ?? []), port]));
  return true;
}

/** Claims what an address of QEMU's says. Without effect for one that has no port. */
export function claimAddress(core: GuestCore, uri: string | undefined): void {
  const port = /^tcp:.*:(\d+)$/.exec(uri ?? "")?.[1];
  if (port !== undefined) claimPort(core, Number(port));
}

function isComing({ state, inMemory }: GuestCore): boolean {
  return inMemory && state.migration?.role === "destination";
}
