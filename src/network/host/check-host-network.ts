/** Checks of what a host is asked to have: nothing of it reaches a command, a table or a configuration before. */
import { check, InvalidArgumentError } from "../../core/index.js";
import type { Check } from "../../core/index.js";
import { checkLinkName } from "../../host/index.js";
import { contains, normalAddress } from "../linux/addresses.js";
import type { FloatingForward, HostNetwork, HostSubnet } from "./network-host.js";

const linkName: Check<string> = (value, path) => {
  checkLinkName(value as string, path);
  return value as string;
};

/** 1 to 64 characters of `[A-Za-z0-9._-]`, beginning with a letter or digit. */
export const networkIdCheck = check.string({ max: 64, charset: "name" });

const address = check.map(check.ipAddress(), (text, path) => normalAddress(text, path));

const subnetCheck = check.object({
  cidr: check.cidr(),
  gateway: check.optional(address),
  hostAddress: check.optional(address),
  dnsServers: check.optional(check.array(address, { max: 16 })),
  dhcpStart: check.optional(address),
  slaac: check.optional(check.boolean()),
});

const networkCheck = check.object({
  id: networkIdCheck,
  bridge: linkName,
  parentInterface: check.optional(linkName),
  vlan: check.optional(check.integer({ min: 1, max: 4094 })),
  mtu: check.optional(check.integer({ min: 68, max: 65_535 })),
  subnets: check.array(subnetCheck, { max: 32 }),
  domain: check.optional(check.hostname()),
  sharedAddress: check.optional(check.boolean()),
  routed: check.optional(check.boolean()),
  vpn: check.optional(
    check.object({
      publicAddress: address,
      publicPort: check.integer({ min: 1, max: 65_535 }),
      privateAddress: address,
    }),
  ),
});

const forwardCheck = check.object({
  floatingAddress: address,
  fixedAddress: address,
  networkId: networkIdCheck,
  publicInterface: check.optional(linkName),
});

/** @throws InvalidArgumentError naming the field below `path` */
export function checkHostNetwork(value: HostNetwork, path = "network"): HostNetwork {
  const network = networkCheck(value, path);
  network.subnets.forEach((subnet, index) => checkSubnet(subnet, `${path}.subnets[${index}]`));
  if (network.vlan !== undefined && network.parentInterface === undefined)
    throw wrong(`${path}.vlan`, network.vlan, "no VLAN without a parentInterface");
  if (network.parentInterface === network.bridge)
    throw wrong(`${path}.parentInterface`, network.parentInterface, "another name than the bridge's");
  return network;
}

/** @throws InvalidArgumentError naming the field below `path` */
export function checkFloatingForward(value: FloatingForward, path = "forward"): FloatingForward {
  const forward = forwardCheck(value, path);
  if (forward.floatingAddress.includes(":") !== forward.fixedAddress.includes(":"))
    throw wrong(`${path}.fixedAddress`, forward.fixedAddress, "an address of the same version as the floating one");
  return forward;
}

function checkSubnet(subnet: HostSubnet, path: string): void {
  for (const name of ["gateway", "hostAddress", "dhcpStart"] as const) {
    const value = subnet[name];
    if (value === undefined) continue;
    const isLinkLocal = name === "gateway" && value.startsWith("fe80:");
    if (!isLinkLocal && !contains(subnet.cidr, value))
      throw wrong(`${path}.${name}`, value, `an address of ${subnet.cidr}`);
  }
  const isVersion6 = subnet.cidr.includes(":");
  if (subnet.slaac === true && !isVersion6) throw wrong(`${path}.slaac`, true, "nothing for IPv4");
  if (subnet.slaac === true && !subnet.cidr.endsWith("/64"))
    throw wrong(`${path}.cidr`, subnet.cidr, "a /64, where guests make their own addresses");
}

function wrong(field: string, value: unknown, expected: string): InvalidArgumentError {
  return new InvalidArgumentError({ field, value, expected });
}
