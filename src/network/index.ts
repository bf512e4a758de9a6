/** The face of src/network: VIFs, and how a host plugs them. */
export { deviceNameOf, tapNameOf, vlanBridgeName, vlanDeviceName } from "./device-names.js";
export { NetworkHostError, VifPlugError } from "./errors.js";
export { LinuxBridgePlugger } from "./linux-bridge-plugger.js";
export type { LinuxBridgePluggerOptions } from "./linux-bridge-plugger.js";
export { DEFAULT_MAC_PREFIX, createMacGenerator } from "./mac-address.js";
export type { MacGeneratorOptions } from "./mac-address.js";
export { UserNetworkPlugger } from "./user-network-plugger.js";
export { MACVTAP_MODES, NIC_MODELS } from "./vif.js";
export type {
  BandwidthLimit,
  BridgeVif,
  FixedIp,
  MacvtapMode,
  MacvtapVif,
  NicModel,
  OvsVif,
  Subnet,
  TapVif,
  UserVif,
  VhostUserVif,
  Vif,
  VifBackend,
  VifBandwidth,
  VifNetwork,
  VifPlugger,
  VifType,
} from "./vif.js";
export { BandwidthPlugger } from "./plug/bandwidth-plugger.js";
export type { BandwidthPluggerOptions } from "./plug/bandwidth-plugger.js";
export { MacvtapPlugger } from "./plug/macvtap-plugger.js";
export type { MacvtapPluggerOptions } from "./plug/macvtap-plugger.js";
export { OvsPlugger } from "./plug/ovs-plugger.js";
export type { OvsPluggerOptions } from "./plug/ovs-plugger.js";
export { TapPlugger } from "./plug/tap-plugger.js";
export type { TapPluggerOptions } from "./plug/tap-plugger.js";
export { VhostUserPlugger } from "./plug/vhost-user-plugger.js";
export { VifPluggerByType } from "./plug/vif-plugger-by-type.js";
export type { VifPluggers } from "./plug/vif-plugger-by-type.js";
export { TrafficLimits } from "./linux/traffic-limits.js";
export type { DeviceLimits, ReceiveMethod, TrafficLimitsOptions } from "./linux/traffic-limits.js";
export type { DriverNetwork, InterfaceDriver, InterfaceDriverOptions } from "./linux/interface-driver.js";
export { LinuxBridgeInterfaceDriver } from "./linux/linux-bridge-interface-driver.js";
export type { LinuxBridgeInterfaceDriverOptions } from "./linux/linux-bridge-interface-driver.js";
export { LinuxOvsInterfaceDriver } from "./linux/linux-ovs-interface-driver.js";
export type { LinuxOvsInterfaceDriverOptions } from "./linux/linux-ovs-interface-driver.js";
export type { DeviceSettings, Moved, TapPort } from "./linux/plan-devices.js";
export { planBridge, planJoin, planTapPort, planVeth, planVlan } from "./linux/plan-devices.js";
export {
  METADATA_ADDRESS,
  planGatewayAddresses,
  planMetadataAddress,
  planNoPublicAddress,
  planPublicAddress,
} from "./linux/plan-addresses.js";
export { NetworkPlan } from "./linux/network-plan.js";
export { NetworkExecutor } from "./linux/network-executor.js";
export type { NetworkExecutorOptions } from "./linux/network-executor.js";
export type { HostAddress, HostLink, HostRoute, HostState } from "./linux/host-state.js";
export type { NetworkStep, StepAddress, StepSettings } from "./linux/network-step.js";
export type { MetadataTarget } from "./linux/packet-rules.js";
export type { DhcpTimeouts } from "./dhcp/dhcp-timeouts.js";
export { defaultDhcpTimeouts } from "./dhcp/dhcp-timeouts.js";
export { LinuxNetworkHost } from "./host/linux-network-host.js";
export type { LinuxNetworkHostOptions } from "./host/linux-network-host-options.js";
export { DnsmasqDnsDriver } from "./dns/dnsmasq-dns-driver.js";
export type { DnsmasqDnsDriverOptions } from "./dns/dnsmasq-dns-driver.js";
export type {
  DeleteRecord,
  ExpectRecord,
  FindRecords,
  FoundRecord,
  LimitRecords,
  NetworkStore,
  NetworkStoreOptions,
  PutRecord,
  StoreChange,
  StoredRecord,
} from "./store/network-store.js";
export { PackageMissingError, StoreConflictError, StoreUnavailableError } from "./store/store-errors.js";
export type { StoreConflict } from "./store/store-errors.js";
export { MemoryNetworkStore } from "./store/memory-network-store.js";
export { FileNetworkStore } from "./store/file/file-network-store.js";
export type { FileNetworkStoreOptions } from "./store/file/file-network-store.js";
export { DEFAULT_POSTGRES_TIMEOUTS, PostgresNetworkStore } from "./store/postgres/postgres-network-store.js";
export type { PostgresNetworkStoreOptions, PostgresTimeouts } from "./store/postgres/postgres-network-store.js";
export type { LoadPg, PgClient, PgPool, PgPoolSettings, PgQuery, PgResult } from "./store/postgres/pg-package.js";
export type {
  DhcpHost,
  DhcpLease,
  DhcpLeaseEvent,
  FloatingForward,
  HostNetwork,
  HostSubnet,
  NetworkHost,
  NetworkHostOptions,
} from "./host/network-host.js";
export type { IpVersion } from "./ipam/address.js";
export { AddressPool } from "./ipam/address-pool.js";
export {
  AddressInUseError,
  AddressNotFoundError,
  FloatingPoolNotFoundError,
  ForbiddenError,
  NetworkConflictError,
  NetworkHostUnreachableError,
  NetworkInUseError,
  NetworkNotFoundError,
  NoFreeAddressError,
  NoFreeMacAddressError,
  NoNetworkError,
  QuotaExceededError,
  VifNotFoundError,
} from "./ipam/errors.js";
export type { FloatingRangeRequest } from "./ipam/floating-book.js";
export { IPV6_MODES } from "./ipam/ipv6-address.js";
export type { Ipv6Mode } from "./ipam/ipv6-address.js";
export type {
  AddressSpan,
  FixedIpRecord,
  FloatingIp,
  FloatingRange,
  Network,
  VirtualInterface,
} from "./ipam/network.js";
export type { NetworkChanges } from "./ipam/network-book.js";
export type { NetworkRequest, NetworkTopology } from "./ipam/network-request.js";
export { planNetworks } from "./ipam/plan-networks.js";
export type { PlanContext } from "./ipam/plan-networks.js";
export { FlatDhcpManager } from "./managers/flat-dhcp-manager.js";
export { FlatManager } from "./managers/flat-manager.js";
export type { CallerOptions } from "./managers/floating-addresses.js";
export type { InstanceNetworkRequest, RequestedNetwork } from "./managers/instance-request.js";
export type {
  MembersChange,
  NetworkDnsOptions,
  NetworkManagerOptions,
  NetworkQuotas,
} from "./managers/manager-options.js";
export { NetworkManager } from "./managers/network-manager.js";
export type { PeriodicReport } from "./managers/network-manager.js";
export { LocalHostDirectory } from "./managers/network-peer.js";
export type { HostDirectory, NetworkPeer } from "./managers/network-peer.js";
export { RoutedNetworkManager } from "./managers/routed-network-manager.js";
export { VlanManager } from "./managers/vlan-manager.js";
export type { DnsDomain, DnsDriver, DnsDriverOptions, DnsEntry } from "./dns/dns-driver.js";
export { DnsDomainNotFoundError, DnsEntryNotFoundError } from "./dns/errors.js";
export { StoreDnsDriver } from "./dns/store-dns-driver.js";
