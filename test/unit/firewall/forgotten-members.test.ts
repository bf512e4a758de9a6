// A group's members are forgotten with the last rule that refers to them, also while somebody reads a group that refers to them anew.
import { expect, it } from "vitest";
import { MemorySecurityGroupSource, NftablesFirewallDriver } from "../../../src/firewall/index.js";
import type { FilteredInstance, SecurityGroupSource } from "../../../src/firewall/index.js";
import type { CommandRunner } from "../../../src/host/index.js";

/** Takes everything; a script can be held up. */
class Host implements CommandRunner {
  readonly scripts: string[] = [];
  held: Promise<void> = Promise.resolve();

  async run(...[argv, options]: Parameters<CommandRunner["run"]>): ReturnType<CommandRunner["run"]> {
    if (argv[0] === "nft" && argv[1] === "-f") {
      this.scripts.push(String(options?.input));
      await this.held;
    }
    return { stdout: "", stderr: "", exitCode: 0 };
  }
}

function gate(): { readonly open: () => void; readonly opened: Promise<void> } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open, opened };
}

function instance(index: number, group: string): FilteredInstance {
  const port = { macAddress: `52:54:00:00:00:0${index}`, deviceName: `nodev${index}`, bridge: "br0" };
  const fixedIps = [{ address: `10.0.0.${index}` }];
  return {
    uuid: `00000000-0000-4000-8000-00000000000${index}`,
    name: `i${index}`,
    ports: [{ id: "p", ...port, fixedIps, securityGroups: [group] }],
  };
}

const PEERS = "192.0.2.77";

/** A firewall with one port in `one`; `groupRead` holds up the reading of `two`. Both groups permit what peers send. */
async function filtered(): Promise<{
  readonly host: Host;
  readonly firewall: NftablesFirewallDriver;
  readonly groupRead: ReturnType<typeof gate>;
  readonly groups: MemorySecurityGroupSource;
}> {
  const [host, groups, groupRead] = [new Host(), new MemorySecurityGroupSource(), gate()];
  for (const id of ["one", "two"])
    groups.setGroup({ id, rules: [{ direction: "ingress", ipVersion: 4, remote: { groupId: "peers" } }] });
  groups.setMember("m", { addresses: [PEERS] }, ["peers"]);
  const source: SecurityGroupSource = {
    securityGroup: async (id) => {
      if (id === "two") await groupRead.opened;
      return groups.securityGroup(id);
    },
    members: (id) => groups.members(id),
  };
  const firewall = new NftablesFirewallDriver({ groups: source, commands: host, mode: "bridge" });
  await firewall.refreshInstanceSecurityRules(instance(1, "one"));
  return { host, firewall, groupRead, groups };
}

it("reads members again that were forgotten while a port's group was read", async () => {
  const { host, firewall, groupRead } = await filtered();
  const commit = gate();
  host.held = commit.opened;
  const leaving = firewall.unfilterInstance(instance(1, "one"));
  const coming = firewall.refreshInstanceSecurityRules(instance(2, "two"));
  groupRead.open();
  await new Promise((resolve) => setImmediate(resolve));
  commit.open();
  await Promise.all([leaving, coming]);
  expect(host.scripts.at(-1)).toContain("nodev2");
  expect(host.scripts.at(-1)).toContain(PEERS);
});

it("reads members again that were forgotten while a group's rules were read", async () => {
  const { host, firewall, groupRead, groups } = await filtered();
  groups.setGroup({ id: "three", rules: [] });
  await firewall.refreshInstanceSecurityRules(instance(3, "three"));
  const commit = gate();
  host.held = commit.opened;
  const leaving = firewall.unfilterInstance(instance(1, "one"));
  groups.setGroup({
    id: "three",
    rules: [{ direction: "ingress", ipVersion: 4, remote: { groupId: "peers" } }],
  });
  const changing = firewall.refreshSecurityGroupRules("three");
  groupRead.open();
  await new Promise((resolve) => setImmediate(resolve));
  commit.open();
  await Promise.all([leaving, changing]);
  expect(host.scripts.at(-1)).toContain(PEERS);
});
