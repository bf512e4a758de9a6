// Two hosts with a manager each: where each serves its own guests, where one serves all, and a guest that moves from one to the other.
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Network, NetworkRequest, Vif } from "../../../src/network/index.js";
import { requirePackages, waitFor } from "../../lab/index.js";
import { CloudLab } from "./cloud-lab.js";
import type { CloudHost } from "./cloud-lab.js";
import { hostSnapshot } from "./host-snapshot.js";
import { ask, isSilent, serve } from "./network-lab.js";
import type { GuestNamespace } from "./network-lab.js";

const WAIT = { timeoutMs: 90_000 };
const NETWORK = { label: "private", cidr: "10.1.0.0/24", bridge: "br-one", bridgeInterface: "fabric" };

let lab: CloudLab;
let before: readonly unknown[];

const snapshots = (): Promise<readonly unknown[]> => Promise.all(lab.hosts.map((host) => hostSnapshot(host)));
const addressOf = (vif: Vif): string => vif.fixedIps?.[0]?.address ?? "";

beforeEach(async () => {
  requirePackages("ip", "nft", "dnsmasq", "conntrack", "arping", "dhcp_release", "udhcpc", "sysctl");
  lab = await CloudLab.create({ teardownUnusedNetworks: true });
  before = await snapshots();
});

afterEach(async () => {
  await lab?.[Symbol.asyncDispose]();
});

/** A guest of host 1 and one of host 2, as host 1's manager is asked for them. */
async function allocate(request: Partial<NetworkRequest>): Promise<{
  readonly network: Network;
  readonly instances: readonly [string, string];
  readonly vifs: readonly [Vif, Vif];
}> {
  const [{ manager }] = lab.hosts;
  const [network] = await manager.createNetworks({ ...NETWORK, ...request });
  const instances = [randomUUID(), randomUUID()] as const;
  const vifs: Vif[] = [];
  for (const [index, { name }] of lab.hosts.entries()) {
    const instanceUuid = instances[index]!;
    const owner = { instanceUuid, projectId: "p1", host: name, hostname: `web${index + 1}` };
    vifs.push(...(await manager.allocateForInstance(owner)));
    await manager.setupNetworksOnHost(instanceUuid, name);
  }
  return { network: network!, instances, vifs: vifs as unknown as readonly [Vif, Vif] };
}

async function unplug({ host }: CloudHost, guest: GuestNamespace): Promise<void> {
  await guest.namespace.remove();
  const isGone = async (): Promise<boolean> => !(await host.run(["ip", "-br", "link"])).includes(guest.port);
  await waitFor(isGone, { ...WAIT, what: "the end of a guest's port" });
}

async function endAll(network: Network, instances: readonly string[]): Promise<void> {
  const [{ manager }] = lab.hosts;
  for (const uuid of instances) await manager.deallocateForInstance(uuid);
  await manager.disassociateNetwork(network.id);
  await manager.deleteNetwork(network.id);
  expect(await snapshots()).toEqual(before);
}

