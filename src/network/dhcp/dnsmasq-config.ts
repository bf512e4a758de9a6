/** What one network's dnsmasq is told: a configuration that a change of restarts it, and options that it reads again. Pure. */
import { InvalidArgumentError } from "../../core/index.js";
import { netmaskOf, networkOf, parsePrefix, sizeOf } from "../linux/addresses.js";
import type { HostNetwork, HostSubnet } from "../host/network-host.js";
import { NO_GATEWAY_TAG } from "./dhcp-host-file.js";

/** Files of one dnsmasq. */
export interface DnsmasqPaths {
  readonly config: string;
  readonly options: string;
  readonly dhcpHosts: string;
  readonly dnsHosts: string;
  /** Records that are the same for all networks of the host. */
  readonly commonDnsHosts: string;
  readonly leases: string;
  readonly pid: string;
  readonly log: string;
  readonly script: string;
}

export interface DnsmasqSettings {
  /** How long a lease is good for, in seconds. */
  readonly leaseSeconds: number;
  /** Servers that other names are asked of; empty: other names are not known. */
  readonly dnsForwarders: readonly string[];
  /** User that the server runs as. */
  readonly user: string;
}

/** Whether a subnet wants a server: addresses by DHCP, or prefixes by router advertisements. */
export function isServed({ hostAddress, dhcpStart, slaac }: HostSubnet): boolean {
  return hostAddress !== undefined && (dhcpStart !== undefined || slaac === true);
}

/** The configuration file. Where it differs from the one that a server runs with, the server has to be started anew. */
export function dnsmasqConfig(network: HostNetwork, paths: DnsmasqPaths, settings: DnsmasqSettings): string {
  const subnets = network.subnets.map((subnet, index) => ({ subnet, index })).filter(({ subnet }) => isServed(subnet));
  const hasVersion6 = subnets.some(({ subnet }) => parsePrefix(subnet.cidr).version === 6);
  const sizes = subnets.map(({ subnet }) => Math.min(sizeOf(parsePrefix(subnet.cidr)), 65_536));
  return lines([
    "strict-order",
    "bind-interfaces",
    `interface=${network.bridge}`,
    "except-interface=lo",
    "no-hosts",
    "no-resolv",
    "no-poll",
    "bogus-priv",
    "dhcp-authoritative",
    // Addresses are given out by somebody who knows which are free.
    "no-ping",
    "quiet-dhcp",
    "quiet-dhcp6",
    "quiet-ra",
    ...(network.domain === undefined ? [] : [`domain=${network.domain}`, `local=/${network.domain}/`]),
    ...settings.dnsForwarders.map((server) => `server=${server}`),
    ...subnets.map(({ subnet, index }) => `dhcp-range=${rangeOf(subnet, index, settings.leaseSeconds)}`),
    ...(hasVersion6 ? ["enable-ra"] : []),
    `dhcp-lease-max=${Math.max(
      1_000,
      sizes.reduce((sum, size) => sum + size, 0),
    )}`,
    `dhcp-hostsdir=${paths.dhcpHosts}`,
    `hostsdir=${paths.dnsHosts}`,
    `hostsdir=${paths.commonDnsHosts}`,
    `dhcp-optsfile=${paths.options}`,
    `dhcp-leasefile=${paths.leases}`,
    `dhcp-script=${paths.script}`,
    `pid-file=${paths.pid}`,
    `log-facility=${paths.log}`,
    `user=${settings.user}`,
  ]);
}

/** The options file: what dnsmasq reads again when it is told to. */
export function dnsmasqOptions(network: HostNetwork): string {
  const options = network.subnets.flatMap((subnet, index) => (isServed(subnet) ? optionsOf(subnet, index) : []));
  const mtu = network.mtu === undefined ? [] : [`option:mtu,${network.mtu}`];
  const withheld = options.length > 0 ? [`tag:${NO_GATEWAY_TAG},option:router`] : [];
  return lines([...options, ...withheld, ...mtu]);
}

/** Runs for each lease that begins or ends: one line more in a file, of words that can't be taken for others. */
export function leaseScript(networkId: string, spool: string): string {
  return lines([
    "#!/bin/sh",
    'case "$1" in add | del) ;; *) exit 0 ;; esac',
    "# What clients call themselves is theirs to choose.",
    "name=${4:-}",
    'case "$name" in *[!A-Za-z0-9._-]*) name= ;; esac',
    "client=${DNSMASQ_MAC:-$2}",
    'case "$client" in *[!0-9A-Fa-f:]*) client= ;; esac',
    `printf '%s %s %s %s %s %s\\n' "$1" ${networkId} "\${client:--}" "$3" "\${DNSMASQ_LEASE_EXPIRES:-0}" "\${name:--}" >> ${spool}`,
  ]);
}

/** @throws InvalidArgumentError for a path that a configuration or a script would read as something else. */
export function checkPlainPath(path: string, field: string): string {
  if (!/^(?:\/[A-Za-z0-9._-]+)+$/.test(path) || path.split("/").some((part) => part === "." || part === ".."))
    throw new InvalidArgumentError({
      field,
      value: path,
      expected: "an absolute path of letters, digits and . _ - alone",
    });
  return path;
}

function rangeOf(subnet: HostSubnet, index: number, leaseSeconds: number): string {
  const prefix = parsePrefix(subnet.cidr);
  const [tag, lease] = [`set:n${index}`, `${leaseSeconds}s`];
  if (prefix.version === 4)
    return [tag, subnet.dhcpStart ?? networkOf(prefix).split("/")[0], "static", netmaskOf(prefix.length), lease].join(
      ",",
    );
  const start = subnet.dhcpStart ?? networkOf(prefix).split("/")[0];
  const modes =
    subnet.dhcpStart === undefined ? ["ra-stateless"] : ["static", ...(subnet.slaac === true ? ["slaac"] : [])];
  return [tag, start, ...modes, String(prefix.length), lease].join(",");
}

function optionsOf(subnet: HostSubnet, index: number): readonly string[] {
  const { gateway, dnsServers = [] } = subnet;
  const tag = `tag:n${index}`;
  if (parsePrefix(subnet.cidr).version === 6) {
    const servers = dnsServers.filter((server) => server.includes(":")).map((server) => `[${server}]`);
    return servers.length === 0 ? [] : [`${tag},option6:dns-server,${servers.join(",")}`];
  }
  const servers = dnsServers.filter((server) => !server.includes(":"));
  return [
    // Without a value: no default gateway, where dnsmasq would name itself.
    gateway === undefined ? `${tag},option:router` : `${tag},tag:!${NO_GATEWAY_TAG},option:router,${gateway}`,
    ...(servers.length === 0 ? [] : [`${tag},option:dns-server,${servers.join(",")}`]),
  ];
}

function lines(list: readonly string[]): string {
  return list.map((line) => `${line}\n`).join("");
}
