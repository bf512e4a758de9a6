/** The DHCP servers of a host's networks, looked after: one that dies is started again. */
import { mkdir, readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { InvalidArgumentError, KeyedLock, asError, traceMessage } from "../../core/index.js";
import { HostIoError } from "../../host/index.js";
import { isServed } from "../dhcp/dnsmasq-config.js";
import { DnsmasqServer } from "../dhcp/dnsmasq-server.js";
import { LeaseSpool } from "../dhcp/lease-spool.js";
import type { LinuxNetworkHostSettings } from "./linux-network-host-options.js";
import type { DhcpHost, HostNetwork } from "./network-host.js";

/** Calls about one network wait for each other; those about several do not. */
export class DhcpServers {
  readonly spool: LeaseSpool;
  readonly #settings: LinuxNetworkHostSettings;
  readonly #servers = new Map<string, DnsmasqServer>();
  readonly #locks = new KeyedLock();
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> | undefined;

  constructor(settings: LinuxNetworkHostSettings) {
    this.#settings = settings;
    this.spool = new LeaseSpool({
      path: join(settings.directory, "spool", "leases"),
      macOf: (id, address) => this.#servers.get(id)?.macOf(address),
    });
  }

  /** Records of the host as a whole, which each server serves. */
  get commonDnsHosts(): string {
    return join(this.#settings.directory, "dns");
  }

  /** @throws InvalidArgumentError when the servers' user could not reach their files; HostIoError */
  async makeDirectories(): Promise<void> {
    const { directory, dnsmasqUser } = this.#settings;
    try {
      for (const path of [directory, this.#root, this.commonDnsHosts, dirname(this.spool.path)])
        await mkdir(path, { recursive: true, mode: 0o755 });
      if (dnsmasqUser === "root") return;
      for (let path = directory; path !== "/"; path = dirname(path))
        if (((await stat(path)).mode & 0o001) === 0) throw unreachable(directory, path, dnsmasqUser);
    } catch (error) {
      if (error instanceof InvalidArgumentError) throw error;
      throw new HostIoError({ operation: "making a directory", path: directory, cause: error });
    }
  }

  /** Takes up the servers of these networks, starts those that do not run, and removes the files of others. */
  async start(networks: readonly HostNetwork[]): Promise<void> {
    await this.spool.start();
    const known = new Set(networks.map(({ id }) => id));
    for (const id of await readdir(this.#root)) if (!known.has(id)) await this.#newServer(id).stop();
    for (const network of networks) {
      if (!network.subnets.some(isServed)) continue;
      const server = this.#newServer(network.id);
      await server.adopt(network);
      await server.ensure(network, await server.hosts());
      this.#servers.set(network.id, server);
    }
    this.#timer = setInterval(() => this.#look(), this.#settings.timeouts.watchMs).unref();
  }

  /** Lets go of the servers, which run on. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#round;
    await this.spool.close();
    this.#servers.clear();
  }

  get(networkId: string): DnsmasqServer | undefined {
    return this.#servers.get(networkId);
  }

  /** Runs while nothing else changes a network's server. */
  exclusively<T>(networkId: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#locks.run(networkId, work, { signal });
  }

  /** A server with exactly these hosts, or none where the network wants none; what it was told before is given back. */
  async ensure(network: HostNetwork, hosts: readonly DhcpHost[], signal?: AbortSignal): Promise<void> {
    if (!network.subnets.some(isServed)) return this.remove(network.id);
    const server = this.#servers.get(network.id) ?? this.#newServer(network.id);
    this.#servers.set(network.id, server);
    await server.ensure(network, hosts, signal === undefined ? {} : { signal });
  }

  /** Ends a network's server and removes its files. */
  async remove(networkId: string): Promise<void> {
    const server = this.#servers.get(networkId) ?? this.#newServer(networkId);
    this.#servers.delete(networkId);
    await server.stop();
  }

  get #root(): string {
    return join(this.#settings.directory, "dhcp");
  }

  #newServer(networkId: string): DnsmasqServer {
    const { commands, timeouts, leaseSeconds, dnsForwarders, dnsmasqUser: user } = this.#settings;
    return new DnsmasqServer({
      directory: join(this.#root, networkId),
      commonDnsHosts: this.commonDnsHosts,
      spool: this.spool.path,
      commands,
      settings: { leaseSeconds, dnsForwarders, user },
      timeouts,
    });
  }

  #look(): void {
    this.#round ??= this.#reviveAll().finally(() => {
      this.#round = undefined;
    });
  }

  async #reviveAll(): Promise<void> {
    for (const [id, server] of [...this.#servers]) {
      try {
        const revive = (): Promise<boolean> =>
          this.#servers.get(id) === server ? server.revive() : Promise.resolve(false);
        // One that is worked on is looked at by who works on it.
        if (!this.#locks.isLocked(id) && (await this.#locks.run(id, revive)))
          traceMessage("hypervise:network:dhcp-server", () => ({ networkId: id, revived: true }));
      } catch (error) {
        traceMessage("hypervise:network:dhcp-server", () => ({ networkId: id, error: asError(error).message }));
      }
    }
  }
}

function unreachable(directory: string, path: string, user: string): InvalidArgumentError {
  return new InvalidArgumentError({
    field: "directory",
    value: directory,
    expected: `a path that the user ${user} can reach (chmod o+x ${path}), or dnsmasqUser "root"`,
  });
}
