import { describe, expect, it } from "vitest";
import {
  FlatDhcpManager,
  LocalHostDirectory,
  MemoryNetworkStore,
  StoreDnsDriver,
  VlanManager,
} from "../../../../src/network/index.js";
import type { NetworkManagerOptions, RoutedNetworkManager } from "../../../../src/network/index.js";
import { FakeNetworkHost } from "../../../../src/testing/network/index.js";
import { cloud, expectConsistent } from "./support.js";

const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const request = (n: number, host = "host1", projectId = "p", more: object = {}) => ({
  instanceUuid: uuid(n),
  projectId,
  host,
  ...more,
});
const twoHosts = { hostNames: ["host1", "host2"] };

async function cloudOf<M extends RoutedNetworkManager>(
  Manager: new (options: NetworkManagerOptions) => M,
  options: object = {},
) {
  const of = await cloud(Manager, options);
  return {
    ...of,
    second: of.managers.get("host2")!,
    secondHost: of.hosts.get("host2")!,
    [Symbol.asyncDispose]: () => of.close(),
  };
}

const firstAddress = async (manager: RoutedNetworkManager, n: number): Promise<string> =>
  (await manager.getInstanceNwInfo(uuid(n)))[0]!.fixedIps![0]!.address;

describe("VlanManager", () => {
  it("gives each project a network of its own at its first instance, and only that", async () => {
    await using of = await cloudOf(VlanManager);
    await of.manager.createNetworks({
      label: "net",
      cidr: "10.0.0.0/8",
      numNetworks: 3,
      networkSize: 16,
      bridgeInterface: "eth1",
    });
    const [p] = await of.manager.allocateForInstance(request(1));
    const [q] = await of.manager.allocateForInstance(request(2, "host1", "q"));
    const [again] = await of.manager.allocateForInstance(request(3));
    expect(p!.network.id).not.toBe(q!.network.id);
    expect(again!.network.id).toBe(p!.network.id);
    expect(of.host.network(p!.network.id)).toMatchObject({ parentInterface: "eth1" });
    expect(p).toMatchObject({ fixedIps: [{ address: expect.stringMatching(/\.(3|19|35)$/) as string }] });
    await expect(
      of.manager.allocateForInstance(request(4, "host1", "q", { networks: [{ networkId: p!.network.id }] })),
    ).rejects.toMatchObject({ code: "NETWORK_NOT_FOUND" });
    await of.manager.addNetworkToProject("p");
    expect(await of.manager.allocateForInstance(request(5))).toHaveLength(2);
    await expect(of.manager.allocateForInstance(request(6, "host1", "r"))).rejects.toMatchObject({
      code: "NO_NETWORK",
    });
    await expect(of.manager.deleteNetwork(q!.network.id)).rejects.toMatchObject({ code: "NETWORK_IN_USE" });
    await expect(of.manager.disassociateNetwork(q!.network.id)).rejects.toMatchObject({ code: "NETWORK_IN_USE" });
    await of.manager.deallocateForInstance(uuid(2));
    await of.manager.disassociateNetwork(q!.network.id);
    await of.manager.deleteNetwork(q!.network.id);
    await expectConsistent(of);
  });

  it("gives a project one network, however many of its first instances come at once", async () => {
    await using of = await cloudOf(VlanManager, twoHosts);
    await of.manager.createNetworks({
      label: "net",
      cidr: "10.0.0.0/8",
      numNetworks: 4,
      networkSize: 32,
      bridgeInterface: "eth1",
    });
    const vifs = await Promise.all(
      Array.from({ length: 8 }, (_, n) => (n % 2 === 0 ? of.manager : of.second).allocateForInstance(request(n))),
    );
    expect(new Set(vifs.map(([vif]) => vif!.network.id)).size).toBe(1);
    expect(vifs.every((list) => list.length === 1)).toBe(true);
    await expectConsistent(of);
  });

  it("gives the VPN server the address that is kept for it, and forwards to it", async () => {
    await using of = await cloudOf(VlanManager, { vpnIp: "203.0.113.1" });
    const [network] = await of.manager.createNetworks({
      label: "net",
      cidr: "10.0.0.0/24",
      bridgeInterface: "eth1",
      vlan: 55,
    });
    await of.manager.allocateForInstance(request(1, "host1", "p", { vpn: true }));
    expect(await firstAddress(of.manager, 1)).toBe("10.0.0.2");
    expect(of.host.network(network!.id)).toMatchObject({
      vlan: 55,
      bridge: "br55",
      vpn: { publicAddress: "203.0.113.1", publicPort: 1000, privateAddress: "10.0.0.2" },
    });
    expect(await firstAddressAfter(of.manager, 2)).toBe("10.0.0.3");
  });
});

