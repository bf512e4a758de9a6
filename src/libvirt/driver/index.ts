/** The face of src/libvirt/driver: guests on a libvirt daemon. */
export { LibvirtDriver } from "./driver.js";
export type { LibvirtDriverOptions } from "./driver.js";
export { LibvirtHypervisor } from "./hypervisor.js";
export type { LibvirtPlan } from "./hypervisor.js";
export type { LibvirtDomainDefaults, LibvirtHypervisorOptions } from "./options.js";
export { DEFAULT_LIBVIRT_HYPERVISOR_TIMEOUTS } from "./timeouts.js";
export type { LibvirtHypervisorTimeouts } from "./timeouts.js";
