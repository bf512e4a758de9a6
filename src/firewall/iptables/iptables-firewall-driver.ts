/** Security groups on iptables and ipset, for hosts whose rules are kept there. */
import { check } from "../../core/index.js";
import { SystemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { ConntrackTable } from "../conntrack.js";
import { TrackedFlowCutter } from "../policy/flow-cutter.js";
import { PolicyFirewallDriver } from "../policy/policy-firewall-driver.js";
import type { PolicyFirewallOptions } from "../policy/policy-firewall-driver.js";
import { IptablesBackend } from "./iptables-backend.js";
import { MAX_FILTER_OWNER } from "./names.js";
import type { IptablesVariant } from "./xtables.js";

export interface IptablesFirewallOptions extends PolicyFirewallOptions {
  /**
   * Begins the names of all chains and sets, and is the name of the bridge table: 1 to 12 characters of `[a-z0-9_]`. Nobody else on the host may have it, no `IptablesManager` either.
   * Default `hypervise_sg`.
   */
  readonly owner?: string;
  /** Default: what the host calls `iptables`. */
  readonly variant?: IptablesVariant;
  /** Longest that another program's hold of the tables (the xtables lock) is waited for, in seconds. Default 60. */
  readonly lockWaitSeconds?: number;
  /** Longest that one transaction may take beyond that, in milliseconds. Default 60,000. */
  readonly timeoutMs?: number;
  /** Runs the programs of iptables, `ipset`, `nft`, `conntrack` and `ip`. Default: the system's runner. */
  readonly commands?: CommandRunner;
}

const checkOwner = check.string({
  max: MAX_FILTER_OWNER,
  pattern: /^[a-z][a-z0-9_]*$/,
  expected: `1 to ${MAX_FILTER_OWNER} characters of a-z, 0-9 and _`,
});

/**
 * Groups in chains of its own in the table `filter`, members in ipsets, and anti-spoofing in a bridge table of nftables, which sees ARP and every other frame too. What it permits to a port
 * is accepted for the whole host, as Nova has it; what ports send beyond the host's bridges is left to the rules of others. Wants iptables, ipset, `nft`, `conntrack` and br_netfilter.
 */
export class IptablesFirewallDriver extends PolicyFirewallDriver {
  /** Touches nothing. @throws InvalidArgumentError that names the bad option */
  constructor(options: IptablesFirewallOptions) {
    const { owner, variant, lockWaitSeconds, timeoutMs, commands = new SystemCommandRunner(), ...rest } = options;
    const backend = new IptablesBackend({
      commands,
      owner: checkOwner(owner ?? "hypervise_sg", "options.owner"),
      ...(variant === undefined ? {} : { variant }),
      lockWaitSeconds: lockWaitSeconds ?? 60,
      timeoutMs: timeoutMs ?? 60_000,
    });
    super(backend, new TrackedFlowCutter(new ConntrackTable(commands)), rest);
  }
}
