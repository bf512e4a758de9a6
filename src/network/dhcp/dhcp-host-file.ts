/** One guest's NIC as a file of dnsmasq's hosts directories: for DHCP and for DNS. Pure. */
import { check, StateCorruptError } from "../../core/index.js";
import { versionOf } from "../linux/addresses.js";
import type { DhcpHost } from "../host/network-host.js";

/** Tag of NICs that are to learn no default gateway. */
export const NO_GATEWAY_TAG = "nogateway";

/** Checks what a DHCP server is told of a NIC; addresses and names become lower case. @throws InvalidArgumentError */
export const dhcpHostCheck = check.object({
  macAddress: check.mac(),
  addresses: check.array(check.ipAddress(), { max: 64 }),
  hostname: check.optional(
    check.string({
      max: 63,
      pattern: /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/,
      expected: "1 to 63 of a-z 0-9 -, neither beginning nor ending with a hyphen",
    }),
  ),
  vifId: check.uuid(),
  defaultGateway: check.optional(check.boolean()),
});

/** `fa163e000001`, from a MAC address. */
export function hostFileName(macAddress: string): string {
  return macAddress.toLowerCase().replaceAll(":", "");
}

/** A line for dnsmasq, under a comment that {@link parseDhcpHost} reads. */
export function formatDhcpHost(host: DhcpHost): string {
  return `# ${JSON.stringify(host)}\n${dhcpHostLine(host)}\n`;
}

/** What dnsmasq is told of a NIC. */
export function dhcpHostLine({ macAddress, addresses, hostname, defaultGateway }: DhcpHost): string {
  return [
    macAddress,
    ...(defaultGateway === false ? [`set:${NO_GATEWAY_TAG}`] : []),
    // dnsmasq takes one IPv4 address of a NIC, and any number of others.
    ...addresses.filter((address) => versionOf(address) === 4).slice(0, 1),
    ...addresses.filter((address) => versionOf(address) === 6).map((address) => `[${address}]`),
    ...(hostname === undefined ? [] : [hostname]),
  ].join(",");
}

/** Makes dnsmasq deaf to a NIC at once, where the end of its file would be noticed late. */
export function formatIgnoredHost(macAddress: string): string {
  return `${macAddress},ignore\n`;
}

/** What {@link formatDhcpHost} wrote; undefined for the file of a NIC that is ignored. @throws StateCorruptError */
export function parseDhcpHost(text: string): DhcpHost | undefined {
  if (!text.startsWith("# ")) return undefined;
  try {
    return dhcpHostCheck(JSON.parse(text.slice(2, text.indexOf("\n"))), "host");
  } catch (error) {
    throw new StateCorruptError("a DHCP host's file can't be read", { cause: error });
  }
}

/** A and AAAA records of a NIC, and with them their PTR records; empty when it has no name. */
export function formatDnsHost({ addresses, hostname }: DhcpHost, domain: string | undefined): string {
  if (hostname === undefined) return "";
  const names = domain === undefined ? hostname : `${hostname}.${domain} ${hostname}`;
  return addresses.map((address) => `${address} ${names}\n`).join("");
}
