/** Whether a guest with one CPU can run on another. */
import type { CpuComparison, CpuModel } from "../driver/index.js";

/** Pure. The host has to have every feature of the guest's CPU. */
export function compareCpuModels(host: CpuModel, guest: CpuModel): CpuComparison {
  if (host.arch !== guest.arch || (guest.vendor !== undefined && guest.vendor !== host.vendor)) return "incompatible";
  const has = new Set(host.features);
  if (!guest.features.every((feature) => has.has(feature))) return "incompatible";
  return new Set(guest.features).size === has.size ? "identical" : "superset";
}
