// What goes wrong on a host while a manager works: neither the state nor the host keeps anything of it.
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FlatDhcpManager, MemoryNetworkStore } from "../../../src/network/index.js";
import type { Network } from "../../../src/network/index.js";
import { requirePackages, waitFor } from "../../lab/index.js";
import { FaultyRunner } from "./faulty-runner.js";
import { hostSnapshot } from "./host-snapshot.js";
import { NetworkLab } from "./network-lab.js";

const MAC = "fa:16:3e:00:00:77";
const ADDRESS = "10.1.0.77";
const SECOND = "10.1.0.78";
/** More commands than any call of a manager takes. */
const MOST = 60;

let lab: NetworkLab;
let faulty: FaultyRunner;
let store: MemoryNetworkStore;
let manager: FlatDhcpManager;
let network: Network;
const managers: FlatDhcpManager[] = [];

async function newManager(commands?: FaultyRunner): Promise<FlatDhcpManager> {
  // Neighbours are told without anybody waiting for it, which nothing can be counted by.
  const host = lab.newHost({ gratuitousArps: 0, ...(commands === undefined ? {} : { commands }) });
  const made = new FlatDhcpManager({ store, host });
  managers.push(made);
  await made.initHost();
  return made;
}

beforeEach(async () => {
  requirePackages("ip", "nft", "dnsmasq", "conntrack", "dhcp_release", "udhcpc", "sysctl");
  lab = await NetworkLab.create();
  faulty = new FaultyRunner();
  store = new MemoryNetworkStore();
  manager = await newManager(faulty);
  network = (await manager.createNetworks({ label: "private", cidr: "10.1.0.0/24", bridge: "br-one" }))[0]!;
  await manager.createFloatingRange({ cidr: "192.0.2.64/28", pool: "public" });
});

afterEach(async () => {
  for (const one of managers.splice(0)) await one.close();
  await lab?.[Symbol.asyncDispose]();
});

/** All that anybody has of addresses, in the state and on the host. */
async function everything(): Promise<unknown> {
  const records = async (
    kind: string,
    isUsed: (value: Readonly<Record<string, unknown>>) => boolean,
  ): Promise<unknown> =>
    (await store.find({ kind, limit: 1_000 }))
      .map(({ value }) => value as Readonly<Record<string, unknown>>)
      .filter(isUsed)
      .map(({ updatedAt: _at, leased: _leased, ...rest }) => rest);
  return {
    vifs: await records("vif", () => true),
    fixed: await records("fixed-ip", ({ vifId }) => vifId !== undefined),
    floating: await records("floating-ip", ({ projectId }) => projectId !== undefined),
    host: await hostSnapshot(lab),
  };
}

const fails = (work: Promise<unknown>): Promise<boolean> =>
  work.then(
    () => false,
    () => true,
  );

const allocate = (instanceUuid: string, fixedIp: string, macAddress: string): Promise<unknown> =>
  manager.allocateForInstance({
    ...{ instanceUuid, projectId: "p1", host: "host-1", hostname: `web-${instanceUuid.slice(0, 4)}` },
    networks: [{ networkId: network.id, fixedIp, macAddress }],
  });

/** Lets each command of a call fail in turn, before and after its effect, until one call gets through. */
async function eachFault(call: () => Promise<unknown>, afterFault: (what: string) => Promise<void>): Promise<number> {
  let faults = 0;
  for (let at = 1; at < MOST; at++) {
    for (const when of ["before", "after"] as const) {
      faulty.failAt(at, when);
      const failed = await fails(call());
      const noticed = !faulty.pending;
      faulty.failAt(0, "before");
      if (!failed && !noticed) return faults;
      // What had its effect all the same need not have been missed.
      expect(failed || when === "after", `nobody noticed the fault before command ${at}`).toBe(true);
      faults++;
      await afterFault(`after a fault ${when} command ${at}`);
    }
  }
  throw new Error("the call never got through");
}

