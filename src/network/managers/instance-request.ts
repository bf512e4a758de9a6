/** What instances ask of a manager, checked at the door. */
import { check } from "../../core/index.js";

/** A network that is asked for. */
export interface RequestedNetwork {
  readonly networkId: string;
  /** Default: the next free address. */
  readonly fixedIp?: string;
  /** Default: one that nobody has. */
  readonly macAddress?: string;
  /** Device role tag. */
  readonly tag?: string;
}

/** The arguments of `allocateForInstance`. */
export interface InstanceNetworkRequest {
  readonly instanceUuid: string;
  readonly projectId: string;
  /** The host that the instance will run on. */
  readonly host: string;
  /** DNS label: its name in DHCP and, with a domain, in DNS. */
  readonly hostname?: string;
  /** In the order of the VIFs. Default: the project's networks, or all. */
  readonly networks?: readonly RequestedNetwork[];
  readonly securityGroups?: readonly string[];
  /** The instance is its network's VPN server: it gets the address that is kept for that. */
  readonly vpn?: boolean;
}

const project = check.string({ max: 64, charset: "name" });

export const checkRequestedNetworks = check.array(
  check.object({
    networkId: check.string({ max: 64, charset: "name" }),
    fixedIp: check.optional(check.ipAddress()),
    macAddress: check.optional(check.mac()),
    tag: check.optional(
      check.string({ max: 60, pattern: /^[^,/]+$/, expected: "1 to 60 characters without ',' and '/'" }),
    ),
  }),
  { min: 1, max: 64 },
);

export const checkInstanceRequest = check.object({
  instanceUuid: check.uuid(),
  projectId: project,
  host: check.string({ max: 255, charset: "name" }),
  hostname: check.optional(
    check.string({
      max: 63,
      pattern: /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/,
      expected: "a DNS label of 1 to 63 characters a-z, 0-9 and '-'",
    }),
  ),
  networks: check.optional(checkRequestedNetworks),
  securityGroups: check.optional(check.array(check.string({ max: 64, charset: "name" }), { max: 64 })),
  vpn: check.withDefault(check.boolean(), false),
});

export type CheckedInstanceRequest = ReturnType<typeof checkInstanceRequest>;
