/** What a driver knows of its host: resources, versions, CPU. */

export interface CpuModel {
  /** `x86_64`, `aarch64`… */
  readonly arch: string;
  readonly vendor?: string;
  readonly model?: string;
  readonly topology: { readonly sockets: number; readonly cores: number; readonly threads: number };
  readonly features: readonly string[];
}

export interface NumaCell {
  readonly id: number;
  readonly cpus: readonly number[];
  readonly memoryMiB: number;
  /** Its huge pages: `reserved` ones are not for guests. Absent where the host has none, or does not say. */
  readonly hugepages?: readonly { readonly sizeKiB: number; readonly total: number; readonly reserved: number }[];
}

export interface HostFacts {
  readonly hostname: string;
  /** Address for management and migration. */
  readonly ipAddress: string;
  /** `qemu`, `kvm`, `fake`… */
  readonly hypervisorType: string;
  /** major * 1,000,000 + minor * 1,000 + micro. */
  readonly hypervisorVersion: number;
  /** Of what the hypervisor is driven by, such as libvirt, in the same form; absent where it is driven directly. */
  readonly libraryVersion?: number;
  readonly cpu: CpuModel;
  /** Hardware threads that guests may use. */
  readonly vcpus: number;
  readonly memoryMiB: number;
  /** Not available to new guests: what the host itself and running guests take. */
  readonly memoryUsedMiB: number;
  readonly uptimeMs: number;
  readonly numa?: readonly NumaCell[];
}

/** Nova's `get_host_cpu_stats`; nanoseconds since the host booted. */
export interface HostCpuStatistics {
  readonly kernelNs: bigint;
  readonly idleNs: bigint;
  readonly userNs: bigint;
  readonly ioWaitNs: bigint;
  readonly frequencyMHz: number;
}

/** A PCI function of the host, which `hardware.devices` of type `pciHost` can name. */
export interface HostPciDevice {
  /** `0000:3b:00.0`. */
  readonly address: string;
  readonly vendorId: number;
  readonly productId: number;
  readonly vendor?: string;
  readonly product?: string;
  /** Class, subclass and interface, 24 bits: 0x020000 for an Ethernet controller. */
  readonly classCode?: number;
  /** The host's driver that has it, `vfio-pci` while a guest can. */
  readonly driver?: string;
  readonly numaNode?: number;
  /** Functions of one group go to one guest, or none. */
  readonly iommuGroup?: number;
  /** Of a virtual function (SR-IOV): the address of the function that it belongs to. */
  readonly physicalFunction?: string;
  /** Of a function that can have virtual ones: the addresses of those there are. */
  readonly virtualFunctions?: readonly string[];
  readonly maxVirtualFunctions?: number;
}

/** Mediated devices of one type that a device of the host can be parted into: for `hardware.devices` of type `mediatedOfType`. */
export interface HostMediatedType {
  /** The kernel's name: `nvidia-35`. */
  readonly mdevType: string;
  /** The device of the host, `0000:3b:00.0`. */
  readonly parent: string;
  readonly name?: string;
  readonly deviceApi?: string;
  /** How many more can be made now; types of one device share it. */
  readonly available: number;
  readonly existing: number;
}

/** Devices of the host that guests can be given. */
export interface HostDevices {
  readonly pci: readonly HostPciDevice[];
  readonly mediatedTypes: readonly HostMediatedType[];
}

/** Nova's `get_available_resource`. "Used" amounts are used ones. */
export interface AvailableResource {
  readonly hostname: string;
  readonly hypervisorType: string;
  readonly hypervisorVersion: number;
  readonly libraryVersion?: number;
  readonly cpu: CpuModel;
  readonly vcpus: number;
  /** vCPUs of guests in memory. */
  readonly vcpusUsed: number;
  readonly memoryMiB: number;
  readonly memoryUsedMiB: number;
  readonly diskBytes: number;
  readonly diskUsedBytes: number;
  /** Free bytes less what disks may still grow by; may be negative. */
  readonly diskLeastAvailableBytes: number;
  readonly runningGuests: number;
  readonly numa?: readonly NumaCell[];
  /** With the uuid of the instance whose spec names it. Absent where the hypervisor lists none. */
  readonly pciDevices?: readonly (HostPciDevice & { readonly instanceUuid?: string })[];
  readonly mediatedTypes?: readonly HostMediatedType[];
}

/** One class of resource of Placement's inventory. */
export interface InventoryItem {
  readonly total: number;
  readonly reserved: number;
  readonly minUnit: number;
  readonly maxUnit: number;
  readonly stepSize: number;
  readonly allocationRatio: number;
}

/** Nova's `get_inventory`: `VCPU`, `MEMORY_MB`, `DISK_GB` and custom classes. */
export type Inventory = Readonly<Record<string, InventoryItem>>;
