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