describe("hosts that each serve their own guests", () => {
  it("are gateways with addresses of their own, and hand a guest over with its addresses", async () => {
    const [one, two] = lab.hosts;
    const { network, instances, vifs } = await allocate({ multiHost: true });
    const guests = [
      await lab.addGuest(one, "br-one", vifs[0].macAddress),
      await lab.addGuest(two, "br-one", vifs[1].macAddress),
    ] as const;
    const answers = [await guests[0].dhcp(), await guests[1].dhcp()];
    expect(answers.map((answer) => answer?.address)).toEqual(vifs.map(addressOf));
    const gateways = vifs.map(({ network: { subnets } }) => subnets?.[0]?.gateway);
    expect(new Set(gateways).size).toBe(2);
    expect(answers.map((answer) => answer?.router)).toEqual(gateways);
    expect(vifs.map(({ network: { subnets } }) => subnets?.[0]?.dhcpServer)).toEqual(gateways);
    expect(await guests[0].pings(addressOf(vifs[1]))).toBe(true);

    // Asked of host 1, forwarded by host 2, which has the guest.
    await one.manager.createFloatingRange({ cidr: "192.0.2.64/28", pool: "public" });
    const floating = await one.manager.allocateFloatingIp("p1", "public");
    await one.manager.associateFloatingIp(floating, addressOf(vifs[1]));
    await serve(guests[1].namespace, "tcp", 80);
    await serve(lab.outside, "tcp", 80);
    const boundAt = async (): Promise<readonly string[]> => {
      const all = await Promise.all(
        lab.hosts.map(({ host }) => host.run(["ip", "-o", "address", "show", "dev", "ext"])),
      );
      return lab.hosts.filter((_, index) => all[index]!.includes(floating)).map(({ name }) => name);
    };
    expect(await boundAt()).toEqual(["host-2"]);
    expect(await ask(lab.outside, "tcp", floating, 80)).toMatchObject({ destination: addressOf(vifs[1]) });
    expect(await ask(guests[1].namespace, "tcp", "192.0.2.254", 80)).toMatchObject({ source: floating });
    expect(await ask(guests[0].namespace, "tcp", "192.0.2.254", 80)).toMatchObject({ source: "192.0.2.1" });
    expect(await ask(guests[0].namespace, "tcp", floating, 80)).toMatchObject({ destination: addressOf(vifs[1]) });

    // The guest moves. The outside, which had host 2 for its neighbour, is told.
    const [, instanceUuid] = instances;
    await two.manager.migrateInstanceStart({ instanceUuid, sourceHost: "host-2" });
    expect(await boundAt()).toEqual([]);
    await unplug(two, guests[1]);
    await one.manager.setupNetworksOnHost(instanceUuid, "host-1");
    const moved = await lab.addGuest(one, "br-one", vifs[1].macAddress);
    await one.manager.migrateInstanceFinish({ instanceUuid, destinationHost: "host-1" });
    expect(await moved.dhcp()).toMatchObject({ address: addressOf(vifs[1]), router: gateways[0] });
    await serve(moved.namespace, "tcp", 80);
    expect(await boundAt()).toEqual(["host-1"]);
    expect(await ask(lab.outside, "tcp", floating, 80)).toMatchObject({ destination: addressOf(vifs[1]) });
    expect(await two.host.run(["ip", "-br", "link"])).not.toContain("br-one");

    await two.manager.disassociateFloatingIp(floating);
    expect(await isSilent(lab.outside, "tcp", floating, 80)).toBe(true);
    await two.manager.deallocateFloatingIp(floating);
    for (const guest of [guests[0], moved]) await unplug(one, guest);
    await endAll(network, instances);
  });
});

describe("a host that serves the guests of all", () => {
  it("answers DHCP for them across hosts, and forwards their floating addresses", async () => {
    const [one, two] = lab.hosts;
    const { network, instances, vifs } = await allocate({});
    const [, vif] = vifs;
    const guest = await lab.addGuest(two, "br-one", vif.macAddress);
    expect(await guest.dhcp()).toMatchObject({ address: addressOf(vif), router: "10.1.0.1", hostname: "web2" });
    expect(await two.host.run(["ip", "-o", "-4", "address", "show", "dev", "br-one"])).toBe("");
    const isLeased = async (): Promise<boolean> => (await two.manager.getFixedIpByAddress(addressOf(vif))).leased;
    await waitFor(isLeased, { ...WAIT, what: "a note of the lease" });
    expect(await two.manager.getDhcpLeases(network.id)).toMatchObject([{ address: addressOf(vif) }]);

    await two.manager.createFloatingRange({ cidr: "192.0.2.64/28", pool: "public" });
    const floating = await two.manager.allocateFloatingIp("p1", "public");
    await two.manager.associateFloatingIp(floating, addressOf(vif));
    await serve(guest.namespace, "tcp", 80);
    expect(await one.host.run(["ip", "-o", "address", "show", "dev", "ext"])).toContain(floating);
    expect(await ask(lab.outside, "tcp", floating, 80)).toMatchObject({ destination: addressOf(vif) });
    await two.manager.disassociateFloatingIp(floating);
    expect(await isSilent(lab.outside, "tcp", floating, 80)).toBe(true);
    await two.manager.deallocateFloatingIp(floating);
    await unplug(two, guest);
    await endAll(network, instances);
  });
});
