/** Asks a QEMU binary which CPUs it can give guests under an accelerator of this host. */
import { toNumber } from "../../qmp/index.js";
import type { QmpClient, Qapi } from "../../qmp/index.js";
import type { QemuBinary } from "../binary.js";
import type { Accelerator } from "../plan/command-line.js";
import type { CpuCapabilities } from "../plan/cpu.js";
import type { CapabilityProbeOptions } from "./capability-probe.js";
import { withThrowawayQemu } from "./throwaway-qemu.js";

/** Models that stand for whatever there is, and are no model to be named. */
const GENERIC = new Set(["host", "max", "base"]);

/**
 * Starts the binary without a machine, asks, and ends it.
 * @throws HypervisorUnavailableError when it does not answer; AbortedError, DeadlineExceededError
 */
export function probeCpus(
  binary: QemuBinary,
  accelerator: Accelerator,
  options: CapabilityProbeOptions,
): Promise<CpuCapabilities> {
  const args = ["-machine", "none", "-accel", accelerator, "-S"];
  return withThrowawayQemu(binary.path, args, { ...options, operation: "asking QEMU for its CPUs" }, ({ monitor }) =>
    ask(monitor),
  );
}

async function ask(monitor: QmpClient): Promise<CpuCapabilities> {
  const definitions = await monitor.execute("query-cpu-definitions");
  const models = definitions
    .map((definition) => ({ name: definition.name, runnable: isRunnable(definition) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const most = await expand(monitor, "max");
  const candidates = definitions.filter((definition) => isCandidate(definition));
  const nearest = await findNearest(monitor, candidates.map(({ name }) => name).sort(), most);
  return { models, features: [...most.features].sort(), ...(nearest === undefined ? {} : { nearest }) };
}

function isRunnable(definition: Qapi.CpuDefinitionInfo): boolean {
  return (definition["unavailable-features"] ?? []).length === 0;
}

/** Models whose features QEMU tells; of a model with versions, the versions. */
function isCandidate(definition: Qapi.CpuDefinitionInfo): boolean {
  return (
    !GENERIC.has(definition.name) &&
    definition["unavailable-features"] !== undefined &&
    definition["alias-of"] === undefined &&
    definition.deprecated !== true &&
    isRunnable(definition)
  );
}

interface Expansion {
  readonly features: ReadonlySet<string>;
  readonly vendor: unknown;
  readonly family: number;
}

/** Of the models of the host's own maker, if any run here, the one with most features; of equals, the youngest family, then the last by name. */
async function findNearest(monitor: QmpClient, names: readonly string[], most: Expansion): Promise<string | undefined> {
  const known = await Promise.all(names.map(async (name) => ({ name, ...(await expand(monitor, name)) })));
  const own = known.filter(({ vendor }) => vendor === most.vendor);
  const ranked = (own.length === 0 ? known : own).sort(
    (a, b) => a.features.size - b.features.size || a.family - b.family || (a.name < b.name ? -1 : 1),
  );
  return ranked.at(-1)?.name;
}

async function expand(monitor: QmpClient, name: string): Promise<Expansion> {
  const { model } = await monitor.execute("query-cpu-model-expansion", { type: "full", model: { name } });
  const props = (model.props ?? {}) as { readonly [name: string]: unknown };
  const on = Object.entries(props).filter(([, value]) => value === true);
  const { vendor, family } = props;
  return {
    features: new Set(on.map(([feature]) => feature)),
    vendor,
    family: typeof family === "number" || typeof family === "bigint" ? toNumber(family) : 0,
  };
}