async function firstAddressAfter(manager: RoutedNetworkManager, n: number): Promise<string> {
  await manager.allocateForInstance(request(n));
  return firstAddress(manager, n);
}

describe("networks of several hosts", () => {
  it("are served by the first host that needs them, for guests of all", async () => {
    await using of = await cloudOf(FlatDhcpManager, twoHosts);
    const [network] = await of.manager.createNetworks({ label: "net", cidr: "10.0.0.0/24", bridge: "br100" });
    await of.second.allocateForInstance(request(1, "host1"));
    await of.manager.allocateForInstance(request(2, "host1"));
    expect((await of.manager.getNetwork(network!.id)).host).toBe("host2");
    expect(of.secondHost.dhcpHosts(network!.id)).toHaveLength(2);
    expect(await of.host.listNetworks()).toEqual([]);
    await of.manager.setupNetworksOnHost(uuid(1), "host1");
    expect(of.host.network(network!.id)).toMatchObject({ bridge: "br100", routed: false });
    expect(of.host.dhcpHosts(network!.id)).toEqual([]);
    expect(await of.manager.setNetworkHost(network!.id)).toBe("host2");
    await expectConsistent(of);
  });

  it("are served by each host for its own guests in multi-host mode", async () => {
    await using of = await cloudOf(FlatDhcpManager, { ...twoHosts, teardownUnusedNetworks: true });
    const [network] = await of.manager.createNetworks({
      label: "net",
      cidr: "10.0.0.0/24",
      bridge: "br100",
      multiHost: true,
    });
    const id = network!.id;
    await of.manager.allocateForInstance(request(1, "host1"));
    const [vif] = await of.manager.allocateForInstance(request(2, "host2"));
    const gateways = [of.host, of.secondHost].map((host) => host.network(id)?.subnets[0]?.hostAddress);
    expect(new Set(gateways).size).toBe(2);
    expect(vif!.network.subnets).toMatchObject([{ gateway: gateways[1], dhcpServer: gateways[1] }]);
    expect([of.host, of.secondHost].map((host) => host.dhcpHosts(id).length)).toEqual([1, 1]);
    await of.manager.deallocateForInstance(uuid(2));
    expect(await of.secondHost.listNetworks()).toEqual([]);
    expect((await of.manager.getFixedIp(gateways[1]!)).host).toBeUndefined();
    await expectConsistent(of);
  });

  it("are one gateway to guests everywhere where all hosts have its address", async () => {
    await using of = await cloudOf(FlatDhcpManager, twoHosts);
    const flat = {
      label: "net",
      cidr: "10.0.0.0/24",
      bridge: "br100",
      cidrV6: "fd00::/64",
      ipv6Mode: "random",
    } as const;
    const [network] = await of.manager.createNetworks({ ...flat, multiHost: true, shareAddress: true });
    for (const [number, host] of ["host1", "host2"].entries()) {
      const [vif] = await of.manager.allocateForInstance(request(number + 1, host));
      // What guests' filters let DHCP in from.
      expect(vif!.network.subnets).toMatchObject([
        { gateway: "10.0.0.1", dhcpServer: "10.0.0.1" },
        { gateway: "fd00::1", dhcpServer: "fd00::1" },
      ]);
    }
    const addresses = [of.host, of.secondHost].map((host) => host.network(network!.id)?.subnets[0]?.hostAddress);
    expect(addresses).toEqual(["10.0.0.1", "10.0.0.1"]);
  });

  it("says that a host can't be reached when something is to be set up there, and does without it to take away", async () => {
    const store = new MemoryNetworkStore();
    const directory = new LocalHostDirectory();
    const remote = new FlatDhcpManager({ store, host: new FakeNetworkHost({ name: "host2" }), directory });
    await using manager = new FlatDhcpManager({ store, host: new FakeNetworkHost({ name: "host1" }), directory });
    await remote.initHost();
    await manager.initHost();
    directory.add(remote.peer);
    const [network] = await manager.createNetworks({ label: "net", cidr: "10.0.0.0/24", bridge: "br100" });
    await remote.setNetworkHost(network!.id);
    await manager.createFloatingRange({ cidr: "198.51.100.0/29" });
    await manager.allocateForInstance(request(1, "host2"));
    const floating = await manager.allocateFloatingIp("p");
    await manager.associateFloatingIp(floating, "10.0.0.2");
    directory.remove("host2");
    await expect(manager.allocateForInstance(request(2, "host2"))).rejects.toMatchObject({
      code: "NETWORK_HOST_UNREACHABLE",
    });
    expect(await manager.getVifsByInstance(uuid(2))).toEqual([]);
    await expect(manager.setupNetworksOnHost(uuid(1), "host2")).rejects.toMatchObject({
      code: "NETWORK_HOST_UNREACHABLE",
    });
    await manager.setupNetworksOnHost(uuid(1), "host2", { teardown: true });
    await manager.deallocateForInstance(uuid(1));
    expect((await manager.getFloatingIp(floating)).fixedAddress).toBeUndefined();
    await remote.close();
  });

  it("come back with all of their guests after every process has ended, without what is gone since", async () => {
    const of = await cloudOf(FlatDhcpManager, twoHosts);
    const [network] = await of.manager.createNetworks({ label: "net", cidr: "10.0.0.0/24", bridge: "br100" });
    await of.manager.createFloatingRange({ cidr: "198.51.100.0/29" });
    await of.manager.allocateForInstance(request(1));
    const floating = await of.manager.allocateFloatingIp("p");
    await of.manager.associateFloatingIp(floating, "10.0.0.2");
    await of.close();
    // While nobody looks: a network and a floating address that are of nobody.
    await of.host.start();
    await of.host.setUpNetwork({ id: "stale", bridge: "br9", subnets: [] }, []);
    await of.host.addFloating({ floatingAddress: "198.51.100.6", fixedAddress: "10.0.0.9", networkId: "stale" });
    await of.host.removeDhcpHost(network!.id, of.host.dhcpHosts(network!.id)[0]!.macAddress);
    const back = await of.restart();
    await expectConsistent(back);
    expect(await of.host.listNetworks()).toEqual([network!.id]);
    expect(await of.host.listFloating()).toMatchObject([{ floatingAddress: floating, fixedAddress: "10.0.0.2" }]);
    await back.close();
  });
});

