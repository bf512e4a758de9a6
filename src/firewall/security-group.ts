/** Security groups: what may reach a port, and what it may send, in the terms of Nova and Neutron. */

/** By name, or by number as IANA assigns it. */
export type IpProtocol = "tcp" | "udp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "udplite" | number;

export type IpVersion = 4 | 6;

/**
 * What is matched of a packet. `tcp`, `udp`, `sctp`, `dccp` and `udplite` may have ports, `icmp` and `icmpv6` types and codes. In IPv6 `icmp` means `icmpv6`.
 */
export interface PacketMatch {
  readonly ipVersion: IpVersion;
  /** Absent: any. */
  readonly protocol?: IpProtocol;
  /** Destination ports, 0 to 65535, both included; one absent: the same as the other; both absent: any. */
  readonly portFrom?: number;
  readonly portTo?: number;
  /** 0 to 255; absent: any. */
  readonly icmpType?: number;
  /** 0 to 255; with `icmpType` only; absent: any. */
  readonly icmpCode?: number;
}

/** A permission. What no rule of a port's groups permits is dropped; replies to what was permitted pass. */
export interface SecurityGroupRule extends PacketMatch {
  /** `ingress`: to the port. `egress`: from it. */
  readonly direction: "ingress" | "egress";
  /** The other end: a network, or the members of a security group. Absent: anybody. */
  readonly remote?: { readonly cidr: string } | { readonly groupId: string };
}

export interface SecurityGroup {
  /** 1 to 255 characters of `[A-Za-z0-9._-]`. */
  readonly id: string;
  /** At most 4096. */
  readonly rules: readonly SecurityGroupRule[];
  /** `any` (default, as Nova has it): the port may send anything, whatever the rules. `rules`: only what an egress rule permits. */
  readonly egress?: "any" | "rules";
}

/** Drops traffic to every port of the host, before any permission (Nova's provider firewall rules). */
export interface ProviderRule extends PacketMatch {
  /** Where the traffic comes from. */
  readonly cidr: string;
}

/** A port that belongs to a group, anywhere in the cloud: the addresses that it sends from. */
export interface SecurityGroupMember {
  /** IPv4 and IPv6 addresses or networks, allowed address pairs included. */
  readonly addresses: readonly string[];
}
