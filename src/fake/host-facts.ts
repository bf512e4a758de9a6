/** What a host of the world is like: options, their defaults, and sizes to choose from. */
import type { CpuModel, NumaCell } from "../driver/index.js";
import type { GuestBehaviour } from "./guest-behaviour.js";
import type { StorageOptions } from "./storage.js";

export interface FakeHostOptions {
  /** Unique in the world. Default `host-1`, `host-2`… */
  readonly name?: string;
  /** Default `192.0.2.<number of the host>`. */
  readonly ipAddress?: string;
  /** Hardware threads. Default 1000. */
  readonly vcpus?: number;
  /** Default 800,000. */
  readonly memoryMiB?: number;
  /** What the host itself takes of it. Default 512. */
  readonly reservedMemoryMiB?: number;
  /** Guests' vCPUs for each hardware thread. Default 16. */
  readonly vcpuAllocationRatio?: number;
  /** Guests' memory for each MiB of the host's. Default 1. */
  readonly memoryAllocationRatio?: number;
  /** Name of a storage that other hosts may mount as well; default: one of the host's own. */
  readonly storage?: string;
  /** Of the storage, when this host is the first to mount it. */
  readonly storageOptions?: StorageOptions;
  /** Bridges that exist. Default: whichever a port names. */
  readonly bridges?: readonly string[];
  readonly cpu?: CpuModel;
  readonly numa?: readonly NumaCell[];
  /** Default 1,000,000 (1.0.0). */
  readonly hypervisorVersion?: number;
  /** How guests behave here, where they have no behaviour of their own. */
  readonly behaviour?: Partial<GuestBehaviour>;
  /** Rates of the simulated work, in MiB in a second of the world's clock; `Infinity` takes no time. */
  readonly rates?: Partial<HostRates>;
  /** Devices that a guest's machine takes. */
  readonly slots?: { readonly disks?: number; readonly nics?: number; readonly devices?: number };
}

export interface HostRates {
  /** Fetching and storing images. Default `Infinity`. */
  readonly imageMiBps: number;
  /** Copying disks. Default `Infinity`. */
  readonly diskMiBps: number;
  /** The link between hosts, for migrations. Default 1000. */
  readonly migrationMiBps: number;
}

export type HostSize = Required<Pick<FakeHostOptions, "vcpus" | "memoryMiB">> & Pick<FakeHostOptions, "storageOptions">;

const GIB = 1024 ** 3;
const SMALL_DISK: StorageOptions = { capacityBytes: 1028 * GIB, thick: true };

/** Nova's SmallFakeDriver: 2 vCPUs, 8 GiB. */
export const SMALL_HOST: HostSize = { vcpus: 2, memoryMiB: 8192, storageOptions: SMALL_DISK };
/** Nova's MediumFakeDriver: 10 vCPUs, 8 GiB. */
export const MEDIUM_HOST: HostSize = { vcpus: 10, memoryMiB: 8192, storageOptions: SMALL_DISK };
/** Takes as many guests as the process has memory for. */
export const BOUNDLESS_HOST: HostSize = {
  vcpus: 1_000_000_000,
  memoryMiB: 1_000_000_000_000,
  storageOptions: { capacityBytes: Number.MAX_SAFE_INTEGER },
};

export const DEFAULT_CPU: CpuModel = Object.freeze({
  arch: "x86_64",
  vendor: "Intel",
  model: "Nehalem",
  topology: Object.freeze({ sockets: 4, cores: 1, threads: 1 }),
  features: Object.freeze(["clflush", "pge", "sse4.2", "vmx"]),
});

export const DEFAULT_RATES: HostRates = Object.freeze({
  imageMiBps: Infinity,
  diskMiBps: Infinity,
  migrationMiBps: 1000,
});
