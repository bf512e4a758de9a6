/** Asks a QEMU binary by QMP what it can do. */
import type { Clock } from "../../core/index.js";
import { HypervisorUnavailableError } from "../../driver/index.js";
import { toNumber } from "../../qmp/index.js";
import type { Qapi, QmpClient } from "../../qmp/index.js";
import type { Credentials } from "../access/credentials.js";
import type { QemuBinary } from "../binary.js";
import { OLDEST_VERSION, TARGETS, isOldEnough, versionText } from "../plan/capabilities.js";
import type { QemuCapabilities, QemuMachine } from "../plan/capabilities.js";
import { PLANNED_DEVICES } from "../plan/device-properties.js";
import { withThrowawayQemu } from "./throwaway-qemu.js";

export interface CapabilityProbeOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Whom the binary runs as; default: this process's own user. */
  readonly user?: Credentials | undefined;
}

/**
 * Starts the binary without a machine, asks, and ends it.
 * @throws HypervisorUnavailableError when it is no QEMU, is too old, or runs guests of another architecture than ours
 */
export async function probeCapabilities(
  binary: QemuBinary,
  options: CapabilityProbeOptions,
): Promise<QemuCapabilities> {
  const { clock, timeoutMs, signal, user } = options;
  // Each build has one of both; the second is tried where the first is missing.
  const args = ["-machine", "none", "-accel", "tcg", "-accel", "kvm", "-S"];
  const capabilities = await withThrowawayQemu(
    binary.path,
    args,
    { clock, timeoutMs, signal, user, operation: "asking QEMU what it can do" },
    ({ monitor }) => ask(monitor),
  );
  if (!isOldEnough(capabilities)) {
    throw new HypervisorUnavailableError(
      `QEMU ${versionText(capabilities)} is too old: ${OLDEST_VERSION.major}.${OLDEST_VERSION.minor} is needed`,
      {
        retryable: false,
        detail: binary.path,
      },
    );
  }
  if (!TARGETS.some((target) => target === capabilities.target)) {
    throw new HypervisorUnavailableError(
      `this QEMU runs ${capabilities.target} guests; ${TARGETS.join(" or ")} is needed`,
      {
        retryable: false,
        detail: binary.path,
      },
    );
  }
  return capabilities;
}

/** Types that back ends of devices are kinds of. */
const BACK_ENDS = ["user-creatable", "chardev", "tpm-backend"] as const;

async function ask(monitor: QmpClient): Promise<QemuCapabilities> {
  const [version, target, machines, commands, devices, accelerators, schema, migration, ...backEnds] =
    await Promise.all([
      monitor.execute("query-version"),
      monitor.execute("query-target"),
      monitor.execute("query-machines"),
      monitor.execute("query-commands"),
      monitor.execute("qom-list-types", { implements: "device", abstract: false }),
      monitor.execute("qom-list-types", { implements: "accel", abstract: false }),
      monitor.execute("query-qmp-schema"),
      monitor.execute("query-migrate-capabilities"),
      ...BACK_ENDS.map((type) => monitor.execute("qom-list-types", { implements: type, abstract: false })),
    ]);
  const { major, minor, micro } = version.qemu;
  return {
    version: { major: toNumber(major), minor: toNumber(minor), micro: toNumber(micro) },
    package: version.package,
    target: target.arch,
    machines: machines.map(readMachine),
    commands: commands.map(({ name }) => name).sort(),
    devices: devices.map(({ name }) => name).sort(),
    objects: [...new Set(backEnds.flat().map(({ name }) => name))].sort(),
    accelerators: accelerators.map(({ name }) => name.replace(/-accel$/, "")).sort(),
    screenshotFormats: screenshotFormats(schema),
    deviceProperties: await propertiesOf(monitor, devices),
    migrationCapabilities: migration.map(({ capability }) => capability).sort(),
  };
}

async function propertiesOf(
  monitor: QmpClient,
  devices: readonly Qapi.ObjectTypeInfo[],
): Promise<QemuCapabilities["deviceProperties"]> {
  const planned = devices.map(({ name }) => name).filter((name) => PLANNED_DEVICES.has(name));
  const listed = planned.sort().map(async (typename) => {
    const properties = await monitor.execute("device-list-properties", { typename });
    return [typename, properties.map(({ name }) => name).sort()] as const;
  });
  return Object.fromEntries(await Promise.all(listed));
}

function readMachine(machine: Qapi.MachineInfo): QemuMachine {
  const { name, alias } = machine;
  return { name, cpuMax: toNumber(machine["cpu-max"]), ...(alias === undefined ? {} : { alias }) };
}

/** The formats of `screendump`: its `format` argument came with PNG, which a build may lack. */
function screenshotFormats(schema: readonly Qapi.SchemaInfo[]): string[] {
  const byName = new Map(schema.map((entry) => [entry.name, entry]));
  const command = byName.get("screendump");
  const args = command?.["meta-type"] === "command" ? byName.get(command["arg-type"]) : undefined;
  const format = args?.["meta-type"] === "object" ? args.members.find(({ name }) => name === "format") : undefined;
  const type = format === undefined ? undefined : byName.get(format.type);
  return type?.["meta-type"] === "enum" ? type.members.map(({ name }) => name) : ["ppm"];
}
