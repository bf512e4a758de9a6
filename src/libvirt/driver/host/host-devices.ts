/** Devices of the host that guests can be given. */
import type { CommonOptions } from "../../../core/index.js";
import type { HostDevices } from "../../../driver/index.js";
import { asDriverErrors } from "../errors.js";
import { runsQemu } from "../host.js";
import type { LibvirtHost } from "../host.js";
import { readPciDevices } from "./pci-devices.js";

/** PCI functions by libvirt's word, mediated devices by the kernel's. */
export function readHostDevices(host: LibvirtHost, { signal, deadline }: CommonOptions): Promise<HostDevices> {
  const limits = { signal, deadlineMs: deadline ?? host.timeouts.callMs };
  return asDriverErrors({ operation: "hostDevices" }, async () => {
    const [pci, mediatedTypes] = await Promise.all([
      readPciDevices(host, limits),
      runsQemu(host) ? host.mediated.types() : [],
    ]);
    return { pci, mediatedTypes };
  });
}
