/** What somebody who writes a driver gives the contract suite: a way to open the driver, and hands on its host. */
import type { ComputeDriver, FacetName, InstanceRef, InstanceSpec } from "../../driver/index.js";
import type { Vif } from "../../network/index.js";
import type { VolumeConnection } from "../../storage/index.js";

/** One driver on a host of its own, for one run of the suite. */
export interface ContractSubject {
  /** Not yet initialised. */
  readonly driver: ComputeDriver;

  /** A spec that the driver can run, with a root disk, its uuid and name never used before; `overrides` go over it. */
  spec(overrides?: Partial<InstanceSpec>): InstanceSpec;

  /** An image, other than that of `spec`, that a guest can be rescued with or rebuilt from. */
  readonly otherImageId: string;

  /** A new empty volume, reachable, attached nowhere. */
  volume(): Promise<VolumeConnection>;

  /** Where the volumes of {@link ContractSubject.volume} can't have files over them: one that can. */
  fileVolume?(): Promise<VolumeConnection>;

  /** The volume has grown to this size. Needed for the facet `volumeExtend`. */
  growVolume?(volume: VolumeConnection, sizeBytes: number): Promise<void>;

  /**
   * A new empty file over the present one of a volume, made as its volume service makes one, and how to reach it. Where files refer to each other by relative names, it does.
   * Needed for the facet `volumeSnapshots`.
   */
  overlay?(volume: VolumeConnection): Promise<VolumeConnection>;

  /** A port that can be plugged on the host, its id and MAC address never used before. */
  vif(): Vif;

  /** The path of an empty directory for files that the driver makes of guests; `residue` does not name what is in it. Needed for the facets `backups`, `memoryDump`, `templates`. */
  exportDirectory?(): Promise<string>;

  /**
   * A second host, whose driver is not yet initialised, for instances of the first to migrate to; `residue` names what is on it, too. Needed for the facet `liveMigration`.
   */
  destination?(): Promise<{ readonly driver: ComputeDriver; dispose(): Promise<void> }>;

  /**
   * Ends the driver's process as `SIGKILL` would, as far as the driver can tell, and gives a new one, not yet initialised, over the same host. Guests run on.
   * The suite works with the new one from then on.
   */
  restart(): Promise<ComputeDriver>;

  /** Kills the guest's hypervisor process behind the driver's back. */
  crashGuest(instance: InstanceRef): Promise<void>;

  /** Resolves when the guest's operating system is up: it obeys power buttons and lets go of devices. */
  waitUntilBooted(driver: ComputeDriver, instance: InstanceRef): Promise<void>;

  /** Names of everything on the host that any instance has left or has now: processes, interfaces, filters, files, records; in any form that compares. */
  residue(): Promise<readonly string[]>;

  /** Closes the driver and removes the host. */
  dispose(): Promise<void>;
}

export interface ContractHarness {
  /** Shown in the names of the tests. */
  readonly name: string;

  /**
   * Facets that the driver is known to have. A driver that has others, or lacks one of these, fails: so no capability goes untested unseen.
   * For each facet that is not named, the suite checks that its methods reject with `NotSupportedError`.
   */
  readonly facets: readonly FacetName[];

  open(): Promise<ContractSubject>;

  /** For one test, milliseconds; must cover booting a guest and taking it down. Default 120,000. */
  readonly testTimeoutMs?: number;

  /** Guests boot in no time worth mentioning: tests that spawn many may do so. Default false. */
  readonly cheapGuests?: boolean;

  /** The hypervisor counts what a guest reads and writes as a whole and tells it as the root disk's, as libvirt does of containers. Default false. */
  readonly wholeGuestDiskCounters?: boolean;
}
