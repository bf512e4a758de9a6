/** Numbers of protocols, as IANA assigns them. */
import type { IpProtocol, IpVersion } from "../security-group.js";

const NUMBERS = { icmp: 1, tcp: 6, udp: 17, dccp: 33, icmpv6: 58, sctp: 132, udplite: 136 } as const;

/** In IPv6 `icmp` (or 1) means ICMPv6, and in IPv4 `icmpv6` is what it is: a protocol that nobody speaks there. */
export function protocolNumber(protocol: IpProtocol, version: IpVersion): number {
  const number = typeof protocol === "number" ? protocol : NUMBERS[protocol];
  return version === 6 && number === NUMBERS.icmp ? NUMBERS.icmpv6 : number;
}
