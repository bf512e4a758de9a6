// A KVM driver with a firewall that filters, in a directory that it shares with those that come after it.
import { join } from "node:path";
import {
  IptablesFirewallDriver,
  MemorySecurityGroupSource,
  NftablesFirewallDriver,
} from "../../../src/firewall/index.js";
import type { SecurityGroup } from "../../../src/firewall/index.js";
import { FileStateStore } from "../../../src/host/index.js";
import { KvmDriver } from "../../../src/kvm/index.js";
import { DirectoryImageStore } from "../../../src/storage/index.js";

export type FilterKind = "nftables" | "iptables";

export interface FilteringDriver {
  readonly driver: KvmDriver;
  readonly firewall: NftablesFirewallDriver | IptablesFirewallDriver;
  readonly groups: MemorySecurityGroupSource;
}

export async function openFilteringDriver(
  directory: string,
  kind: FilterKind,
  groups: readonly SecurityGroup[],
): Promise<FilteringDriver> {
  const source = new MemorySecurityGroupSource();
  for (const group of groups) source.setGroup(group);
  const options = { groups: source, state: new FileStateStore({ dir: join(directory, "firewall") }) };
  const firewall = kind === "nftables" ? new NftablesFirewallDriver(options) : new IptablesFirewallDriver(options);
  const driver = new KvmDriver({
    stateDirectory: join(directory, "state"),
    accelerator: "tcg",
    collaborators: { firewall, images: new DirectoryImageStore({ directory: join(directory, "images") }) },
  });
  await driver.initHost();
  return { driver, firewall, groups: source };
}
