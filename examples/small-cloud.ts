/**
 * A cloud of two hosts, each a process in a network namespace with its own KVM driver, network host and firewall, and with the
 * store of networks in common. Two projects have a network each, which bridges keep apart; guests get their addresses by DHCP, reach each
 * other across hosts where security groups let them, and are reached from a third namespace by floating addresses.
 *
 * `npm run examples -- small-cloud`, as root. Needs QEMU, nft, dnsmasq, conntrack, busybox. What a host does is in `small-cloud/host.ts`.
 */
import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { SecurityGroup } from "hypervise/firewall";
import type { FlatDhcpManager } from "hypervise/network";
import { DirectoryImageStore } from "hypervise/storage";
import type { GuestRequest, Host, HostOptions } from "./small-cloud/host.js";
import { connect } from "./small-cloud/remote.js";

if (process.getuid?.() !== 0) {
  console.log("This example makes network namespaces: run it as root to see it work.");
  process.exit(0);
}

const HOSTS = ["host-1", "host-2"] as const;
const GROUPS: readonly SecurityGroup[] = [
  { id: "web", rules: [{ direction: "ingress", ipVersion: 4, protocol: "tcp", portFrom: 80 }] },
  {
    id: "database",
    rules: [
      { direction: "ingress", ipVersion: 4, protocol: "tcp", portFrom: 5432, remote: { groupId: "web" } },
      { direction: "ingress", ipVersion: 4, protocol: "icmp", icmpType: 8 },
    ],
  },
];

const mark = `hvc${process.pid}`;
const namespaces: string[] = [];
const processes: ChildProcess[] = [];
const directory = mkdtempSync(join(tmpdir(), "hypervise-"));
// DHCP servers run as "nobody", who has to get here.
chmodSync(directory, 0o755);

