import { describe, expect, it } from "vitest";
import { FlatDhcpManager, FlatManager, MemoryNetworkStore, StoreDnsDriver } from "../../../../src/network/index.js";
import type { MembersChange } from "../../../../src/network/index.js";
import { FakeNetworkHost } from "../../../../src/testing/network/index.js";
import { cloud, expectConsistent } from "./support.js";

const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const NET = { label: "net", cidr: "10.0.0.0/28", bridge: "br100" };
const request = (n: number, more: object = {}) => ({
  instanceUuid: uuid(n),
  projectId: "p",
  host: "host1",
  hostname: `vm${n}`,
  ...more,
});
const addressesOf = (vifs: readonly { readonly fixedIps?: readonly { readonly address: string }[] }[]): string[] =>
  vifs.flatMap(({ fixedIps = [] }) => fixedIps.map(({ address }) => address));

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

describe("FlatDhcpManager", () => {
  it("gives an instance VIFs that drivers can plug, and hosts what guests need", async () => {
    const changes: MembersChange[] = [];
    await using of = await cloudOf({ onMembersChanged: async (change: MembersChange) => void changes.push(change) });
    const [network] = await of.manager.createNetworks({
      ...NET,
      cidrV6: "fd00::/64",
      dnsServers: ["9.9.9.9", "2620:fe::fe"],
      mtu: 1400,
      domain: "cloud.test",
    });
    const vifs = await of.manager.allocateForInstance(request(1, { securityGroups: ["web"] }));
    expect(vifs).toEqual([
      {
        type: "bridge",
        id: expect.any(String) as string,
        macAddress: expect.stringMatching(/^fa:16:3e:/) as string,
        bridge: "br100",
        network: {
          id: network!.id,
          label: "net",
          mtu: 1400,
          subnets: [
            { cidr: "10.0.0.0/28", gateway: "10.0.0.1", dnsServers: ["9.9.9.9"], dhcpServer: "10.0.0.1" },
            { cidr: "fd00::/64", gateway: "fd00::1", dnsServers: ["2620:fe::fe"] },
          ],
        },
        fixedIps: [{ address: "10.0.0.2" }, { address: expect.stringMatching(/^fd00::f816:3eff:/) as string }],
        securityGroups: ["web"],
      },
    ]);
    expect(of.host.network(network!.id)).toMatchObject({
      bridge: "br100",
      routed: true,
      domain: "cloud.test",
      subnets: [
        { hostAddress: "10.0.0.1", dhcpStart: "10.0.0.2" },
        { hostAddress: "fd00::1", slaac: true },
      ],
    });
    expect(of.host.dhcpHosts(network!.id)).toMatchObject([{ hostname: "vm1", vifId: vifs[0]!.id }]);
    expect(changes).toEqual([{ instanceUuid: uuid(1), securityGroups: ["web"] }]);
    expect(await of.manager.allocateForInstance(request(1))).toEqual(vifs);
    expect((await of.manager.getNetwork(network!.id)).host).toBe("host1");
    expect((await of.manager.getVifByMacAddress(vifs[0]!.macAddress.toUpperCase())).instanceUuid).toBe(uuid(1));
    await of.manager.deallocateForInstance(uuid(1));
    await of.manager.deallocateForInstance(uuid(1));
    expect(of.host.dhcpHosts(network!.id)).toEqual([]);
    expect(changes.length).toBe(3);
  });

  it("gives out every address once, and then the one that was released longest ago", async () => {
    await using of = await cloudOf();
    await of.manager.createNetworks(NET);
    const first: string[] = [];
    for (let n = 1; n <= 13; n++) first.push(...addressesOf(await of.manager.allocateForInstance(request(n))));
    expect(first).toEqual(Array.from({ length: 13 }, (_, at) => `10.0.0.${at + 2}`));
    await expect(of.manager.allocateForInstance(request(14))).rejects.toMatchObject({
      code: "NO_FREE_ADDRESS",
      retryable: true,
    });
    expect(await of.manager.getVifsByInstance(uuid(14))).toEqual([]);
    for (const n of [7, 3, 5]) {
      await of.clock.tick(1_000);
      await of.manager.deallocateForInstance(uuid(n));
    }
    const again: string[] = [];
    for (let n = 20; n <= 22; n++) again.push(...addressesOf(await of.manager.allocateForInstance(request(n))));
    expect(again).toEqual(["10.0.0.8", "10.0.0.4", "10.0.0.6"]);
    await expectConsistent(of);
  });

  it("takes the address and MAC address that are asked for, and refuses those that can't be", async () => {
    await using of = await cloudOf();
    const [network] = await of.manager.createNetworks(NET);
    const networks = [{ networkId: network!.id, fixedIp: "10.0.0.9", macAddress: "52:54:00:00:00:01" }];
    expect(addressesOf(await of.manager.allocateForInstance(request(1, { networks })))).toEqual(["10.0.0.9"]);
    await expect(of.manager.allocateForInstance(request(2, { networks }))).rejects.toMatchObject({
      code: "ADDRESS_IN_USE",
      address: "10.0.0.9",
    });
    const sameMac = [{ networkId: network!.id, macAddress: "52:54:00:00:00:01" }];
    await expect(of.manager.allocateForInstance(request(2, { networks: sameMac }))).rejects.toMatchObject({
      code: "ADDRESS_IN_USE",
      address: "52:54:00:00:00:01",
    });
    for (const [fixedIp, code] of [
      ["10.0.0.1", "ADDRESS_IN_USE"],
      ["10.0.0.15", "ADDRESS_IN_USE"],
      ["10.9.0.9", "ADDRESS_NOT_FOUND"],
      ["fd00::9", "ADDRESS_NOT_FOUND"],
    ]) {
      await expect(of.manager.validateNetworks([{ networkId: network!.id, fixedIp: fixedIp! }])).rejects.toMatchObject({
        code,
      });
    }
    await of.manager.reserveFixedIp("10.0.0.3");
    await expect(of.manager.validateNetworks([{ networkId: network!.id, fixedIp: "10.0.0.3" }])).rejects.toMatchObject({
      code: "ADDRESS_IN_USE",
    });
    expect(addressesOf(await of.manager.allocateForInstance(request(3)))).toEqual(["10.0.0.2"]);
    expect(addressesOf(await of.manager.allocateForInstance(request(4)))).toEqual(["10.0.0.4"]);
    await of.manager.reserveFixedIp("10.0.0.3", false);
    await of.manager.validateNetworks([{ networkId: network!.id, fixedIp: "10.0.0.3" }]);
    await expect(of.manager.validateNetworks([{ networkId: uuid(99) }])).rejects.toMatchObject({
      code: "NETWORK_NOT_FOUND",
    });
    for (const [bad, field] of [
      [{ instanceUuid: "x" }, "request.instanceUuid"],
      [{ hostname: "a b" }, "request.hostname"],
      [{ hostname: "a\nb" }, "request.hostname"],
      [{ projectId: "../x" }, "request.projectId"],
      [{ networks: [{ networkId: network!.id, macAddress: "ff:ff:ff:ff:ff:ff" }] }, "request.networks[0].macAddress"],
      [{ networks: [{ networkId: network!.id, fixedIp: "10.0.0.2;" }] }, "request.networks[0].fixedIp"],
    ] as const)
      await expect(of.manager.allocateForInstance(request(9, bad))).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        field,
      });
  });

  it("gives up after as many MAC addresses as it may try", async () => {
    let drawn = 0;
    await using of = await cloudOf({
      newMacAddress: () => (++drawn, "fa:16:3e:00:00:01"),
      createUniqueMacAddressAttempts: 3,
    });
    await of.manager.createNetworks(NET);
    await of.manager.allocateForInstance(request(1));
    drawn = 0;
    await expect(of.manager.allocateForInstance(request(2))).rejects.toMatchObject({ code: "NO_FREE_MAC_ADDRESS" });
    expect(drawn).toBe(3);
    await expectConsistent(of);
  });

  it("holds quotas, also when many ask at once", async () => {
    await using of = await cloudOf({ quotas: { fixedIps: 4, floatingIps: 3 } });
    await of.manager.createNetworks(NET);
    await of.manager.createFloatingRange({ cidr: "198.51.100.0/28" });
    const fixed = await Promise.allSettled(
      Array.from({ length: 8 }, (_, n) => of.manager.allocateForInstance(request(n))),
    );
    expect(fixed.filter(({ status }) => status === "fulfilled")).toHaveLength(4);
    const floating = await Promise.allSettled(Array.from({ length: 8 }, () => of.manager.allocateFloatingIp("p")));
    expect(floating.filter(({ status }) => status === "fulfilled")).toHaveLength(3);
    await expect(of.manager.allocateFloatingIp("p")).rejects.toMatchObject({
      code: "QUOTA_EXCEEDED",
      resource: "floatingIps",
      limit: 3,
    });
    await of.manager.allocateFloatingIp("q");
    await expectConsistent(of);
  });

  it("follows leases: an address that was given back is free when its lease ends, or its time is over", async () => {
    await using of = await cloudOf({ forceDhcpRelease: false, fixedIpDisassociateTimeoutMs: 1_000 });
    const [network] = await of.manager.createNetworks(NET);
    for (const n of [1, 2]) {
      const [vif] = await of.manager.allocateForInstance(request(n));
      of.host.giveLease(network!.id, vif!.macAddress);
    }
    await settle();
    expect((await of.manager.getFixedIp("10.0.0.2")).leased).toBe(true);
    expect(await of.manager.getDhcpLeases(network!.id)).toHaveLength(2);
    await of.manager.deallocateForInstance(uuid(1));
    await of.manager.deallocateForInstance(uuid(2));
    expect(await of.manager.getFixedIp("10.0.0.2")).toMatchObject({
      allocated: false,
      leased: true,
      instanceUuid: uuid(1),
    });
    of.host.endLease(network!.id, "10.0.0.2");
    await settle();
    const freed = await of.manager.getFixedIp("10.0.0.2");
    expect([freed.leased, freed.instanceUuid]).toEqual([false, undefined]);
    expect(await of.manager.runPeriodicTasks()).toEqual({ disassociated: 0 });
    await of.clock.tick(1_001);
    expect(await of.manager.runPeriodicTasks()).toEqual({ disassociated: 1 });
    expect((await of.manager.getFixedIp("10.0.0.3")).instanceUuid).toBeUndefined();
  });

  it("does not believe what a lease says of another instance's address", async () => {
    await using of = await cloudOf();
    await of.manager.createNetworks(NET);
    const [one] = await of.manager.allocateForInstance(request(1));
    const [two] = await of.manager.allocateForInstance(request(2));
    await of.manager.leaseFixedIp("10.0.0.2", two!.macAddress);
    expect((await of.manager.getFixedIp("10.0.0.2")).leased).toBe(false);
    await of.manager.leaseFixedIp("10.0.0.2", one!.macAddress);
    await of.manager.releaseFixedIp("10.0.0.2", two!.macAddress);
    expect((await of.manager.getFixedIp("10.0.0.2")).leased).toBe(true);
    await of.manager.leaseFixedIp("10.0.0.12");
    await expect(of.manager.getFixedIp("10.0.0.12")).rejects.toMatchObject({ code: "ADDRESS_NOT_FOUND" });
  });

  it("adds addresses to the VIF of a network, or a VIF for a new network, and takes them away", async () => {
    await using of = await cloudOf({ useSingleDefaultGateway: true });
    const [a] = await of.manager.createNetworks(NET);
    const vifs = await of.manager.allocateForInstance(request(1));
    const [b] = await of.manager.createNetworks({ label: "b", cidr: "10.1.0.0/28", bridge: "br101" });
    expect(await of.manager.addFixedIpToInstance(uuid(1), a!.id, { fixedIp: "10.0.0.7" })).toBe("10.0.0.7");
    expect(await of.manager.allocateFixedIp(uuid(1), b!.id)).toBe("10.1.0.2");
    const info = await of.manager.getInstanceNwInfo(uuid(1));
    expect(info.map(({ id, fixedIps }) => [id === vifs[0]!.id, addressesOf([{ fixedIps: fixedIps! }])])).toEqual([
      [true, ["10.0.0.2", "10.0.0.7"]],
      [false, ["10.1.0.2"]],
    ]);
    expect(of.host.dhcpHosts(b!.id)).toMatchObject([{ defaultGateway: false }]);
    await of.manager.removeFixedIpFromInstance(uuid(1), "10.0.0.2");
    await of.manager.deallocateFixedIp("10.1.0.2");
    await expect(of.manager.removeFixedIpFromInstance(uuid(1), "10.0.0.9")).rejects.toMatchObject({
      code: "ADDRESS_NOT_FOUND",
    });
    await expect(of.manager.addFixedIpToInstance(uuid(8), a!.id)).rejects.toMatchObject({ code: "VIF_NOT_FOUND" });
    expect(of.host.dhcpHosts(a!.id)).toMatchObject([{ addresses: ["10.0.0.7"] }]);
    expect(of.host.dhcpHosts(b!.id)).toEqual([]);
    await expectConsistent(of);
  });

  it("names instances in DNS, and lets nobody take another's name", async () => {
    const store = new MemoryNetworkStore();
    const dns = new StoreDnsDriver(store);
    await dns.createDomain({ domain: "cloud.test", scope: "private", zone: "z" });
    await using of = await cloudOf({ dns: { instances: dns, instanceDomain: "cloud.test" } }, store);
    await of.manager.createNetworks({ ...NET, cidrV6: "fd00::/64" });
    const vifs = await of.manager.allocateForInstance(request(1));
    expect(await dns.getEntriesByName("vm1", "cloud.test")).toEqual(addressesOf(vifs));
    expect(await dns.getEntriesByAddress("10.0.0.2", "cloud.test")).toEqual([uuid(1), "vm1"].sort());
    await expect(of.manager.allocateForInstance(request(2, { hostname: "vm1" }))).rejects.toMatchObject({
      code: "CONFLICT",
    });
    expect(await of.manager.getVifsByInstance(uuid(2))).toEqual([]);
    expect(await dns.getEntriesByName("vm1", "cloud.test")).toEqual(addressesOf(vifs));
    await of.manager.deallocateForInstance(uuid(1));
    expect(await dns.getEntriesByName("vm1", "cloud.test")).toEqual([]);
    await expectConsistent(of);
  });

  it("deletes networks that nobody uses, on the hosts too, and lets their ranges be used anew", async () => {
    await using of = await cloudOf();
    const [network] = await of.manager.createNetworks(NET);
    await of.manager.allocateForInstance(request(1));
    await expect(of.manager.deleteNetwork(network!.id)).rejects.toMatchObject({ code: "NETWORK_IN_USE" });
    await of.manager.deallocateForInstance(uuid(1));
    expect(of.host.network(network!.id)).toBeDefined();
    await of.manager.deleteNetwork(network!.id);
    expect(await of.host.listNetworks()).toEqual([]);
    await expect(of.manager.deleteNetwork(network!.id)).rejects.toMatchObject({ code: "NETWORK_NOT_FOUND" });
    await of.manager.createNetworks(NET);
    expect(addressesOf(await of.manager.allocateForInstance(request(2)))).toEqual(["10.0.0.2"]);
  });

  it("makes networks once when many make them at the same time", async () => {
    await using of = await cloudOf();
    const made = await Promise.all(
      Array.from({ length: 6 }, (_, n) =>
        of.manager.createNetworks({ label: `n${n}`, cidr: "10.0.0.0/16", networkSize: 64, bridge: `br${n}` }),
      ),
    );
    expect(new Set(made.map(([network]) => network!.cidr)).size).toBe(6);
  });

  it("changes what may be changed of a network, at its host too", async () => {
    await using of = await cloudOf();
    const [network] = await of.manager.createNetworks({ ...NET, domain: "a.test" });
    await of.manager.setNetworkHost(network!.id);
    await of.manager.modifyNetwork(network!.id, { dnsServers: ["9.9.9.9"], domain: null });
    expect(of.host.network(network!.id)).toMatchObject({ subnets: [{ dnsServers: ["9.9.9.9"] }] });
    expect(of.host.network(network!.id)?.domain).toBeUndefined();
    await expect(of.manager.modifyNetwork(network!.id, { mtu: 1 })).rejects.toMatchObject({ field: "changes.mtu" });
  });

  it("refuses everything once it is closed", async () => {
    const of = await cloudOf();
    await of.manager.close();
    await of.manager.close();
    expect(of.host.started).toBe(false);
    await expect(of.manager.allocateForInstance(request(1))).rejects.toMatchObject({ code: "CLOSED" });
  });
});

describe("FlatManager", () => {
  it("gives out addresses and leaves hosts alone; what is given back is free at once", async () => {
    const host = new FakeNetworkHost();
    await using manager = new FlatManager({ store: new MemoryNetworkStore(), host });
    await manager.initHost();
    await manager.createNetworks({ ...NET, injected: true });
    expect(addressesOf(await manager.allocateForInstance(request(1)))).toEqual(["10.0.0.2"]);
    expect(await host.listNetworks()).toEqual([]);
    await manager.leaseFixedIp("10.0.0.2");
    await manager.deallocateForInstance(uuid(1));
    expect((await manager.getFixedIp("10.0.0.2")).instanceUuid).toBeUndefined();
    await expect(manager.createNetworks({ label: "v", cidr: "10.1.0.0/24" })).rejects.toMatchObject({
      field: "request.bridge",
    });
  });
});

async function cloudOf(options: object = {}, store?: MemoryNetworkStore) {
  const of = await cloud(FlatDhcpManager, options, store === undefined ? {} : { store });
  return { ...of, [Symbol.asyncDispose]: () => of.close() };
}
