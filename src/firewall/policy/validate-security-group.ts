/** Checks of what a source tells of security groups, and of the ports that filters are for. */
import { check, InvalidArgumentError } from "../../core/index.js";
import type { Check } from "../../core/index.js";
import type { FilteredInstance, FilteredPort } from "../firewall-driver.js";
import type {
  PacketMatch,
  ProviderRule,
  SecurityGroup,
  SecurityGroupMember,
  SecurityGroupRule,
} from "../security-group.js";
import { protocolNumber } from "./ip-protocol.js";

const address = check.ipAddress();
const cidr = check.cidr();
export const addressOrCidr: Check<string> = (value, path) =>
  typeof value === "string" && value.includes("/") ? cidr(value, path) : address(value, path);

export const groupIdCheck: Check<string> = check.string({
  min: 1,
  max: 255,
  pattern: /^[A-Za-z0-9._-]+$/,
  expected: "1 to 255 characters of A-Z a-z 0-9 . _ -",
});

const MAX_RULES = 4_096;
const MAX_ADDRESSES = 4_096;
const port = check.integer({ min: 0, max: 65_535 });
const byte = check.integer({ min: 0, max: 255 });
const names = check.oneOf(["tcp", "udp", "icmp", "icmpv6", "sctp", "dccp", "udplite"]);
const protocol: Check<NonNullable<PacketMatch["protocol"]>> = (value, path) =>
  typeof value === "number" ? byte(value, path) : names(value, path);

const match = {
  ipVersion: check.oneOf([4, 6]),
  protocol: check.optional(protocol),
  portFrom: check.optional(port),
  portTo: check.optional(port),
  icmpType: check.optional(byte),
  icmpCode: check.optional(byte),
};

const remote: Check<NonNullable<SecurityGroupRule["remote"]>> = (value, path) =>
  typeof value === "object" && value !== null && "groupId" in value ? byGroup(value, path) : byCidr(value, path);
const byGroup = check.object({ groupId: groupIdCheck });
const byCidr = check.object({ cidr: addressOrCidr });

const ruleShape = check.object({
  ...match,
  direction: check.oneOf(["ingress", "egress"]),
  remote: check.optional(remote),
});
const providerShape = check.object({ ...match, cidr: addressOrCidr });

const ruleCheck: Check<SecurityGroupRule> = (value, path) => {
  const rule = ruleShape(value, path);
  checkMatch(rule, path);
  if (rule.remote !== undefined && "cidr" in rule.remote)
    checkVersion(rule.remote.cidr, rule.ipVersion, `${path}.remote.cidr`);
  return rule;
};

const groupShape: Check<SecurityGroup> = check.object({
  id: groupIdCheck,
  rules: check.array(ruleCheck, { max: MAX_RULES }),
  egress: check.optional(check.oneOf(["any", "rules"])),
});

/** @throws InvalidArgumentError naming the bad field below `path`; also when the source answers with another group */
export function checkSecurityGroup(value: unknown, id: string, path = "securityGroup"): SecurityGroup {
  const group = groupShape(value, path);
  if (group.id === id) return group;
  throw new InvalidArgumentError({ field: `${path}.id`, value: group.id, expected: id });
}

export const checkMembers: Check<readonly SecurityGroupMember[]> = check.array(
  check.object({ addresses: check.array(addressOrCidr, { max: MAX_ADDRESSES }) }),
  { max: 1_000_000 },
);

export const checkProviderRules: Check<readonly ProviderRule[]> = check.array(
  (value: unknown, path: string): ProviderRule => {
    const rule = providerShape(value, path);
    checkMatch(rule, path);
    checkVersion(rule.cidr, rule.ipVersion, `${path}.cidr`);
    return rule;
  },
  { max: MAX_RULES },
);

const interfaceName = check.string({
  max: 15,
  pattern: /^[A-Za-z0-9._][A-Za-z0-9._-]*$/,
  expected: "the name of a network interface",
});

const portCheck: Check<FilteredPort> = check.object({
  id: check.string({ max: 255, charset: "name" }),
  macAddress: check.mac(),
  deviceName: check.optional(interfaceName),
  bridge: check.optional(interfaceName),
  fixedIps: check.optional(check.array(fixedIp(), { max: 1_024 })),
  allowedAddressPairs: check.optional(
    check.array(check.object({ address: addressOrCidr, macAddress: check.optional(check.mac()) }), { max: 1_024 }),
  ),
  subnets: check.optional(check.array(subnet(), { max: 64 })),
  securityGroups: check.optional(check.array(groupIdCheck, { max: 256 })),
  portSecurityEnabled: check.optional(check.boolean()),
});

/** A frozen copy. @throws InvalidArgumentError naming the bad field */
export const checkFilteredInstance: Check<FilteredInstance> = check.object({
  uuid: check.uuid(),
  name: check.string({ max: 255, charset: "name" }),
  ports: check.array(portCheck, { max: 256 }),
});

/** What a port has beside its address is for others. */
function fixedIp(): Check<{ readonly address: string }> {
  const holder = check.guarded(
    (value): value is { readonly address?: unknown } => typeof value === "object" && value !== null,
    "an object with an address",
  );
  return (value, path) => ({ address: address(holder(value, path).address, `${path}.address`) });
}

function subnet(): Check<NonNullable<FilteredPort["subnets"]>[number]> {
  const holder = check.guarded(
    (value): value is { readonly cidr?: unknown; readonly gateway?: unknown; readonly dhcpServer?: unknown } =>
      typeof value === "object" && value !== null,
    "a subnet",
  );
  return (value, path) => {
    const given = holder(value, path);
    const part = (name: "gateway" | "dhcpServer"): object =>
      given[name] === undefined ? {} : { [name]: address(given[name], `${path}.${name}`) };
    return { cidr: cidr(given.cidr, `${path}.cidr`), ...part("gateway"), ...part("dhcpServer") };
  };
}

function checkMatch(rule: PacketMatch, path: string): void {
  const number = rule.protocol === undefined ? undefined : protocolNumber(rule.protocol, rule.ipVersion);
  const { portFrom, portTo, icmpType, icmpCode } = rule;
  if ((portFrom ?? portTo) !== undefined && !hasPorts(number))
    throw invalid(
      path,
      portFrom === undefined ? "portTo" : "portFrom",
      portFrom ?? portTo,
      "none: the protocol has no ports",
    );
  if ((portFrom ?? 0) > (portTo ?? 65_535)) throw invalid(path, "portTo", portTo, `at least portFrom, ${portFrom}`);
  if (icmpType !== undefined && !isIcmp(number))
    throw invalid(path, "icmpType", icmpType, "none: the protocol is not ICMP");
  if (icmpCode !== undefined && icmpType === undefined)
    throw invalid(path, "icmpCode", icmpCode, "none without icmpType");
}

function checkVersion(prefix: string, version: 4 | 6, field: string): void {
  if (prefix.includes(":") !== (version === 6))
    throw new InvalidArgumentError({ field, value: prefix, expected: `an IPv${version} address or CIDR` });
}

function hasPorts(number: number | undefined): boolean {
  return number !== undefined && [6, 17, 33, 132, 136].includes(number);
}

function isIcmp(number: number | undefined): boolean {
  return number === 1 || number === 58;
}

function invalid(path: string, field: string, value: unknown, expected: string): InvalidArgumentError {
  return new InvalidArgumentError({ field: `${path}.${field}`, value, expected });
}
