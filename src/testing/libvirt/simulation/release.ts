/** In what releases of libvirt, with the QEMU of the same Debian, differ where clients see it. */

/** Releases that a simulated host can be. */
export type SimulatedLibvirtRelease = "9.0" | "11.3";

export interface ReleaseTraits {
  /** As libvirt counts. */
  readonly version: number;
  readonly qemuVersion: bigint;
  /** Whether a guest that is stopped because it was saved or has moved is said to shut down first. */
  readonly tellsEveryShutdown: boolean;
  /** Whether a device that is changed in the definition makes that definition a new one, which is told. */
  readonly tellsDeviceChanges: boolean;
  /** Whether processors of the host are in clusters. */
  readonly hasClusters: boolean;
}

export const RELEASE_TRAITS: Readonly<Record<SimulatedLibvirtRelease, ReleaseTraits>> = {
  "9.0": {
    version: 9_000_000,
    qemuVersion: 7_002_000n,
    tellsEveryShutdown: false,
    tellsDeviceChanges: false,
    hasClusters: false,
  },
  "11.3": {
    version: 11_003_000,
    qemuVersion: 10_000_000n,
    tellsEveryShutdown: true,
    tellsDeviceChanges: true,
    hasClusters: true,
  },
};
