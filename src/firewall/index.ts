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
export type { FilterCounter, FirewallBackend, PortCounters } from "./policy/firewall-backend.js";
export type { FlowCutter } from "./policy/flow-cutter.js";
export type { AddressRange } from "./policy/address-range.js";
export type { CompiledMatch, CompiledProviderRule, CompiledRule, GroupPolicy } from "./policy/group-policy.js";
export type { PolicyChange, PolicyState } from "./policy/policy-state.js";
export type { CompileOptions, FilterPhase, InstancePolicy, PortAddresses, PortPolicy } from "./policy/port-policy.js";
export { DEFAULT_NWFILTER_TIMEOUTS, NwfilterFirewallDriver } from "./nwfilter/nwfilter-firewall-driver.js";
export type { NwfilterFirewallOptions, NwfilterTimeouts } from "./nwfilter/nwfilter-firewall-driver.js";
export type { LibvirtSource } from "./nwfilter/libvirt-nwfilter-host.js";
export { nwfilterReference } from "./nwfilter/nwfilter-reference.js";
export { IptablesFirewallDriver } from "./iptables/iptables-firewall-driver.js";
export type { IptablesFirewallOptions } from "./iptables/iptables-firewall-driver.js";
export { IptablesManager } from "./iptables/iptables-manager.js";
export type { IptablesManagerOptions, IptablesTables } from "./iptables/iptables-manager.js";
export { IptablesRule } from "./iptables/iptables-rule.js";
export type { RulePlace } from "./iptables/iptables-rule.js";
export { IptablesTable } from "./iptables/iptables-table.js";
export type { TableName } from "./iptables/iptables-table.js";
export type { LiveRule, LiveTable } from "./iptables/saved-table.js";
export type { IptablesVariant } from "./iptables/xtables.js";
