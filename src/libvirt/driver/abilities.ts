/** Since which releases libvirt and QEMU can do what the driver builds on. All that is older than the least releases is there; what libvirt can say of itself is asked for. */
import type { HypervisorFeature } from "../../driver/index.js";

export interface LibvirtAbility {
  /** A feature of the hypervisor, from which facets follow; or a field of a spec or an option of the driver. */
  readonly name: HypervisorFeature | (string & {});
  /** First release of libvirt with all that is used for it. */
  readonly libvirt: string;
  /** First release of QEMU, where that matters. */
  readonly qemu?: string;
  /** libvirt's functions, flags or elements that decide. */
  readonly by: string;
  /** Where libvirt tells whether it is there: then that decides, and no version. */
  readonly probe?: string;
}

const FEATURES = {
  redefine: { libvirt: "1.2.19", by: "virDomainDefineXMLFlags, virDomainRename" },
  pause: { libvirt: "0.0.3", by: "virDomainSuspend" },
  reset: { libvirt: "0.9.7", by: "virDomainReset" },
  configDrive: { libvirt: "0.7.7", by: "a drive of the guest" },
  consoleLog: { libvirt: "1.3.3", qemu: "2.7.0", by: "<log> of a character device" },
  consoleStream: { libvirt: "0.8.6", by: "virDomainOpenConsole" },
  serialConsole: { libvirt: "0.8.6", by: "<serial>" },
  screenshot: { libvirt: "0.9.2", by: "virDomainScreenshot" },
  crashDump: { libvirt: "0.9.2", by: "virDomainInjectNMI" },
  guestAgent: { libvirt: "1.2.5", by: "virDomainQemuAgentCommand, virDomainSetTime" },
  statistics: { libvirt: "4.5.0", by: "virConnectGetAllDomainStats with NOWAIT" },
  hostCpuStatistics: { libvirt: "0.9.3", by: "virNodeGetCPUStats" },
  suspend: { libvirt: "0.8.0", by: "virDomainManagedSave" },
  hotplugDisk: { libvirt: "4.4.0", by: "virDomainDetachDeviceAlias" },
  hotplugNic: { libvirt: "4.4.0", by: "virDomainDetachDeviceAlias" },
  hotplugDevice: { libvirt: "4.4.0", by: "virDomainDetachDeviceAlias" },
  migration: { libvirt: "1.3.4", by: "VIR_MIGRATE_PARAM_PERSIST_XML" },
  compareCpu: { libvirt: "0.7.5", by: "virConnectCompareCPU" },
  hotplugVcpu: { libvirt: "0.8.5", by: "virDomainSetVcpusFlags" },
  hotplugMemory: { libvirt: "7.9.0", qemu: "5.1.0", by: "<memory model='virtio-mem'>" },
  balloon: { libvirt: "0.9.0", by: "virDomainSetMemoryFlags" },
  changeMedium: { libvirt: "0.9.11", by: "virDomainUpdateDeviceFlags, the event of the tray" },
  limitDisk: { libvirt: "0.9.8", by: "virDomainSetBlockIoTune" },
  resizeDisk: { libvirt: "0.9.8", by: "virDomainBlockResize" },
  mirrorDisk: { libvirt: "3.5.0", by: "VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB" },
  diskSnapshot: { libvirt: "0.10.2", by: "virDomainSnapshotCreateXML, virDomainBlockCommit" },
  liveDiskCopy: { libvirt: "3.5.0", by: "VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB" },
  backup: {
    libvirt: "7.6.0",
    qemu: "6.1.0",
    by: "virDomainBackupBegin, of what has changed too",
    probe: "features: backup",
  },
  dumpMemory: { libvirt: "1.2.3", by: "virDomainCoreDumpWithFormat" },
  vncConsole: { libvirt: "0.9.4", by: "<graphics type='vnc'> with <listen>", probe: "devices: graphics" },
  spiceConsole: { libvirt: "0.9.4", by: "<graphics type='spice'> with <listen>", probe: "devices: graphics" },
  consolePassword: { libvirt: "0.8.6", by: "virDomainUpdateDeviceFlags", probe: "devices: graphics" },
} as const satisfies Partial<Readonly<Record<HypervisorFeature, Omit<LibvirtAbility, "name">>>>;

/** Of specs and options; what is newer than the least releases is refused by the daemon where it is not there. */
const OPTIONS: readonly LibvirtAbility[] = [
  { name: "multiattach", libvirt: "3.10.0", by: "<shareable/> with locks" },
  { name: "encryption: luks", libvirt: "2.2.0", qemu: "2.6.0", by: "<encryption format='luks'>" },
  { name: "memory.source: file", libvirt: "4.0.0", qemu: "2.6.0", by: "<source type='file'>", probe: "memoryBacking" },
  { name: "perfEvents", libvirt: "2.0.0", by: "<perf>" },
  { name: "mediated devices", libvirt: "3.2.0", by: "<hostdev type='mdev'>", probe: "devices: hostdev" },
  { name: "postcopy", libvirt: "1.3.3", by: "virDomainMigrateStartPostCopy" },
  { name: "postcopy, taken up again", libvirt: "8.5.0", by: "VIR_MIGRATE_POSTCOPY_RESUME" },
  { name: "tpm", libvirt: "4.5.0", by: "<backend type='emulator'>", probe: "devices: tpm" },
  { name: "launchSecurity: sev", libvirt: "4.5.0", qemu: "2.12.0", by: "<launchSecurity>", probe: "features: sev" },
  { name: "virtiofs", libvirt: "6.2.0", qemu: "4.2.0", by: "<driver type='virtiofs'>", probe: "devices: filesystem" },
];

/** The published table: what needs which releases. */
export const LIBVIRT_ABILITIES: readonly LibvirtAbility[] = Object.freeze([
  ...Object.entries(FEATURES).map(([name, ability]) => ({ name, ...ability })),
  ...OPTIONS,
]);
