/** What the demo plays on: a driver, what it is given, and how one sees what its guest sees. */
import type { AllFacets, AttachedDisk, ComputeDriver, InstanceSpec, Vif, VolumeConnection } from "hypervise";

/** What a guest is expected to notice. */
export type Sighting = "nic added" | "nic removed" | "disk added" | "disk removed";

/** The facets that the demo shows; every stage's driver has them. */
export type DemoDriver = ComputeDriver &
  Pick<
    AllFacets,
    | "attachVolume"
    | "detachVolume"
    | "listDisks"
    | "attachInterface"
    | "detachInterface"
    | "getConsoleOutput"
    | "getDiagnostics"
    | "getGuestInterfaces"
    | "takeScreenshot"
  >;

export interface Stage {
  readonly title: string;
  readonly driver: DemoDriver;
  readonly spec: InstanceSpec;
  /** The NIC and the volume that come and go while the guest runs. */
  readonly nic: Vif;
  readonly volume: VolumeConnection;

  /** After `initHost`: what there is to say of the host, and what the demo needs on it. */
  prepare(signal: AbortSignal): Promise<readonly string[]>;

  /** Begins to follow what the guest says. The instance is spawned. */
  follow(signal: AbortSignal): Promise<void>;

  /** Resolves, with the guest's own words, when its operating system is up. */
  guestIsUp(signal: AbortSignal): Promise<string>;

  /** Resolves, with the guest's own words, when its NIC of this number has an IPv4 address. */
  guestHasAddress(nic: number, signal: AbortSignal): Promise<string>;

  /** Resolves, with the guest's own words, when it has noticed what happened. */
  guestHasSeen(what: Sighting, signal: AbortSignal): Promise<string>;

  /** Has the guest write a line at the beginning of a disk, and reads it back from the volume on the host once the disk is detached. */
  writeInGuest(disk: AttachedDisk, text: string, signal: AbortSignal): Promise<void>;
  readOnHost(length: number): Promise<string>;

  /** Has the guest show a line on its display, where it can. */
  showOnDisplay(text: string, signal: AbortSignal): Promise<void>;

  /** Everything of an instance that may be on the host now, a line each. */
  leftovers(): Promise<readonly string[]>;
  /** Where `leftovers` looks, for people. */
  readonly searched: readonly string[];
  /** What stays on purpose, for people. */
  readonly kept: readonly string[];

  /** Stops following the guest, and removes what the stage itself has made. The driver is closed already. */
  dispose(): Promise<void>;
}
