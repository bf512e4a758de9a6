/** Security groups and anti-spoofing on nftables. */
import { check } from "../../core/index.js";
import { SystemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { ConntrackTable } from "../conntrack.js";
import { TrackedFlowCutter } from "../policy/flow-cutter.js";
import { PolicyFirewallDriver } from "../policy/policy-firewall-driver.js";
import type { PolicyFirewallOptions } from "../policy/policy-firewall-driver.js";
import { NftablesBackend } from "./nftables-backend.js";
import type { TrackingMode } from "./tracking-mode.js";

export interface NftablesFirewallOptions extends PolicyFirewallOptions {
  /** Name of the tables, in the families `bridge` and `inet`, which are this driver's alone: 1 to 64 characters of `[a-z0-9_]`. Default `hypervise`. */
  readonly table?: string;
  /** Where flows are tracked; default: `inet` where br_netfilter is loaded, else `bridge` where the kernel can. */
  readonly mode?: TrackingMode;
  /** Longest that one transaction may take, in milliseconds. Default 60,000. */
  readonly timeoutMs?: number;
  /** Runs `nft`, `conntrack` and `ip`. Default: the system's runner. */
  readonly commands?: CommandRunner;
}

const checkTable = check.string({ max: 64, pattern: /^[a-z][a-z0-9_]*$/, expected: "a name of a-z, 0-9 and _" });
const checkTimeout = check.integer({ min: 1 });

/**
 * Filters by two tables of its own, and touches no other: stateless anti-spoofing in the bridge family, and groups where connections are tracked. A change is one transaction of the size
 * of the change; what the kernel holds is never read back. Wants `nft` and `conntrack`.
 */
export class NftablesFirewallDriver extends PolicyFirewallDriver {
  readonly #backend: NftablesBackend;

  /** Touches nothing. @throws InvalidArgumentError that names the bad option */
  constructor(options: NftablesFirewallOptions) {
    const { table, mode, timeoutMs, commands = new SystemCommandRunner(), ...rest } = options;
    const backend = new NftablesBackend({
      commands,
      table: checkTable(table ?? "hypervise", "options.table"),
      ...(mode === undefined ? {} : { mode }),
      timeoutMs: checkTimeout(timeoutMs ?? 60_000, "options.timeoutMs"),
    });
    super(backend, new TrackedFlowCutter(new ConntrackTable(commands)), rest);
    this.#backend = backend;
  }

  /** Where flows are tracked; undefined before the first call that puts filters in force. */
  get mode(): TrackingMode | undefined {
    return this.#backend.mode;
  }
}
