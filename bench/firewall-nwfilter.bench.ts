// Security groups as libvirt's network filters, which libvirt turns into rules by a process for each: three instances of 50 rules each, beside the same rules in the shape that Nova's
// iptables driver gives to `iptables-restore`. Wants root and libvirtd; runs in namespaces and with a daemon of its own.
import { execFileSync } from "node:child_process";
import { MemorySecurityGroupSource, NwfilterFirewallDriver } from "../src/firewall/index.js";
import type { FilteredInstance } from "../src/firewall/index.js";
import { startLibvirtd } from "../test/lab/libvirtd.js";
import { fillGroups, instanceOf, novaRules, RULES, rulesOf } from "./support/firewall-world.js";
import { enterOwnNetwork } from "./support/own-network.js";
import { ms, timed } from "./support/timing.js";

const COUNT = 3;

enterOwnNetwork(import.meta.url);

const restore = (text: string): Promise<number> =>
  timed(() => execFileSync("iptables-restore", ["--wait"], { input: text, stdio: ["pipe", "ignore", "ignore"] }));

/** All in one group, so that a change of it is a change of all. */
function member(index: number): FilteredInstance {
  const { uuid, name, ports } = instanceOf(index);
  return { uuid, name, ports: ports.map((port) => ({ ...port, securityGroups: ["group-0"] })) };
}

execFileSync("ip", ["link", "add", "br0", "type", "bridge"]);
const all = Array.from({ length: COUNT + 1 }, (_, index) => member(index));
const devices = all.flatMap(({ ports }) => ports.map(({ deviceName }) => `tuntap add ${deviceName} mode tap\n`));
execFileSync("ip", ["-batch", "-"], { input: devices.join("") });
await using daemon = await startLibvirtd();
const groups = new MemorySecurityGroupSource();
fillGroups(groups);
await using firewall = new NwfilterFirewallDriver({ groups, libvirt: daemon.uri("qemu") });
const loadMs = await timed(async () => {
  firewall.filterDeferApplyOn();
  for (const each of all.slice(0, COUNT)) await firewall.refreshInstanceSecurityRules(each);
  await firewall.filterDeferApplyOff();
});
const one = member(COUNT);
const instanceAddedMs = await timed(() => firewall.refreshInstanceSecurityRules(one));
const instanceRemovedMs = await timed(() => firewall.unfilterInstance(one));
groups.setMember("member", { addresses: ["192.0.2.1"] }, ["front"]);
const memberAddedMs = await timed(() => firewall.refreshSecurityGroupMembers("front"));
groups.setGroup({ id: "group-0", rules: rulesOf(0, 1) });
const groupRuleAddedMs = await timed(() => firewall.refreshSecurityGroupRules("group-0"));
await firewall.remove();
const nova = novaRules(COUNT);
const [novaLoadMs, novaReloadMs] = [await restore(nova), await restore(nova)];
console.log(
  JSON.stringify({
    instances: COUNT,
    rulesEach: RULES,
    nwfilter: {
      loadMs: ms(loadMs),
      instanceAddedMs: ms(instanceAddedMs),
      instanceRemovedMs: ms(instanceRemovedMs),
      memberAddedMs: ms(memberAddedMs),
      groupRuleAddedMs: ms(groupRuleAddedMs),
    },
    novaShape: { loadMs: ms(novaLoadMs), reloadMs: ms(novaReloadMs) },
  }),
);