describe("a fault at any command of a manager's call", () => {
  it("leaves state and host as they were, when something comes", async () => {
    const [first, second] = [randomUUID(), randomUUID()];
    const asBefore = async (call: () => Promise<unknown>): Promise<void> => {
      const before = await everything();
      const faults = await eachFault(call, async (what) => expect(await everything(), what).toEqual(before));
      expect(faults).toBeGreaterThan(0);
      expect(await everything()).not.toEqual(before);
    };
    // With the bridge, its DHCP server and all rules.
    await asBefore(() => allocate(first, ADDRESS, MAC));
    const floating = await manager.allocateFloatingIp("p1", "public");
    await asBefore(() => manager.associateFloatingIp(floating, ADDRESS));
    await allocate(second, SECOND, "fa:16:3e:00:00:78");
    // One that moves stands for nothing while it does.
    const faults = await eachFault(
      () => manager.associateFloatingIp(floating, SECOND),
      async (what) => {
        const { fixedAddress } = await manager.getFloatingIpByAddress(floating);
        const forwards = await managers.at(-1)!.getFloatingIpsByFixedAddress(SECOND);
        expect([ADDRESS, undefined], what).toContain(fixedAddress);
        expect(forwards, what).toEqual([]);
        await manager.associateFloatingIp(floating, ADDRESS);
      },
    );
    expect(faults).toBeGreaterThan(0);
    expect(await manager.getFloatingIpsByFixedAddress(SECOND)).toEqual([floating]);
  }, 900_000);

  it("is made good by the same call, when something goes", async () => {
    const [anchor, instanceUuid] = [randomUUID(), randomUUID()];
    await allocate(anchor, SECOND, "fa:16:3e:00:00:78");
    const guest = await lab.addGuest("br-one", MAC);
    const floating = await manager.allocateFloatingIp("p1", "public");
    const without = await everything();
    const setUp = async (after = "at the beginning"): Promise<void> => {
      await allocate(instanceUuid, ADDRESS, MAC);
      await manager.associateFloatingIp(floating, ADDRESS);
      expect(await guest.dhcp(), after).toMatchObject({ address: ADDRESS });
      const isLeased = async (): Promise<boolean> => (await manager.getFixedIpByAddress(ADDRESS)).leased;
      await waitFor(isLeased, { timeoutMs: 90_000, what: "a note of the lease" });
    };
    await setUp();
    const faults = await eachFault(
      () => manager.deallocateForInstance(instanceUuid),
      async (what) => {
        await manager.deallocateForInstance(instanceUuid);
        expect(await everything(), what).toEqual(without);
        expect(await manager.getDhcpLeases(network.id), what).toEqual([]);
        await setUp(what);
      },
    );
    expect(faults).toBeGreaterThan(0);
    expect(await everything()).toEqual(without);
  }, 900_000);

  it("and of the whole process, is made good by the next one", async () => {
    const instanceUuid = randomUUID();
    const floating = await manager.allocateFloatingIp("p1", "public");
    const without = await everything();
    for (let at = 1; ; at++) {
      expect(at).toBeLessThan(MOST);
      // No command gets through any more, also none that would undo something.
      faulty.dieAt(at);
      const died = await fails(
        allocate(instanceUuid, ADDRESS, MAC).then(() => manager.associateFloatingIp(floating, ADDRESS)),
      );
      faulty.failAt(0, "before");
      await manager.close();
      manager = await newManager(faulty);
      await allocate(instanceUuid, ADDRESS, MAC);
      await manager.associateFloatingIp(floating, ADDRESS);
      expect(await lab.host.run(["ip", "-o", "address"]), `died at command ${at}`).toContain(floating);
      await manager.deallocateForInstance(instanceUuid);
      await manager.disassociateNetwork(network.id);
      await manager.setupNetworksOnHost(instanceUuid);
      await manager.deleteNetwork(network.id);
      network = (await manager.createNetworks({ label: "private", cidr: "10.1.0.0/24", bridge: "br-one" }))[0]!;
      expect(await everything(), `died at command ${at}`).toEqual(without);
      if (!died) break;
    }
  }, 900_000);
});
