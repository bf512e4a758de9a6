/** What a driver that only looks has of the facets. Pure. */
import type { DriverCapabilities } from "./capabilities.js";
import type { FacetName } from "./facets.js";

/** Facets none of whose methods changes anything. */
export const READING_FACETS = [
  "consoleOutput",
  "vncConsole",
  "spiceConsole",
  "serialConsole",
  "statistics",
  "hostCpuStatistics",
  "compareCpu",
] as const satisfies readonly FacetName[];

/** What is left of a driver's capabilities when it may change nothing. Pure. */
export function capabilitiesForReading({ facets, flags, features }: DriverCapabilities): DriverCapabilities {
  const kept: ReadonlySet<string> = new Set(READING_FACETS);
  const read = Object.fromEntries(Object.entries(facets).map(([name, has]) => [name, has && kept.has(name)]));
  const none = Object.fromEntries(Object.keys(flags).map((name) => [name, false]));
  return Object.freeze({
    facets: Object.freeze(read as DriverCapabilities["facets"]),
    flags: Object.freeze(none as unknown as DriverCapabilities["flags"]),
    features,
    readOnly: true,
  });
}
