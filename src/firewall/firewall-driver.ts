/** What a firewall does for instances, in the terms of Nova's `FirewallDriver`. */

/** A port that filters are for: what a firewall needs of a VIF. */
export interface FilteredPort {
  readonly id: string;
  readonly macAddress: string;
  /** The interface on the host that carries the port's traffic; absent where there is none to filter (user-mode network). */
  readonly deviceName?: string;
  /** The bridge that the interface is a port of; absent where it is none. */
  readonly bridge?: string;
  /** Addresses that the port may use. Absent: not known, and so not checked. */
  readonly fixedIps?: readonly { readonly address: string }[];
  /** Further addresses that it may use, such as a virtual router's. */
  readonly allowedAddressPairs?: readonly AllowedAddressPair[];
  readonly subnets?: readonly { readonly cidr: string; readonly gateway?: string; readonly dhcpServer?: string }[];
  /** Ids. Absent: no groups apply, only anti-spoofing. Empty: nothing is permitted. */
  readonly securityGroups?: readonly string[];
  /** False: neither anti-spoofing nor security groups. Default true. */
  readonly portSecurityEnabled?: boolean;
}

/** As Neutron has it. */
export interface AllowedAddressPair {
  /** Address or CIDR. */
  readonly address: string;
  /** Default: the port's. */
  readonly macAddress?: string;
}

/** The instance that filters belong to. */
export interface FilteredInstance {
  readonly uuid: string;
  readonly name: string;
  readonly ports: readonly FilteredPort[];
}

export interface FirewallDriver {
  /** Sets up what must hold before the guest's first packet: anti-spoofing, DHCP. Idempotent. On failure nothing is left. */
  setupBasicFiltering(instance: FilteredInstance): Promise<void>;
  /** Makes the instance's own filters ready, not yet in force. Idempotent. On failure nothing is left. */
  prepareInstanceFilter(instance: FilteredInstance): Promise<void>;
  /** Puts the prepared filters in force; resolves when they are. */
  applyInstanceFilter(instance: FilteredInstance): Promise<void>;
  /** Removes all filters of an instance; success when there are none. */
  unfilterInstance(instance: { readonly uuid: string; readonly name: string }): Promise<void>;
  /** True when the instance's filters are in force. */
  instanceFilterExists(instance: { readonly uuid: string; readonly name: string }): Promise<boolean>;
  /** The rules of a security group have changed. Resolves when the new ones are in force. */
  refreshSecurityGroupRules(securityGroupId: string): Promise<void>;
  /** The members of a security group have changed. Resolves when groups that refer to it are in force with the new members. */
  refreshSecurityGroupMembers(securityGroupId: string): Promise<void>;
  /** The rules of one instance have changed. */
  refreshInstanceSecurityRules(instance: FilteredInstance): Promise<void>;
  /** Rules that hold for all instances of the host have changed. */
  refreshProviderFirewallRules(): Promise<void>;
  /** Collects changes until `filterDeferApplyOff`. Calls nest. */
  filterDeferApplyOn(): void;
  /** Applies what was collected since `filterDeferApplyOn`. */
  filterDeferApplyOff(): Promise<void>;
}
