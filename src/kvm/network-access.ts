/** How TAPs and vhost can be reached on this host. */
import { closeSync, constants, openSync } from "node:fs";
import { TUNGETIFF, TapError, defaultFdSender, defaultIoctl, openTap } from "../host/index.js";
import { VHOST_DEVICE } from "./launch.js";
import type { TapOpener } from "./launch.js";
import type { NetworkAccess } from "./plan/command-line.js";

export interface HostNetworkAccess {
  /** For a QEMU that is being started. */
  readonly launch: NetworkAccess;
  /** For one that runs: descriptors have to be sent to it. */
  readonly hotplug: NetworkAccess;
}

/** What the host allows and what is installed. QEMU opens TAPs by name where this process can't hand them over. */
export function probeNetworkAccess(opener: TapOpener | undefined, vhostDevice = VHOST_DEVICE): HostNetworkAccess {
  const opens = opener !== undefined || works(defaultIoctl);
  const sends = canSendDescriptors();
  const vhost = canOpen(vhostDevice);
  return {
    launch: { taps: opens ? "descriptors" : "name", vhost: vhost && opens },
    hotplug: { taps: opens && sends ? "descriptors" : "name", vhost: vhost && opens && sends },
  };
}

/** A flag of TAPs that stay when nobody has them open, from linux/if_tun.h. */
const IFF_PERSIST = 0x0800;
const IFREQ_BYTES = 40;
const IFREQ_FLAGS = 16;

/**
 * Opens an interface that the plugger has made, with virtio-net headers where the kernel has them. One that is not there would be made by opening
 * it, on no bridge: that is refused.
 */
export const openExistingTap: TapOpener = (name, queues) => {
  const tap = openTap({ name, queues, exclusive: false });
  const request = Buffer.alloc(IFREQ_BYTES);
  defaultIoctl()(tap.fds[0] as number, TUNGETIFF, request);
  if ((request.readUInt16LE(IFREQ_FLAGS) & IFF_PERSIST) !== 0) return tap.fds;
  tap.close();
  throw new TapError({ operation: "opening the TAP of a NIC", tap: name, cause: { code: "ENODEV" } });
};

/** Whether this process can hand descriptors to a QEMU that runs. */
export function canSendDescriptors(): boolean {
  return works(defaultFdSender);
}

function works(load: () => unknown): boolean {
  try {
    load();
    return true;
  } catch {
    return false;
  }
}

function canOpen(path: string): boolean {
  try {
    closeSync(openSync(path, constants.O_RDWR));
    return true;
  } catch {
    return false;
  }
}
