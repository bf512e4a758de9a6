// A cloud of hosts in memory, with faults at every call to the store and to a host, and the proof that both agree.
import { expect } from "vitest";
import { HyperviseError, VirtualClock } from "../../../../src/core/index.js";
import { StoreUnavailableError } from "../../../../src/network/index.js";
import { MemoryNetworkStore } from "../../../../src/network/index.js";
import { LocalHostDirectory } from "../../../../src/network/index.js";
import type {
  FixedIpRecord,
  FloatingIp,
  Network,
  NetworkManagerOptions,
  NetworkStore,
  RoutedNetworkManager,
  VirtualInterface,
} from "../../../../src/network/index.js";
import { FakeNetworkHost } from "../../../../src/testing/network/index.js";

/** How the call with a number fails: nothing happened; it happened, and nobody learned of it; the process died before or after. */
export type FaultKind = "fails" | "happens and fails" | "dies before" | "dies after";

/** Counts calls to stores and hosts, and lets one of them fail. */
export class Faults {
  calls = 0;
  #at = 0;
  #kind: FaultKind = "fails";
  #dead = false;

  arm(at: number, kind: FaultKind): void {
    this.calls = 0;
    this.#at = at;
    this.#kind = kind;
    this.#dead = false;
  }

  disarm(): void {
    this.arm(0, "fails");
  }

  /** Whether the armed call came. */
  get struck(): boolean {
    return this.#at > 0 && this.calls >= this.#at;
  }

