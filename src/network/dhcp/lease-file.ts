/** Reads dnsmasq's file of leases. Pure. */
import type { DhcpLease } from "../host/network-host.js";

/** A lease with what ends it. */
export interface StoredLease extends DhcpLease {
  /** Of DHCPv6 alone. */
  readonly version6?: { readonly serverId: string; readonly clientId: string; readonly iaid: string };
}

/**
 * Lines are `expiry MAC address name client-id`, and after `duid SERVER` of DHCPv6: `expiry IAID address name DUID`, without a
 * MAC address, which the DUID may hold. What is no such line is passed over.
 */
export function parseLeases(text: string, macOf: (address: string) => string | undefined): readonly StoredLease[] {
  let serverId: string | undefined;
  return text.split("\n").flatMap((line): readonly StoredLease[] => {
    const [expiry = "", second = "", address, name, clientId = ""] = line.split(" ");
    if (expiry === "duid") {
      serverId = second;
      return [];
    }
    if (!/^\d+$/.test(expiry) || address === undefined) return [];
    const seconds = Number(expiry);
    const common = {
      address,
      ...(seconds === 0 ? {} : { expiresAt: seconds * 1000 }),
      ...(name === undefined || name === "*" ? {} : { hostname: name }),
    };
    if (serverId === undefined) return [{ macAddress: second, ...common }];
    const macAddress = macOf(address) ?? macOfDuid(clientId);
    if (macAddress === undefined) return [];
    return [{ macAddress, ...common, version6: { serverId, clientId, iaid: second.replace(/^T/, "") } }];
  });
}

/** The Ethernet address in a client's DUID of the kinds LLT and LL (RFC 8415, section 11). */
export function macOfDuid(duid: string): string | undefined {
  return /^00:01:00:01:(?:[0-9a-f]{2}:){4}((?:[0-9a-f]{2}:){5}[0-9a-f]{2})$|^00:03:00:01:((?:[0-9a-f]{2}:){5}[0-9a-f]{2})$/
    .exec(duid.toLowerCase())
    ?.slice(1)
    .find((mac) => mac !== undefined);
}