const run = (...[file = "", ...args]: string[]): string =>
  execFileSync(file, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

function addNamespace(name: string): string {
  const namespace = `${mark}-${name}`;
  run("ip", "netns", "add", namespace);
  namespaces.push(namespace);
  run("ip", "-n", namespace, "link", "set", "lo", "up");
  return namespace;
}

function addCable(one: string, oneName: string, other: string, otherName: string): void {
  run("ip", "-n", one, "link", "add", oneName, "type", "veth", "peer", "name", otherName, "netns", other);
  run("ip", "-n", one, "link", "set", oneName, "up");
  run("ip", "-n", other, "link", "set", otherName, "up");
}

/** `ip netns exec` gives a host its network and its view of it in /sys; QEMU and dnsmasq are started there, too. */
async function startHost(name: string, namespace: string): Promise<Host> {
  const options: HostOptions = { name, directory, publicInterface: "ext0", hosts: HOSTS, groups: GROUPS };
  const program = fileURLToPath(new URL("small-cloud/host.ts", import.meta.url));
  const argv = [process.execPath, "--import", "tsx", program, JSON.stringify(options)];
  const host = spawn("ip", ["netns", "exec", namespace, ...argv], { stdio: ["pipe", "pipe", "inherit"] });
  processes.push(host);
  const ended = once(host, "exit").then(() => {
    throw new Error(`${name} has ended`);
  });
  ended.catch(() => undefined);
  await Promise.race([once(host.stdout, "data"), ended]);
  return connect<Host>(join(directory, `${name}.sock`), "host");
}

/** Whether something answers from a namespace by TCP. */
function answers(namespace: string, address: string): boolean {
  try {
    return run("ip", "netns", "exec", namespace, "busybox", "nc", "-w", "3", address, "80").includes("hello");
  } catch {
    return false;
  }
}

async function until(what: string, holds: () => boolean | Promise<boolean>, tries = 90): Promise<void> {
  for (; !(await holds()); tries--) {
    if (tries === 0) throw new Error(`waited in vain: ${what}`);
    await sleep(1_000);
  }
}

try {
  const { ensureBootDisk } = await import("../scripts/guest/boot-disk.mjs");
  const images = new DirectoryImageStore({ directory: join(directory, "images") });
  await images.import({ id: "guest", format: "qcow2", path: (await ensureBootDisk()).disk });

  // A cable for each project between the hosts; on a kernel with VLANs a VlanManager needs one cable for all.
  const [outside, one, two] = [addNamespace("outside"), addNamespace("host-1"), addNamespace("host-2")];
  addCable(one, "blue0", two, "blue0");
  addCable(one, "green0", two, "green0");
  run("ip", "-n", outside, "link", "add", "ext", "type", "bridge");
  run("ip", "-n", outside, "address", "add", "192.0.2.254/24", "dev", "ext");
  run("ip", "-n", outside, "link", "set", "ext", "up");
  for (const [index, namespace] of [one, two].entries()) {
    addCable(namespace, "ext0", outside, `ext${index}`);
    run("ip", "-n", outside, "link", "set", `ext${index}`, "master", "ext");
    run("ip", "-n", namespace, "address", "add", `192.0.2.${index + 1}/24`, "dev", "ext0");
  }

  const [host1, host2] = [await startHost("host-1", one), await startHost("host-2", two)];
  const manager = connect<FlatDhcpManager>(join(directory, "host-1.sock"), "manager");
  // Blue's guests each have their own host for a gateway, green's all have one of the two.
  await manager.createNetworks({
    ...{ label: "blue", projectId: "blue", cidr: "10.1.0.0/24", bridge: "br-blue", bridgeInterface: "blue0" },
    ...{ multiHost: true, shareAddress: true },
  });
  const [green] = await manager.createNetworks({
    ...{ label: "green", projectId: "green", cidr: "10.2.0.0/24", bridge: "br-green", bridgeInterface: "green0" },
  });
  const server = await manager.setNetworkHost(green?.id ?? "");
  await manager.createFloatingRange({ cidr: "192.0.2.64/28", pool: "public" });

  const guest = (name: string, projectId: string, ...securityGroups: string[]): GuestRequest => ({
    ...{ uuid: randomUUID(), name, projectId, securityGroups },
  });
  const [web, database, stranger] = [
    guest("web", "blue", "web"),
    guest("database", "blue", "database"),
    guest("stranger", "green", "web"),
  ];
  const [webAddress, databaseAddress] = await Promise.all([host1.boot(web), host2.boot(database)]);
  console.log(`web has ${webAddress} on host-1, database has ${databaseAddress} on host-2`);
  console.log(`stranger has ${await host2.boot(stranger)} on host-2, by DHCP of ${server}`);

  await host1.run(web.uuid, "nc -ll -p 80 -e echo hello from web > /dev/null 2>&1 &");
  await host2.run(database.uuid, "for port in 80 5432; do nc -ll -p $port -e echo hello > /dev/null 2>&1 & done");
  const fromWeb = (port: number): Promise<string> =>
    host1.run(web.uuid, `nc -w 3 ${databaseAddress} ${port} < /dev/null || echo nothing`);
  await until("the database answers", async () => (await fromWeb(5432)) === "hello");
  console.log(`web asks the database on the other host: ${await fromWeb(5432)}; at another port: ${await fromWeb(80)}`);
  const ping = await host2.run(stranger.uuid, `ping -c 1 -W 3 ${databaseAddress} > /dev/null && echo yes || echo no`);
  console.log(`stranger reaches the database beside it: ${ping}`);

  const floating = await manager.allocateFloatingIp("blue", "public");
  await manager.associateFloatingIp(floating, webAddress);
  await until("web answers outside", () => answers(outside, floating));
  console.log(`the outside reaches web by ${floating}: ${answers(outside, floating)}`);
  // Taken and moved from the other host, whose manager asks host-1's.
  const elsewhere = connect<FlatDhcpManager>(join(directory, "host-2.sock"), "manager");
  await elsewhere.disassociateFloatingIp(floating);
  console.log(`and afterwards: ${answers(outside, floating)}`);
  await elsewhere.deallocateFloatingIp(floating);

  await Promise.all([host1.destroy(web.uuid), host2.destroy(database.uuid), host2.destroy(stranger.uuid)]);
  for (const { id } of await manager.getAllNetworks()) {
    await manager.disassociateNetwork(id);
    await manager.deleteNetwork(id);
  }
  console.log(
    `left on the hosts: ${[...(await host1.leftovers()), ...(await host2.leftovers())].join(" ") || "nothing"}`,
  );
} finally {
  for (const host of processes.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)) {
    const ended = once(host, "exit");
    host.stdin?.end();
    await ended;
  }
  for (const namespace of namespaces) {
    // What a failure has left: guests and servers go with their host.
    for (const pid of run("ip", "netns", "pids", namespace).split("\n").filter(Boolean))
      process.kill(Number(pid), "SIGKILL");
    run("ip", "netns", "del", namespace);
  }
  rmSync(directory, { recursive: true, force: true });
}
