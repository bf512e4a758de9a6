// Runs in a test guest, whose kernel has VLANs: two hosts with a VLAN manager each, one cable between them for all projects.
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LinuxNetworkHost, LocalHostDirectory, MemoryNetworkStore, VlanManager } from "../../../src/network/index.js";
import type { Vif } from "../../../src/network/index.js";

const run = (...[file = "", ...args]: string[]): string =>
  execFileSync(file, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
const within = (namespace: string, ...argv: string[]): string => run("ip", "netns", "exec", namespace, ...argv);
const attempt = (namespace: string, ...argv: string[]): boolean => {
  try {
    within(namespace, ...argv);
    return true;
  } catch {
    return false;
  }
};

const directory = mkdtempSync(join(tmpdir(), "vlan-"));
chmodSync(directory, 0o755);
const script = join(directory, "udhcpc");
writeFileSync(
  script,
  '#!/bin/sh\n[ "$1" = bound ] || exit 0\nip address add $ip/$mask dev $interface\nip route add default via $router\necho $ip\n',
  { mode: 0o755 },
);

/** A namespace with a NIC on the VIF's bridge; the address that it is given. */
function boot(host: string, name: string, vif: Vif | undefined): string {
  if (vif?.type !== "bridge") throw new Error("no VIF on a bridge");
  run("ip", "netns", "add", name);
  run("ip", "-n", host, "link", "add", `p-${name}`, "type", "veth", "peer", "name", "eth0", "netns", name);
  run("ip", "-n", host, "link", "set", `p-${name}`, "master", vif.bridge, "up");
  run("ip", "-n", name, "link", "set", "eth0", "address", vif.macAddress, "up");
  const retries = ["-n", "-q", "-f", "-t", "30", "-T", "2"];
  return within(name, "busybox", "udhcpc", "-i", "eth0", ...retries, "-s", script).trim();
}

async function main(): Promise<unknown> {
  for (const host of ["one", "two"]) {
    run("ip", "netns", "add", host);
    run("ip", "-n", host, "link", "set", "lo", "up");
  }
  run("ip", "-n", "one", "link", "add", "trunk", "type", "veth", "peer", "name", "trunk", "netns", "two");
  for (const host of ["one", "two"]) run("ip", "-n", host, "link", "set", "trunk", "up");
  const store = new MemoryNetworkStore();
  const peers = new LocalHostDirectory();
  const [one, two] = ["one", "two"].map((name) => {
    const host = new LinuxNetworkHost({ name, directory: join(directory, name), netns: name, dnsmasqUser: "root" });
    const manager = new VlanManager({ store, host, directory: peers, teardownUnusedNetworks: true });
    peers.add(manager.peer);
    return manager;
  }) as [VlanManager, VlanManager];
  for (const manager of [one, two]) await manager.initHost();
  const networks = await one.createNetworks({
    ...{ label: "projects", cidr: "10.0.0.0/24", numNetworks: 2, networkSize: 64, bridgeInterface: "trunk" },
  });
  const instances = [
    { instanceUuid: randomUUID(), projectId: "p1", host: "one" },
    { instanceUuid: randomUUID(), projectId: "p1", host: "two" },
    { instanceUuid: randomUUID(), projectId: "p2", host: "two" },
  ];
  const vifs: (Vif | undefined)[] = [];
  for (const instance of instances) {
    // The first of a project gets it a network, whose host becomes the one that was asked.
    const manager = instance.projectId === "p1" ? one : two;
    vifs.push((await manager.allocateForInstance(instance))[0]);
    await manager.setupNetworksOnHost(instance.instanceUuid, instance.host);
  }
  const addresses = [boot("one", "a", vifs[0]), boot("two", "b", vifs[1]), boot("two", "c", vifs[2])];
  const ping = (from: string, to: number): boolean =>
    attempt(from, "busybox", "ping", "-c", "1", "-W", "5", addresses[to] ?? "");
  const all = await one.getAllNetworks();
  const result = {
    asAllocated: vifs.every((vif, index) => vif?.fixedIps?.[0]?.address === addresses[index]),
    // Which of the networks that nobody has a project gets is not said.
    owners: all.map(({ projectId, host }) => `${projectId} ${host}`).sort(),
    vlans: all.map(({ vlan, bridge }) => `${vlan} ${bridge}`).sort(),
    devices: ["vlan100", "vlan101"].map((name) => attempt("two", "ip", "link", "show", name)),
    acrossHosts: ping("a", 1) && ping("b", 0),
    betweenProjects: ping("b", 2) || ping("c", 1),
  };
  for (const guest of ["a", "b", "c"]) run("ip", "netns", "del", guest);
  for (const host of ["one", "two"])
    while (within(host, "ip", "-br", "link").includes("p-")) await new Promise((resolve) => setTimeout(resolve, 200));
  for (const { instanceUuid } of instances) await one.deallocateForInstance(instanceUuid);
  for (const { id } of networks) {
    await one.disassociateNetwork(id);
    for (const manager of [one, two]) await manager.peer.applyNetwork(id);
    await one.deleteNetwork(id);
  }
  for (const manager of [one, two]) await manager.close();
  const left = ["one", "two"].map((host) => /vlan|br1/.test(within(host, "ip", "-br", "link")));
  return { ...result, left };
}

main().then(
  (result) => console.log(`RESULT ${JSON.stringify(result)}`),
  (error: unknown) => console.log(`RESULT ${JSON.stringify({ error: String(error), stack: (error as Error).stack })}`),
);
