/** The face of src/kvm: guests on QEMU/KVM, run without a daemon. */
export { DEFAULT_QEMU_BINARY } from "./binary.js";
export { KvmDriver } from "./driver.js";
export type { KvmDriverOptions } from "./driver.js";
export { KVM_FEATURES, KvmHypervisor } from "./hypervisor.js";
export type { KvmPlan } from "./hypervisor.js";
export { ConsoleStream } from "./console/console-stream.js";
export type { TapOpener } from "./launch.js";
export type { AcceleratorInUse } from "./open-host.js";
export { ACCELERATOR_CHOICES } from "./options.js";
export type { AcceleratorChoice, KvmHypervisorOptions } from "./options.js";
export type { QemuCapabilities, QemuMachine } from "./plan/capabilities.js";
export type { Accelerator, CommandLine, InheritedDescriptor } from "./plan/command-line.js";
export { SlotSet } from "./plan/slots.js";
export type { SlotSetOptions } from "./plan/slots.js";
export { DEFAULT_KVM_TIMEOUTS } from "./timeouts.js";
export type { KvmTimeouts } from "./timeouts.js";
