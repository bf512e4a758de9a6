/** The face of src/kvm: guests on QEMU/KVM, run without a daemon. */
export { DEFAULT_QEMU_BINARY } from "./binary.js";
export { KvmDriver } from "./driver.js";
export type { KvmDriverOptions } from "./driver.js";
export { KVM_FEATURES, KvmHypervisor } from "./hypervisor.js";
export type { KvmPlan } from "./hypervisor.js";
export { ConsoleStream } from "../host/index.js";
export { generateDeviceId, getDriveUri, getExistingDevice, getFreeSlot } from "./ganeti/device-ids.js";
export type { DeviceIdEra, IdentifiedDevice } from "./ganeti/device-ids.js";
export { importGanetiRuntime } from "./ganeti/import-definition.js";
export type { GanetiImport, GanetiImportOptions } from "./ganeti/import-definition.js";
export type { NicImport } from "./ganeti/import-devices.js";
export type { GanetiDeviceKind, RuntimeDisk, RuntimeParts } from "./ganeti/runtime-text.js";
export { analyzeSerializedRuntime } from "./ganeti/runtime.js";
export type { GanetiAddress, GanetiDisk, GanetiNic, GanetiRuntime } from "./ganeti/runtime.js";
export { upgradeSerializedRuntime } from "./ganeti/upgrade-runtime.js";
export type { UpgradeOptions } from "./ganeti/upgrade-runtime.js";
export type { Credentials, RunAs } from "./access/credentials.js";
export type { TapOpener } from "./launch.js";
export { COMPRESSIONS, COPY_MODES, MIGRATION_TRANSPORTS } from "./migration/options.js";
export type {
  Compression,
  CopyMode,
  KvmMigrationOptions,
  MigrationChannel,
  MigrationTls,
  MigrationTransport,
  TunnelDescriptor,
  TunnelOpener,
  TunnelRequest,
} from "./migration/options.js";
export type { AcceleratorInUse } from "./open-host.js";
export { ACCELERATOR_CHOICES } from "./options.js";
export type { AcceleratorChoice, KvmHypervisorOptions } from "./options.js";
export type { QemuCapabilities, QemuMachine } from "./plan/capabilities.js";
export type { Accelerator, CommandLine, InheritedDescriptor } from "./plan/command-line.js";
export type { KvmPlatform } from "./plan/extra-arguments.js";
export type { HelperPlan, HelperSocket } from "./plan/helper-plan.js";
export { SlotSet } from "./plan/slots.js";
export type { SlotSetOptions } from "./plan/slots.js";
export { DEFAULT_KVM_TIMEOUTS } from "./timeouts.js";
export type { KvmTimeouts } from "./timeouts.js";
