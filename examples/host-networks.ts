/** Two hosts, two networks over both, and the outside, each a network namespace: DHCP, isolation, a floating address. Wants root, dnsmasq and nft. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LinuxNetworkHost } from "hypervise/network";
import type { DhcpHost, HostNetwork } from "hypervise/network";

if (process.getuid?.() !== 0) {
  console.log("This example makes network namespaces: run it as root to see it work.");
  process.exit(0);
}

const mark = `hvx${process.pid}`;
const namespaces: string[] = [];
const hosts: LinuxNetworkHost[] = [];
const directory = mkdtempSync(join(tmpdir(), "hypervise-"));
// DHCP servers run as "nobody", who has to get here.
chmodSync(directory, 0o755);

const run = (...[file = "", ...args]: string[]): string =>
  execFileSync(file, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
const within = (namespace: string, ...argv: string[]): string => run("ip", "netns", "exec", namespace, ...argv);

function addNamespace(name: string): string {
  const namespace = `${mark}-${name}`;
  run("ip", "netns", "add", namespace);
  namespaces.push(namespace);
  within(namespace, "ip", "link", "set", "lo", "up");
  return namespace;
}

function addCable(one: string, oneName: string, other: string, otherName: string): void {
  run("ip", "-n", one, "link", "add", oneName, "type", "veth", "peer", "name", otherName, "netns", other);
  run("ip", "-n", one, "link", "set", oneName, "up");
  run("ip", "-n", other, "link", "set", otherName, "up");
}

function network(id: string, cable: string, third: number): HostNetwork {
  const gateway = `10.${third}.0.1`;
  return {
    id,
    bridge: `br-${id}`,
    parentInterface: cable,
    // Each host is the gateway of its own guests.
    sharedAddress: true,
    routed: true,
    domain: `${id}.example`,
    subnets: [{ cidr: `10.${third}.0.0/24`, gateway, hostAddress: gateway, dhcpStart: `10.${third}.0.2` }],
  };
}

/** A guest is a namespace with a NIC on a network's bridge, which asks for its address. */
function bootGuest(host: string, bridge: string, name: string, { macAddress }: DhcpHost): string {
  const guest = addNamespace(name);
  addCable(host, `p-${name}`, guest, "eth0");
  run("ip", "-n", host, "link", "set", `p-${name}`, "master", bridge);
  run("ip", "-n", guest, "link", "set", "eth0", "address", macAddress);
  const script = join(directory, "udhcpc");
  writeFileSync(
    script,
    '#!/bin/sh\n[ "$1" = bound ] || exit 0\nip address add $ip/$mask dev $interface\nip route add default via $router\necho $ip\n',
    { mode: 0o755 },
  );
  const address = within(
    guest,
    "busybox",
    "udhcpc",
    "-i",
    "eth0",
    "-n",
    "-q",
    "-f",
    "-t",
    "20",
    "-T",
    "1",
    "-s",
    script,
  );
  console.log(`${name} has ${address.trim()}`);
  return guest;
}

function reaches(namespace: string, address: string): boolean {
  try {
    within(namespace, "busybox", "ping", "-c", "1", "-W", "2", address);
    return true;
  } catch {
    return false;
  }
}

/** The kernel takes a guest's cable away a moment after its namespace; before that the network is in use. */
async function tearDown(host: LinuxNetworkHost, id: string, tries = 50): Promise<void> {
  try {
    await host.tearDownNetwork(id);
  } catch (error) {
    if (tries === 0) throw error;
    await new Promise((resolve) => setTimeout(resolve, 100));
    await tearDown(host, id, tries - 1);
  }
}

try {
  const [outside, one, two] = [addNamespace("outside"), addNamespace("one"), addNamespace("two")];
  addCable(one, "blue0", two, "blue0");
  addCable(one, "green0", two, "green0");
  addCable(two, "ext0", outside, "eth0");
  run("ip", "-n", two, "address", "add", "192.0.2.1/24", "dev", "ext0");
  run("ip", "-n", outside, "address", "add", "192.0.2.254/24", "dev", "eth0");

  for (const [name, netns] of [
    ["host-1", one],
    ["host-2", two],
  ] as const) {
    const host = new LinuxNetworkHost({
      name,
      directory: join(directory, name),
      netns,
      ...(name === "host-2" ? { publicInterface: "ext0" } : {}),
    });
    hosts.push(host);
    await host.start();
  }

  const [blue, green] = [network("blue", "blue0", 1), network("green", "green0", 2)];
  const dhcpHost = (third: number, last: number): DhcpHost => ({
    macAddress: `fa:16:3e:00:0${third}:0${last}`,
    addresses: [`10.${third}.0.1${last}`],
    hostname: `guest${last}`,
    vifId: `0b7cbf0c-9a3f-4d3e-9c52-0a52c1a0f${third}0${last}`,
  });
  for (const host of hosts) {
    await host.setUpNetwork(blue, [dhcpHost(1, 1), dhcpHost(1, 2)]);
    await host.setUpNetwork(green, [dhcpHost(2, 1), dhcpHost(2, 2)]);
  }

  const blue1 = bootGuest(one, blue.bridge, "blue-1", dhcpHost(1, 1));
  bootGuest(two, blue.bridge, "blue-2", dhcpHost(1, 2));
  const green2 = bootGuest(two, green.bridge, "green-2", dhcpHost(2, 2));
  console.log(`blue-1 reaches blue-2 on the other host: ${reaches(blue1, "10.1.0.12")}`);
  console.log(`green-2 reaches blue-2 on the same host: ${reaches(green2, "10.1.0.12")}`);

  const [, host2] = hosts;
  await host2?.addFloating({ floatingAddress: "192.0.2.50", fixedAddress: "10.1.0.12", networkId: "blue" });
  console.log(`the outside reaches blue-2 by 192.0.2.50: ${reaches(outside, "192.0.2.50")}`);
  console.log(`green-2 reaches it so, too: ${reaches(green2, "192.0.2.50")}`);
  await host2?.removeFloating("192.0.2.50");
  console.log(`and afterwards: ${reaches(outside, "192.0.2.50")}`);
} finally {
  for (const guest of namespaces.splice(3)) run("ip", "netns", "del", guest);
  for (const host of hosts) {
    for (const id of await host.listNetworks().catch(() => [])) await tearDown(host, id);
    await host.close();
  }
  for (const namespace of namespaces) run("ip", "netns", "del", namespace);
  rmSync(directory, { recursive: true, force: true });
}
