/** Security groups and anti-spoofing on libvirt's network filters. */
import { check, systemClock } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import { SystemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { ConntrackTable } from "../conntrack.js";
import type { FilteredInstance } from "../firewall-driver.js";
import { TrackedFlowCutter } from "../policy/flow-cutter.js";
import { PolicyFirewallDriver } from "../policy/policy-firewall-driver.js";
import type { PolicyFirewallOptions } from "../policy/policy-firewall-driver.js";
import { LibvirtNwfilterHost } from "./libvirt-nwfilter-host.js";
import type { LibvirtSource } from "./libvirt-nwfilter-host.js";
import { checkPrefix, DEFAULT_PREFIX } from "./names.js";
import { NwfilterBackend } from "./nwfilter-backend.js";
import type { NwfilterHost } from "./nwfilter-host.js";

/** Milliseconds. */
export interface NwfilterTimeouts {
  /** Longest that libvirt may take for one call; it makes the rules of all ports that a filter is for before it answers. Default 300,000. */
  readonly callMs: number;
  /** Longest wait for a filter that is to be removed and still in use. Default 10,000. */
  readonly inUseMs: number;
}

export const DEFAULT_NWFILTER_TIMEOUTS: NwfilterTimeouts = { callMs: 300_000, inUseMs: 10_000 };

export interface NwfilterFirewallOptions extends PolicyFirewallOptions {
  /** The libvirtd of this host: a URI, or a connection, which stays its giver's to close. */
  readonly libvirt: LibvirtSource;
  /** What the names of all filters begin with; filters whose names begin so are this driver's alone. Default `hypervise`. */
  readonly prefix?: string;
  /**
   * Who has libvirt apply filters to ports. `driver` (default): this driver, for TAP devices that are not libvirt's. `domain`: domains whose interfaces refer to the filters, by
   * `nwfilterReference`.
   */
  readonly bindings?: "driver" | "domain";
  readonly timeouts?: Partial<NwfilterTimeouts>;
  /** Runs `conntrack`, `ip`, and for counters `iptables` and `ip6tables`. Default: the system's runner. */
  readonly commands?: CommandRunner;
  readonly clock?: Clock;
}

const checkBindings = check.oneOf(["driver", "domain"]);
const checkTimeout = check.integer({ min: 1 });

/**
 * Filters by libvirt: a filter for each port and each group, defined and redefined while guests run. For hosts whose filters are libvirt's to keep; the nftables driver is faster,
 * and its changes are transactions.
 */
export class NwfilterFirewallDriver extends PolicyFirewallDriver implements AsyncDisposable {
  readonly #host: NwfilterHost;

  /** Touches nothing. @throws InvalidArgumentError that names the bad option */
  constructor(options: NwfilterFirewallOptions) {
    const { libvirt, prefix, bindings, timeouts, commands = new SystemCommandRunner(), clock, ...rest } = options;
    const { callMs, inUseMs } = { ...DEFAULT_NWFILTER_TIMEOUTS, ...timeouts };
    const host = new LibvirtNwfilterHost(libvirt, checkTimeout(callMs, "options.timeouts.callMs"));
    const backend = new NwfilterBackend({
      host,
      commands,
      clock: clock ?? systemClock,
      prefix: checkPrefix(prefix ?? DEFAULT_PREFIX, "options.prefix"),
      bindings: checkBindings(bindings ?? "driver", "options.bindings"),
      inUseMs: checkTimeout(inUseMs, "options.timeouts.inUseMs"),
    });
    super(backend, new TrackedFlowCutter(new ConntrackTable(commands)), rest);
    this.#host = host;
  }

  /** The filters as libvirt's XML. */
  override async plan(instance: FilteredInstance): Promise<string> {
    await this.#host.open();
    return super.plan(instance);
  }

  /** Ends the connection that the driver has opened itself; filters stay in force. The next call opens another. */
  close(): Promise<void> {
    return this.#host.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
