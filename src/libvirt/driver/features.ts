/** What a libvirt hypervisor can do, by the kind of its guests and by what its host says of itself. */
import type { HypervisorFeature } from "../../driver/index.js";
import type { LibvirtHostFacts } from "./plan/index.js";

/** What every kind of guest has. */
const ALWAYS = ["redefine"] as const satisfies readonly HypervisorFeature[];

/** Of QEMU guests; each is implemented and tested with real guests. */
const QEMU = [
  "pause",
  "reset",
  "configDrive",
  "hotplugDisk",
  "hotplugNic",
] as const satisfies readonly HypervisorFeature[];

const LXC = ["pause"] as const satisfies readonly HypervisorFeature[];

export function featuresOf({ virtType }: LibvirtHostFacts): ReadonlySet<HypervisorFeature> {
  if (virtType === "kvm" || virtType === "qemu") return new Set([...ALWAYS, ...QEMU]);
  if (virtType === "lxc") return new Set([...ALWAYS, ...LXC]);
  return new Set(ALWAYS);
}
