export type { AllowedAddressPair, FilteredInstance, FilteredPort, FirewallDriver } from "./firewall-driver.js";
export { NoopFirewallDriver } from "./noop-firewall-driver.js";
export type {
  IpProtocol,
  IpVersion,
  PacketMatch,
  ProviderRule,
  SecurityGroup,
  SecurityGroupMember,
  SecurityGroupRule,
} from "./security-group.js";
export { MemorySecurityGroupSource } from "./security-group-source.js";
export type { SecurityGroupSource } from "./security-group-source.js";
