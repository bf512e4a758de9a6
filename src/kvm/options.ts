/** What a KVM hypervisor is given by its embedder. */
import { InvalidArgumentError, check } from "../core/index.js";
import type { Check } from "../core/index.js";
import type { RunAs } from "./access/credentials.js";
import { DEFAULT_QEMU_BINARY } from "./binary.js";
import type { TapOpener } from "./launch.js";
import { resolveMigrationOptions } from "./migration/options.js";
import type { KvmMigrationOptions, ResolvedMigrationOptions } from "./migration/options.js";
import { MAX_PORTS } from "./plan/topology.js";
import { DEFAULT_KVM_TIMEOUTS } from "./timeouts.js";
import type { KvmTimeouts } from "./timeouts.js";

export const ACCELERATOR_CHOICES = ["auto", "kvm", "tcg"] as const;
export type AcceleratorChoice = (typeof ACCELERATOR_CHOICES)[number];

export interface KvmHypervisorOptions {
  /** Absolute path of a directory that is this hypervisor's alone; made when missing. Everything that outlives the process is there. */
  readonly stateDirectory: string;
  /** Path, or name in `PATH`. Default `qemu-system-x86_64`. */
  readonly qemuBinary?: string;
  /** `auto` (default): KVM where guests really run under it, which is tried once, else TCG. */
  readonly accelerator?: AcceleratorChoice;
  /** QEMU's name of the guests' CPU. Default: `host` under KVM, `max` under TCG. */
  readonly cpuModel?: string;
  /** Root ports that a q35 guest has free for disks and NICs plugged while it runs: 0 to 64. Default 8. */
  readonly hotplugPorts?: number;
  /** What is kept of a guest's console output, in bytes: 64 KiB to 1 GiB. Default 2 MiB. */
  readonly consoleLogBytes?: number;
  /**
   * The user that QEMU runs as, by name or by numbers, without other groups; only root can. The guests' files are given to that user while they are
   * in memory, and taken back afterwards. Default: this process's own. Guests in memory keep the user they were started as.
   */
  readonly runAs?: RunAs;
  /** How guests go to other hosts and come from them. */
  readonly migration?: KvmMigrationOptions;
  readonly timeouts?: Partial<KvmTimeouts>;
  /** How TAPs are opened. Default: by `ioctl-napi` or `koffi`; where neither is installed, QEMU opens them by name. */
  readonly openTap?: TapOpener;
}

/** The options with every default filled in. */
export interface ResolvedKvmOptions extends Required<
  Omit<KvmHypervisorOptions, "openTap" | "cpuModel" | "timeouts" | "runAs" | "migration">
> {
  readonly cpuModel: string | undefined;
  readonly runAs: RunAs | undefined;
  readonly openTap: TapOpener | undefined;
  readonly migration: ResolvedMigrationOptions;
  readonly timeouts: KvmTimeouts;
}

const userName = check.string({ max: 32, pattern: /^[A-Za-z_][A-Za-z0-9_.-]*$/, expected: "the name of a user" });
const userNumbers = check.object({
  uid: check.integer({ min: 1, max: 4_294_967_294 }),
  gid: check.integer({ min: 0, max: 4_294_967_294 }),
});
const runAsCheck: Check<RunAs> = (value, path) => (typeof value === "string" ? userName : userNumbers)(value, path);

const shape = check.object({
  stateDirectory: check.absolutePath(),
  qemuBinary: check.withDefault(check.string({ max: 4095 }), DEFAULT_QEMU_BINARY),
  accelerator: check.withDefault(check.oneOf(ACCELERATOR_CHOICES), "auto" as const),
  cpuModel: check.optional(
    check.string({ max: 1024, charset: "ascii", pattern: /^[A-Za-z0-9]/, expected: "a CPU model of QEMU" }),
  ),
  hotplugPorts: check.withDefault(check.integer({ min: 0, max: MAX_PORTS / 2 }), 8),
  consoleLogBytes: check.withDefault(check.integer({ min: 65_536, max: 1_073_741_824 }), 2_097_152),
  runAs: check.optional(runAsCheck),
});

/** @throws InvalidArgumentError that names the bad option */
export function resolveOptions({
  timeouts = {},
  openTap,
  migration,
  ...options
}: KvmHypervisorOptions): ResolvedKvmOptions {
  const resolved = shape(options, "options");
  const bad = Object.entries(timeouts).find(
    ([, value]) => value !== undefined && !(Number.isFinite(value) && value > 0),
  );
  if (bad !== undefined)
    throw new InvalidArgumentError({
      field: `options.timeouts.${bad[0]}`,
      value: bad[1],
      expected: "milliseconds above 0",
    });
  const given = Object.fromEntries(Object.entries(timeouts).filter(([, value]) => value !== undefined));
  return {
    ...resolved,
    cpuModel: resolved.cpuModel,
    runAs: resolved.runAs,
    openTap,
    migration: resolveMigrationOptions(migration),
    timeouts: { ...DEFAULT_KVM_TIMEOUTS, ...given },
  };
}