describe("floating addresses", () => {
  it("are given, moved and taken back, by their owners", async () => {
    await using of = await cloudOf(FlatDhcpManager);
    await of.manager.createNetworks({ label: "net", cidr: "10.0.0.0/24", bridge: "br100" });
    await of.manager.createFloatingRange({ cidr: "198.51.100.0/30", pool: "a", interface: "eth0" });
    await of.manager.createFloatingRange({ cidr: "203.0.113.8/32", pool: "b" });
    expect(await of.manager.getFloatingPools()).toEqual(["a", "b"]);
    for (const n of [1, 2]) await of.manager.allocateForInstance(request(n));
    await of.manager.allocateForInstance(request(3, "host1", "q"));
    const one = await of.manager.allocateFloatingIp("p", "a");
    expect([one, await of.manager.allocateFloatingIp("q", "a")]).toEqual(["198.51.100.1", "198.51.100.2"]);
    await expect(of.manager.allocateFloatingIp("p", "a")).rejects.toMatchObject({ code: "NO_FREE_ADDRESS", pool: "a" });
    await expect(of.manager.allocateFloatingIp("p", "c")).rejects.toMatchObject({ code: "FLOATING_POOL_NOT_FOUND" });
    await of.manager.associateFloatingIp(one, "10.0.0.2", { projectId: "p" });
    await of.manager.associateFloatingIp(one, "10.0.0.2", { projectId: "p" });
    expect(await of.host.listFloating()).toEqual([
      {
        floatingAddress: one,
        fixedAddress: "10.0.0.2",
        networkId: expect.any(String) as string,
        publicInterface: "eth0",
      },
    ]);
    expect(await of.manager.getInstanceIdByFloatingAddress(one)).toBe(uuid(1));
    expect(await of.manager.getFloatingIpsByFixedAddress("10.0.0.2")).toEqual([one]);
    for (const work of [
      () => of.manager.associateFloatingIp(one, "10.0.0.3", { projectId: "q" }),
      () => of.manager.associateFloatingIp(one, "10.0.0.4", { projectId: "p" }),
      () => of.manager.disassociateFloatingIp(one, { projectId: "q" }),
      () => of.manager.deallocateFloatingIp(one, { projectId: "q" }),
    ])
      await expect(work()).rejects.toMatchObject({ code: "FORBIDDEN" });
    await expect(of.manager.associateFloatingIp(one, "10.0.0.99")).rejects.toMatchObject({ code: "ADDRESS_NOT_FOUND" });
    await of.manager.associateFloatingIp(one, "10.0.0.3");
    expect(await of.host.listFloating()).toMatchObject([{ fixedAddress: "10.0.0.3" }]);
    await expect(of.manager.deallocateFloatingIp(one)).rejects.toMatchObject({ code: "ADDRESS_IN_USE" });
    await of.manager.deallocateForInstance(uuid(2));
    expect(await of.host.listFloating()).toEqual([]);
    await of.manager.disassociateFloatingIp(one);
    await expect(of.manager.deleteFloatingRange("198.51.100.0/30")).rejects.toMatchObject({ code: "NETWORK_IN_USE" });
    await of.manager.deallocateFloatingIp(one);
    await expect(of.manager.getFloatingIp(one)).rejects.toMatchObject({ code: "ADDRESS_NOT_FOUND" });
    expect(await of.manager.allocateFloatingIp("p", "a")).toBe(one);
    await of.manager.deleteFloatingRange("203.0.113.8/32");
    await expect(of.manager.createFloatingRange({ cidr: "198.51.100.2/31" })).rejects.toMatchObject({
      code: "NETWORK_CONFLICT",
      field: "request.cidr",
    });
    await expect(of.manager.createFloatingRange({ cidr: "fd00::/64" })).rejects.toMatchObject({
      field: "request.cidr",
    });
    await expectConsistent(of);
  });

  it("lose their names with their owner", async () => {
    const store = new MemoryNetworkStore();
    const dns = new StoreDnsDriver(store);
    await dns.createDomain({ domain: "public.test", scope: "public", projectId: "p" });
    await using manager = new FlatDhcpManager({ store, host: new FakeNetworkHost(), dns: { floating: dns } });
    await manager.createFloatingRange({ cidr: "198.51.100.0/30" });
    const address = await manager.allocateFloatingIp("p");
    await dns.createEntry({ name: "www", domain: "public.test", address });
    await manager.deallocateFloatingIp(address);
    expect(await dns.getEntriesByName("www", "public.test")).toEqual([]);
  });

  it("follow an instance to another host in multi-host mode, and stay with the network's host otherwise", async () => {
    await using of = await cloudOf(FlatDhcpManager, twoHosts);
    await of.manager.createNetworks({ label: "net", cidr: "10.0.0.0/24", bridge: "br100", multiHost: true });
    await of.manager.createNetworks({ label: "one", cidr: "10.1.0.0/24", bridge: "br101" });
    await of.manager.createFloatingRange({ cidr: "198.51.100.0/29" });
    await of.manager.allocateForInstance(request(1));
    const info = await of.manager.getInstanceNwInfo(uuid(1));
    const fixed = info.flatMap(({ fixedIps }) => fixedIps!.map(({ address }) => address));
    for (const address of fixed)
      await of.manager.associateFloatingIp(await of.manager.allocateFloatingIp("p"), address);
    await of.manager.migrateInstanceStart({ instanceUuid: uuid(1), sourceHost: "host1" });
    expect(await of.host.listFloating()).toHaveLength(1);
    await of.manager.migrateInstanceFinish({ instanceUuid: uuid(1), destinationHost: "host2" });
    expect((await of.secondHost.listFloating()).map(({ fixedAddress }) => fixedAddress)).toEqual([
      fixed.find((a) => a.startsWith("10.0.")),
    ]);
    expect((await of.host.listFloating()).map(({ fixedAddress }) => fixedAddress)).toEqual([
      fixed.find((a) => a.startsWith("10.1.")),
    ]);
    await expectConsistent(of);
  });
});
