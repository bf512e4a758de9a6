// Managers over real hosts: from an instance's addresses to packets that go by them, and to nothing at the end.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DnsmasqDnsDriver, FileNetworkStore, FlatDhcpManager } from "../../../src/network/index.js";
import type { NetworkManagerOptions, Vif } from "../../../src/network/index.js";
import { requirePackages, waitFor } from "../../lab/index.js";
import { hostSnapshot } from "./host-snapshot.js";
import type { ManagerResult, ManagerWork } from "./manager-child.js";
import { NetworkLab, ask, isSilent, serve } from "./network-lab.js";
import type { GuestNamespace } from "./network-lab.js";

const NETWORK = { label: "private", cidr: "10.1.0.0/24", bridge: "br-one", domain: "cloud.example" };
const WAIT = { timeoutMs: 90_000 };

let lab: NetworkLab;
let store: FileNetworkStore;
const managers: FlatDhcpManager[] = [];

beforeEach(async () => {
  requirePackages("ip", "nft", "dnsmasq", "conntrack", "arping", "dhcp_release", "udhcpc", "sysctl");
  lab = await NetworkLab.create();
  store = new FileNetworkStore({ dir: lab.directory.file("store") });
  // What every host has that was started once.
  const host = lab.newHost();
  await host.start();
  await host.close();
});

afterEach(async () => {
  for (const manager of managers.splice(0)) await manager.close();
  await store?.close();
  await lab?.[Symbol.asyncDispose]();
});

async function newManager(options: Partial<NetworkManagerOptions> = {}): Promise<FlatDhcpManager> {
  const manager = new FlatDhcpManager({ store, host: lab.newHost(), ...options });
  managers.push(manager);
  await manager.initHost();
  return manager;
}

const addressOf = (vif: Vif | undefined, version = 4): string =>
  vif?.fixedIps?.find(({ address }) => address.includes(":") === (version === 6))?.address ?? "";

async function unplug(guest: GuestNamespace): Promise<void> {
  await guest.namespace.remove();
  const isGone = async (): Promise<boolean> => !(await lab.host.run(["ip", "-br", "link"])).includes(guest.port);
  await waitFor(isGone, { ...WAIT, what: "the end of a guest's port" });
}

