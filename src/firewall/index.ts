export type { FilteredInstance, FilteredPort, FirewallDriver } from "./firewall-driver.js";
export { NoopFirewallDriver } from "./noop-firewall-driver.js";