  async around<T>(work: () => Promise<T>): Promise<T> {
    if (this.#dead) throw new HyperviseError("the process is dead", { code: "TEST_DEAD" });
    this.calls += 1;
    if (this.calls !== this.#at) return work();
    if (this.#kind.startsWith("dies")) this.#dead = true;
    if (this.#kind === "happens and fails" || this.#kind === "dies after") await work();
    throw new StoreUnavailableError("a fault of the test", { outcomeUnknown: this.#kind === "happens and fails" });
  }
}

/** Commits pass the faults; reads only when the process is dead, so that undoing is not read-only by chance. */
function faultyStore(store: NetworkStore, faults: Faults): NetworkStore {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      const method = (value as (...args: unknown[]) => Promise<unknown>).bind(target);
      return name === "commit" ? (...args: unknown[]) => faults.around(() => method(...args)) : method;
    },
  });
}

const EFFECTS = [
  "setUpNetwork",
  "tearDownNetwork",
  "setDhcpHost",
  "removeDhcpHost",
  "releaseLease",
  "addFloating",
  "removeFloating",
];

function faultyHost(host: FakeNetworkHost, faults: Faults): FakeNetworkHost {
  return new Proxy(host, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      const method = (value as (...args: unknown[]) => unknown).bind(target);
      return EFFECTS.includes(String(name))
        ? (...args: unknown[]) => faults.around(async () => method(...args))
        : method;
    },
  });
}

export interface Cloud<M extends RoutedNetworkManager> {
  readonly store: MemoryNetworkStore;
  readonly clock: VirtualClock;
  readonly hosts: ReadonlyMap<string, FakeNetworkHost>;
  readonly managers: ReadonlyMap<string, M>;
  readonly faults: Faults;
  /** The manager of the first host. */
  readonly manager: M;
  readonly host: FakeNetworkHost;
  /** New managers over the same store and hosts, as after all processes died. */
  restart(): Promise<Cloud<M>>;
  close(): Promise<void>;
}

export async function cloud<M extends RoutedNetworkManager>(
  Manager: new (options: NetworkManagerOptions) => M,
  options: Partial<NetworkManagerOptions> & { readonly hostNames?: readonly string[] } = {},
  given: {
    readonly store?: MemoryNetworkStore;
    readonly hosts?: ReadonlyMap<string, FakeNetworkHost>;
    readonly clock?: VirtualClock;
  } = {},
): Promise<Cloud<M>> {
  const { hostNames = ["host1"], ...rest } = options;
  const store = given.store ?? new MemoryNetworkStore();
  const clock = given.clock ?? new VirtualClock({ autoAdvance: true });
  const hosts = given.hosts ?? new Map(hostNames.map((name) => [name, new FakeNetworkHost({ name })] as const));
  const faults = new Faults();
  const directory = new LocalHostDirectory();
  const managers = new Map<string, M>();
  for (const [name, host] of hosts) {
    const manager = new Manager({
      store: faultyStore(store, faults),
      host: faultyHost(host, faults),
      directory,
      clock,
      ...rest,
    });
    directory.add(manager.peer);
    managers.set(name, manager);
  }
  for (const manager of managers.values()) await manager.initHost();
  const [first] = managers.values();
  const [host] = hosts.values();
  return {
    store,
    clock,
    hosts,
    managers,
    faults,
    manager: first!,
    host: host!,
    restart: () => cloud(Manager, options, { store, hosts, clock }),
    close: async () => {
      for (const manager of managers.values()) await manager.close();
    },
  };
}

async function all<T>(store: NetworkStore, kind: string): Promise<readonly T[]> {
  return (await store.find({ kind, limit: 10_000 })).map(({ value }) => value as unknown as T);
}

/** What all of a cloud knows, without times: equal before and after what came to nothing. */
export async function snapshot(of: Cloud<RoutedNetworkManager>): Promise<unknown> {
  const timeless = (value: object): object =>
    Object.fromEntries(Object.entries(value).filter(([name]) => name !== "updatedAt" && name !== "createdAt"));
  // An address that has been in use once and is free is as free as one that has not.
  // Hosts keep their own addresses as long as they keep their networks.
  const used = (await all<FixedIpRecord>(of.store, "fixed-ip")).filter((ip) => ip.vifId !== undefined);
  const floating = (await all<FloatingIp>(of.store, "floating-ip")).filter((ip) => ip.projectId !== undefined);
  const hosts = await Promise.all(
    [...of.hosts.values()].map(async (host) => ({
      dhcp: (await host.listNetworks()).map((id) => host.dhcpHosts(id)),
      floating: await host.listFloating(),
    })),
  );
  return {
    used: used.map(timeless),
    floating: floating.map(timeless),
    vifs: (await all<VirtualInterface>(of.store, "vif")).map(timeless),
    dns: await all(of.store, "dns-entry"),
    hosts: hosts.map(({ dhcp, floating: bound }) => ({ dhcp: dhcp.flat(), bound })),
  };
}

/** No address is lost or given twice, and every host has exactly what the state says. */
export async function expectConsistent(of: Cloud<RoutedNetworkManager>): Promise<void> {
  const networks = new Map((await all<Network>(of.store, "network")).map((network) => [network.id, network]));
  const vifs = await all<VirtualInterface>(of.store, "vif");
  const ips = await all<FixedIpRecord>(of.store, "fixed-ip");
  const floating = await all<FloatingIp>(of.store, "floating-ip");
  const ofVif = new Map(vifs.map((vif) => [vif.id, vif]));
  for (const ip of ips) if (ip.allocated) expect(ofVif.get(ip.vifId ?? "")?.instanceUuid).toBe(ip.instanceUuid);
  for (const [name, host] of of.hosts) {
    const serves = (network: Network, vif: VirtualInterface): boolean =>
      network.multiHost ? vif.host === name : network.host === name;
    for (const network of networks.values()) {
      const wanted = vifs
        .filter((vif) => vif.networkId === network.id && serves(network, vif))
        .map((vif) => [
          vif.address,
          ips
            .filter((ip) => ip.vifId === vif.id && ip.allocated)
            .map(({ address }) => address)
            .sort(),
        ])
        .filter(([, addresses]) => addresses!.length > 0);
      const there = host.dhcpHosts(network.id).map(({ macAddress, addresses }) => [macAddress, [...addresses].sort()]);
      expect(Object.fromEntries(there), `DHCP of ${network.label} on ${name}`).toEqual(Object.fromEntries(wanted));
    }
    const bound = (await host.listFloating()).map(({ floatingAddress, fixedAddress }) => [
      floatingAddress,
      fixedAddress,
    ]);
    const wanted = floating
      .filter((ip) => ip.host === name && ip.fixedAddress !== undefined && ip.releasing !== true)
      .map((ip) => [ip.address, ip.fixedAddress]);
    expect(Object.fromEntries(bound), `floating addresses on ${name}`).toEqual(Object.fromEntries(wanted));
  }
  for (const ip of floating) {
    if (ip.fixedAddress === undefined) continue;
    expect(ips.find(({ address }) => address === ip.fixedAddress)?.allocated, `what ${ip.address} stands for`).toBe(
      true,
    );
  }
}