/** Has another process set up everything, which is killed when it has. */
async function setUpAndDie(work: Pick<ManagerWork, "instanceUuid" | "hostname">): Promise<ManagerResult> {
  const script = fileURLToPath(new URL("manager-child.ts", import.meta.url));
  const whole: ManagerWork = {
    ...work,
    store: lab.directory.file("store"),
    host: lab.hostOptions(),
    network: NETWORK,
    floatingRange: "192.0.2.64/28",
  };
  const child = spawn(process.execPath, ["--import", "tsx", script, JSON.stringify(whole)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  const [said, errors, [, signal]] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  expect(signal, errors).toBe("SIGKILL");
  return JSON.parse(said) as ManagerResult;
}

describe("a manager on a Linux host", () => {
  it("keeps an instance on the network when its process is killed, and leaves nothing when the instance goes", async () => {
    const before = await hostSnapshot(lab);
    const instanceUuid = randomUUID();
    const { networkId, floatingAddress } = await setUpAndDie({ instanceUuid, hostname: "web-1" });
    const pid = async (): Promise<string> => readFile(`${lab.hostDirectory}/dhcp/${networkId}/pid`, "utf8");
    const server = await pid();

    let manager = await newManager();
    const [vif] = await manager.getInstanceNwInfo(instanceUuid);
    const address = addressOf(vif);
    const guest = await lab.addGuest("br-one", vif?.macAddress ?? "");
    expect(await guest.dhcp()).toMatchObject({
      address,
      router: "10.1.0.1",
      hostname: "web-1",
      domain: "cloud.example",
    });
    const isLeased = async (): Promise<boolean> => (await manager.getFixedIpByAddress(address)).leased;
    await waitFor(isLeased, { ...WAIT, what: "a note of the lease" });
    expect(await manager.getDhcpLeases(networkId)).toMatchObject([{ address, macAddress: vif?.macAddress }]);

    await serve(guest.namespace, "tcp", 80);
    await serve(lab.outside, "tcp", 80);
    expect(await ask(lab.outside, "tcp", floatingAddress, 80)).toMatchObject({ destination: address });
    expect(await ask(guest.namespace, "tcp", "192.0.2.254", 80)).toMatchObject({ source: floatingAddress });

    // A flow that another process begins to look after goes on.
    const client = lab.outside.spawn(["busybox", "nc", floatingAddress, "80"], { stdio: ["pipe", "pipe", "ignore"] });
    const heard = client.stdout!;
    expect(String((await once(heard, "data"))[0])).toContain(address);
    await manager.close();
    manager = await newManager();
    client.stdin!.write("still there");
    expect(String((await once(heard, "data"))[0])).toBe("still there");
    client.kill("SIGKILL");
    expect(await pid()).toBe(server);
    // Nothing more comes of being asked again.
    const again = { instanceUuid, projectId: "p1", host: "host-1", hostname: "web-1" };
    expect(await manager.allocateForInstance(again)).toEqual([vif]);

    await manager.deallocateForInstance(instanceUuid);
    await manager.deallocateForInstance(instanceUuid);
    expect(await isSilent(lab.outside, "tcp", floatingAddress, 80)).toBe(true);
    expect(await guest.dhcp(["-t", "1"])).toBeUndefined();
    expect(await manager.getDhcpLeases(networkId)).toEqual([]);
    expect(await manager.getFixedIpByAddress(address)).toMatchObject({ allocated: false, leased: false });
    await manager.deallocateFloatingIp(floatingAddress);
    await unplug(guest);
    await manager.disassociateNetwork(networkId);
    await manager.deleteNetwork(networkId);
    expect(await hostSnapshot(lab)).toEqual(before);
    expect(await store.find({ kind: "vif", limit: 10 })).toEqual([]);
  });

  it("serves IPv6: addresses that guests make themselves or are given, routes, and floating addresses", async () => {
    const host = lab.newHost({ forwardIpv6: true });
    const manager = await newManager({ host });
    await lab.host.run(["ip", "address", "add", "2001:db8::1/64", "dev", "eth0", "nodad"]);
    await lab.outside.run(["ip", "address", "add", "2001:db8::fe/64", "dev", "eth0", "nodad"]);
    await lab.outside.run(["ip", "route", "add", "fd00::/32", "via", "2001:db8::1"]);
    await serve(lab.outside, "tcp", 80);
    const [made, given] = [
      ...(await manager.createNetworks({ ...NETWORK, cidrV6: "fd00:0:0:1::/64" })),
      ...(await manager.createNetworks({
        ...{ label: "given", cidr: "10.2.0.0/24", bridge: "br-two", cidrV6: "fd00:0:0:2::/64", ipv6Mode: "random" },
      })),
    ];
    const instanceUuid = randomUUID();
    const networks = [made, given].map((network) => ({ networkId: network?.id ?? "" }));
    const vifs = await manager.allocateForInstance({ instanceUuid, projectId: "p1", host: "host-1", networks });
    const [one, two] = [
      await lab.addGuest("br-one", vifs[0]?.macAddress ?? ""),
      await lab.addGuest("br-two", vifs[1]?.macAddress ?? ""),
    ];
    // An address that nobody has looked for yet can't be used.
    const has = async (guest: GuestNamespace, what: string): Promise<boolean> => {
      const told = await guest.namespace.run(["ip", "-6", "-oneline", "address", "show", "dev", "eth0"]);
      return told.split("\n").some((line) => line.includes(what) && !line.includes("tentative"));
    };
    const asks = (guest: GuestNamespace, source: string): Promise<unknown> =>
      waitFor(async () => (await ask(guest.namespace, "tcp", "2001:db8::fe", 80))?.source === source, {
        ...WAIT,
        what: `an answer to ${source}`,
      });
    await waitFor(() => has(one, `${addressOf(vifs[0], 6)}/64`), { ...WAIT, what: "an address by SLAAC" });
    await asks(one, addressOf(vifs[0], 6));

    await two.dhcp6(lab.directory.path);
    await waitFor(() => has(two, `${addressOf(vifs[1], 6)}/64`), { ...WAIT, what: "an address by DHCPv6" });
    await asks(two, addressOf(vifs[1], 6));
    // Networks of one host are apart.
    expect(await two.misses(addressOf(vifs[0], 6))).toBe(true);

    await manager.createFloatingRange({ cidr: "2001:db8::40/124", pool: "public6" });
    const floating = await manager.allocateFloatingIp("p1", "public6");
    await manager.associateFloatingIp(floating, addressOf(vifs[0], 6));
    await serve(one.namespace, "tcp", 80);
    expect(await ask(lab.outside, "tcp", floating, 80)).toEqual({
      source: "2001:db8::fe",
      destination: addressOf(vifs[0], 6),
    });
    expect(await ask(one.namespace, "tcp", "2001:db8::fe", 80)).toMatchObject({ source: floating });
    await manager.disassociateFloatingIp(floating);
    expect(await isSilent(lab.outside, "tcp", floating, 80)).toBe(true);
  });

  it("names instances and floating addresses where guests ask", async () => {
    const host = lab.newHost();
    const dns = new DnsmasqDnsDriver({ directory: host.dnsDirectory });
    for (const domain of ["instances.example", "floating.example"]) await dns.createDomain({ domain, scope: "public" });
    const names = { instances: dns, instanceDomain: "instances.example", floating: dns };
    const manager = await newManager({ host, dns: names });
    await manager.createNetworks({ ...NETWORK, cidrV6: "fd00:0:0:1::/64" });
    await manager.createFloatingRange({ cidr: "192.0.2.64/28", pool: "public" });
    const instanceUuid = randomUUID();
    const owner = { instanceUuid, projectId: "p1", host: "host-1", hostname: "web-1" };
    const [vif] = await manager.allocateForInstance(owner);
    const floating = await manager.allocateFloatingIp("p1", "public");
    await dns.createEntry({ name: "www", domain: "floating.example", address: floating });

    const guest = await lab.addGuest("br-one", vif?.macAddress ?? "");
    await guest.dhcp();
    // Of a name without an IPv6 address the client says so, and fails.
    const lookup = ["sh", "-c", 'busybox nslookup "$0" 10.1.0.1 2>&1 || true'];
    const says = (name: string, holds: (said: string) => boolean): Promise<unknown> =>
      waitFor(async () => holds(await guest.namespace.run([...lookup, name])), {
        ...WAIT,
        what: `the answer for ${name}`,
      });
    const [four, six] = [addressOf(vif), addressOf(vif, 6)];
    await says("web-1.instances.example", (said) => said.includes(four) && said.includes(six));
    await says(`${instanceUuid}.instances.example`, (said) => said.includes(four));
    await says(four, (said) => said.includes("web-1"));
    await says("www.floating.example", (said) => said.includes(floating));
    await says(floating, (said) => said.includes("www.floating.example"));

    await manager.deallocateFloatingIp(floating);
    await manager.deallocateForInstance(instanceUuid);
    await says("www.floating.example", (said) => !said.includes(floating));
    await says("web-1.instances.example", (said) => !said.includes(four));
    expect(await dns.getEntriesByAddress(four, "instances.example")).toEqual([]);
  });
});
