/** What a network host of Linux is made with. */
import { check } from "../../core/index.js";
import type { StateStore } from "../../core/index.js";
import { checkLinkName, systemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { checkPlainPath } from "../dhcp/dnsmasq-config.js";
import type { DhcpTimeouts } from "../dhcp/dhcp-timeouts.js";
import { defaultDhcpTimeouts } from "../dhcp/dhcp-timeouts.js";
import { inNetworkNamespace } from "../linux/namespace-commands.js";
import { normalAddress } from "../linux/addresses.js";
import { checkTableName } from "../linux/nat-script.js";
import type { MetadataTarget, PacketRules } from "../linux/packet-rules.js";

export interface LinuxNetworkHostOptions {
  /** Name of the host, as records name it. */
  readonly name: string;
  /**
   * Where the host's records and its DHCP servers' files are: an absolute path of letters, digits and `. _ -` alone, for
   * one process at a time. The DHCP servers' user has to be able to reach it.
   */
  readonly directory: string;
  /** Default: {@link systemCommandRunner}. */
  readonly commands?: CommandRunner;
  /** Network namespace, as `ip netns` names it, that is worked in; default: this process's own. */
  readonly netns?: string;
  /** Default: files below `directory`. */
  readonly store?: StateStore;
  /** Device that leads outside: what guests send there gets the host's address, and floating addresses are bound to it. */
  readonly publicInterface?: string;
  /** Source address of what guests send outside; default: that of `publicInterface`. */
  readonly routingSourceAddress?: string;
  /** Guests' CIDRs beside those of the networks that are set up here. */
  readonly fixedRanges?: readonly string[];
  /** CIDRs that guests are seen at by their own addresses (Nova's `dmz_cidr`). */
  readonly snatExceptions?: readonly string[];
  /** Where requests to 169.254.169.254 go; a loopback address means this host. Default: nowhere. */
  readonly metadata?: MetadataTarget;
  /** True: routed networks of this host reach each other. Default false: by floating addresses alone. */
  readonly routeBetweenNetworks?: boolean;
  /** True: guests reach DHCP, DNS, echo and metadata of this host and nothing else. Default false. */
  readonly restrictHostAccess?: boolean;
  /** True: sets `net.ipv4.ip_forward`. Default false: what comes in by a routed network's bridge and by the public device is forwarded, and nothing else. */
  readonly globalForwarding?: boolean;
  /** True: sets `net.ipv6.conf.all.forwarding`, which IPv6 has no other switch for. Default false. */
  readonly forwardIpv6?: boolean;
  /** Name of our nftables tables. Default `hypervise_net`. */
  readonly tableName?: string;
  /** Default 86400. */
  readonly leaseSeconds?: number;
  /** Servers that names of others are asked of. Default: none. */
  readonly dnsForwarders?: readonly string[];
  /** User that DHCP servers run as once they have what root alone may have. Default `nobody`. */
  readonly dnsmasqUser?: string;
  /** How often neighbours are told of a floating address that comes here; 0: not. Default 3. */
  readonly gratuitousArps?: number;
  /** Longest time that one command may take, in milliseconds. Default 30000. */
  readonly commandTimeoutMs?: number;
  readonly timeouts?: Partial<DhcpTimeouts>;
}

/** The options, checked and with their defaults. */
export interface LinuxNetworkHostSettings {
  readonly name: string;
  readonly directory: string;
  /** Of the namespace that is worked in. */
  readonly commands: CommandRunner;
  readonly publicInterface?: string;
  readonly rules: Omit<PacketRules, "networks" | "floating">;
  readonly globalForwarding: boolean;
  readonly forwardIpv6: boolean;
  readonly tableName: string;
  readonly leaseSeconds: number;
  readonly dnsForwarders: readonly string[];
  readonly dnsmasqUser: string;
  readonly gratuitousArps: number;
  readonly commandTimeoutMs: number;
  readonly timeouts: DhcpTimeouts;
}

const cidrs = check.array(check.cidr(), { max: 1024 });
const addresses = check.array(check.ipAddress(), { max: 16 });

/** @throws InvalidArgumentError for an option out of its range. */
export function settingsOf(options: LinuxNetworkHostOptions): LinuxNetworkHostSettings {
  const { publicInterface, routingSourceAddress, metadata } = options;
  if (publicInterface !== undefined) checkLinkName(publicInterface, "publicInterface");
  const wait = check.integer({ min: 1, max: 3_600_000 });
  const timeouts = { ...defaultDhcpTimeouts, ...options.timeouts };
  for (const [name, value] of Object.entries(timeouts)) wait(value, `timeouts.${name}`);
  const rules: Omit<PacketRules, "networks" | "floating"> = {
    fixedRanges: cidrs(options.fixedRanges ?? [], "fixedRanges"),
    snatExceptions: cidrs(options.snatExceptions ?? [], "snatExceptions"),
    routeBetweenNetworks: options.routeBetweenNetworks ?? false,
    restrictHostAccess: options.restrictHostAccess ?? false,
    ...(publicInterface === undefined ? {} : { publicInterface }),
    ...(routingSourceAddress === undefined
      ? {}
      : { routingSourceAddress: normalAddress(routingSourceAddress, "routingSourceAddress") }),
    ...(metadata === undefined
      ? {}
      : {
          metadata: {
            address: check.ipAddress({ version: 4 })(metadata.address, "metadata.address"),
            port: check.integer({ min: 1, max: 65_535 })(metadata.port, "metadata.port"),
          },
        }),
  };
  return {
    name: check.string({ max: 255 })(options.name, "name"),
    directory: checkPlainPath(options.directory, "directory"),
    commands: inNetworkNamespace(options.commands ?? systemCommandRunner, options.netns),
    ...(publicInterface === undefined ? {} : { publicInterface }),
    rules,
    globalForwarding: options.globalForwarding ?? false,
    forwardIpv6: options.forwardIpv6 ?? false,
    tableName: checkTableName(options.tableName ?? "hypervise_net"),
    leaseSeconds: check.integer({ min: 120, max: 31_536_000 })(options.leaseSeconds ?? 86_400, "leaseSeconds"),
    dnsForwarders: addresses(options.dnsForwarders ?? [], "dnsForwarders"),
    dnsmasqUser: check.string({ max: 32, pattern: /^[a-z_][a-z0-9_-]*$/, expected: "a user's name" })(
      options.dnsmasqUser ?? "nobody",
      "dnsmasqUser",
    ),
    gratuitousArps: check.integer({ min: 0, max: 100 })(options.gratuitousArps ?? 3, "gratuitousArps"),
    commandTimeoutMs: wait(options.commandTimeoutMs ?? 30_000, "commandTimeoutMs"),
    timeouts,
  };
}
