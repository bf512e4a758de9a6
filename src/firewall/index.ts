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
export { FirewallError } from "./errors.js";
export { NftablesFirewallDriver } from "./nftables/nftables-firewall-driver.js";
export type { NftablesFirewallOptions } from "./nftables/nftables-firewall-driver.js";
export type { TrackingMode } from "./nftables/tracking-mode.js";
export { PolicyFirewallDriver } from "./policy/policy-firewall-driver.js";
export type { PolicyFirewallOptions } from "./policy/policy-firewall-driver.js";
export type { FilterCounter, PortCounters } from "./policy/firewall-backend.js";
