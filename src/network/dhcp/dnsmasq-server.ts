/** One network's DHCP and DNS server: a dnsmasq of its own that outlives this process, and is taken up again by the next. */
import { chmod, mkdir, readFile, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { asError, isHyperviseError, withRollback } from "../../core/index.js";
import {
  HostIoError,
  errnoName,
  identityOf,
  isAlive,
  killProcess,
  waitForExit,
  writeFileAtomic,
} from "../../host/index.js";
import type { CommandRunner, ProcessIdentity } from "../../host/index.js";
import { NetworkHostError } from "../errors.js";
import type { DhcpHost, DhcpLease, HostNetwork } from "../host/network-host.js";
import {
  dhcpHostLine,
  formatDhcpHost,
  formatDnsHost,
  formatIgnoredHost,
  hostFileName,
  parseDhcpHost,
} from "./dhcp-host-file.js";
import type { DhcpTimeouts } from "./dhcp-timeouts.js";
import { checkPlainPath, dnsmasqConfig, dnsmasqOptions, leaseScript } from "./dnsmasq-config.js";
import type { DnsmasqPaths, DnsmasqSettings } from "./dnsmasq-config.js";
import { HostsDirectory } from "./hosts-directory.js";
import { parseLeases } from "./lease-file.js";
import { releaseLease } from "./release-lease.js";

export interface DnsmasqServerOptions {
  /** A directory of this server's own; letters, digits and . _ - alone. */
  readonly directory: string;
  /** Records of the host as a whole. */
  readonly commonDnsHosts: string;
  /** Where the lease script writes. */
  readonly spool: string;
  /** Commands of the namespace that the server is to be in. */
  readonly commands: CommandRunner;
  readonly settings: DnsmasqSettings;
  readonly timeouts: DhcpTimeouts;
}

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** So many addresses or NICs of which dnsmasq still has a note are worth a reading of everything. */
const FORGET_AFTER = 1_024;
const MAX_LOG_BYTES = 4 * 1024 * 1024;

/** Not for concurrent calls about the same server. Failures are `NetworkHostError`, `HostIoError`, and those of the command runner. */
export class DnsmasqServer {
  readonly #options: DnsmasqServerOptions;
  readonly #paths: DnsmasqPaths;
  /** A file that is there as long as the server may know a NIC by a tag. */
  readonly #tagged: string;
  readonly #dhcp: HostsDirectory;
  readonly #dns: HostsDirectory;
  /** By name of file. */
  #hosts: Map<string, DhcpHost> | undefined;
  #network: HostNetwork | undefined;
  #process: ProcessIdentity | undefined;
  /** Addresses of lines that dnsmasq has read and that hold no more: before it has read everything again, it refuses a line with one of them. */
  readonly #stale = new Set<string>();
  /** Names of files that make dnsmasq deaf to NICs, until it has forgotten them. */
  readonly #ignored = new Set<string>();

  /** @throws InvalidArgumentError for a path that a configuration would read as something else. */
  constructor(options: DnsmasqServerOptions) {
    const directory = checkPlainPath(options.directory, "directory");
    checkPlainPath(options.spool, "spool");
    this.#options = options;
    const file = (name: string): string => join(directory, name);
    this.#paths = {
      config: file("dnsmasq.conf"),
      options: file("options"),
      dhcpHosts: file("dhcp"),
      dnsHosts: file("dns"),
      commonDnsHosts: checkPlainPath(options.commonDnsHosts, "commonDnsHosts"),
      leases: file("leases"),
      pid: file("pid"),
      log: file("log"),
      script: file("lease-script"),
    };
    this.#tagged = file("tagged");
    this.#dhcp = new HostsDirectory(this.#paths.dhcpHosts);
    this.#dns = new HostsDirectory(this.#paths.dnsHosts);
  }

  get process(): ProcessIdentity | undefined {
    return this.#process;
  }

  /** What the server is told of NICs now. */
  async hosts(): Promise<readonly DhcpHost[]> {
    return [...(await this.#readHosts()).values()];
  }

  /** Takes up the server that an earlier process started, if it runs. */
  async adopt(network: HostNetwork): Promise<void> {
    this.#network = network;
    await this.#readHosts();
    this.#process = await this.#findProcess();
    // What was taken away before, only that process knew.
    await this.#hangUp();
  }

  /** Runs with this configuration and exactly these NICs: started, restarted where the configuration differs, or told of what changed. */
  async ensure(network: HostNetwork, hosts: readonly DhcpHost[], options: CallOptions = {}): Promise<void> {
    const config = dnsmasqConfig(network, this.#paths, this.#options.settings);
    const optionsText = dnsmasqOptions(network);
    await this.#prepare(network.id);
    this.#network = network;
    const reread = await this.#setHosts(hosts);
    const sameConfig = (await readText(this.#paths.config)) === config;
    const sameOptions = (await readText(this.#paths.options)) === optionsText;
    if (!sameOptions) await writeFileAtomic(this.#paths.options, optionsText, { mode: 0o644 });
    this.#process = await this.#findProcess();
    if (this.#process !== undefined && sameConfig) {
      if (reread || !sameOptions) await this.#hangUp();
      return;
    }
    await this.#end();
    if (!sameConfig) await writeFileAtomic(this.#paths.config, config, { mode: 0o644 });
    await this.#start(options);
  }

  /** Adds a NIC, or replaces what was told of it. In force at once. */
  async setHost(host: DhcpHost): Promise<void> {
    const hosts = await this.#readHosts();
    const name = hostFileName(host.macAddress);
    const old = hosts.get(name);
    await withRollback(async (undo) => {
      undo.defer("DNS records", () => (old === undefined ? this.#dns.remove(name) : this.#writeDns(name, old)));
      await this.#writeDns(name, host);
      await this.#noteTags([host]);
      await this.#dhcp.write(name, formatDhcpHost(host));
    });
    this.#ignored.delete(name);
    if (this.#replace(name, host)) await this.#hangUp();
  }

  /** Success when it is not there. In force at once. */
  async removeHost(macAddress: string): Promise<void> {
    const hosts = await this.#readHosts();
    const name = hostFileName(macAddress);
    if (!hosts.has(name)) return;
    // A file that goes again at once may be gone before dnsmasq has read it.
    await this.#dhcp.write(name, formatIgnoredHost(macAddress.toLowerCase()));
    this.#ignored.add(name);
    await this.#dns.remove(name);
    this.#replace(name, undefined);
    if (Math.max(this.#stale.size, this.#ignored.size) >= FORGET_AFTER) await this.#hangUp();
  }

  async leases(): Promise<readonly DhcpLease[]> {
    const stored = await this.#storedLeases();
    return stored.map(({ version6: _version6, ...lease }) => lease);
  }

  /** Makes the server forget a lease; success when it has none of this NIC and address. */
  async release(macAddress: string, address: string, options: CallOptions = {}): Promise<void> {
    const network = this.#network;
    if (network === undefined || this.#process === undefined) return;
    const find = async (): Promise<Awaited<ReturnType<DnsmasqServer["leases"]>>[number] | undefined> =>
      (await this.#storedLeases()).find(
        (lease) => lease.address === address && lease.macAddress === macAddress.toLowerCase(),
      );
    await releaseLease({
      find,
      bridge: network.bridge,
      directory: this.#options.directory,
      commands: this.#options.commands,
      timeouts: this.#options.timeouts,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
  }

  /** Whose an address is. */
  macOf(address: string): string | undefined {
    for (const { addresses, macAddress } of this.#hosts?.values() ?? [])
      if (addresses.includes(address)) return macAddress;
    return undefined;
  }

  /** Starts the server again if it has died; what was asked for last still holds. */
  async revive(): Promise<boolean> {
    if (this.#network === undefined || (this.#process !== undefined && (await isAlive(this.#process)))) return false;
    await this.ensure(this.#network, await this.hosts());
    return true;
  }

  /** Ends the server, and keeps its files. */
  async halt(): Promise<void> {
    this.#process ??= await this.#findProcess();
    await this.#end();
  }

  /** Ends the server and removes all of its files. Success when there is none. */
  async stop(): Promise<void> {
    await this.halt();
    await rm(this.#options.directory, { recursive: true, force: true });
    this.#ignored.clear();
    this.#hosts = undefined;
    this.#network = undefined;
  }

  async #prepare(networkId: string): Promise<void> {
    const { directory, spool } = this.#options;
    try {
      await mkdir(directory, { recursive: true, mode: 0o755 });
      await chmod(directory, 0o755);
    } catch (error) {
      throw new HostIoError({ operation: "making a directory", path: directory, cause: error });
    }
    await Promise.all([this.#dhcp.make(), this.#dns.make()]);
    const script = leaseScript(networkId, spool);
    if ((await readText(this.#paths.script)) !== script)
      await writeFileAtomic(this.#paths.script, script, { mode: 0o755 });
  }

  async #start({ signal }: CallOptions): Promise<void> {
    const { commands, timeouts } = this.#options;
    try {
      await this.#removeIgnored();
      await rm(this.#tagged, { force: true });
      await this.#noteTags(await this.hosts());
      // It goes into the background by itself once it can serve.
      await commands.run(["dnsmasq", `--conf-file=${this.#paths.config}`], { timeoutMs: timeouts.commandMs, signal });
      this.#stale.clear();
      this.#process = await this.#findProcess();
      if (this.#process === undefined) throw new NetworkHostError("the DHCP server ended at its start");
    } catch (error) {
      this.#process = await this.#findProcess();
      await this.#end();
      if (isHyperviseError(error) && error.code !== "COMMAND_FAILED") throw error;
      const { detail } = error as { readonly detail?: string };
      throw new NetworkHostError("the DHCP server did not start", {
        cause: asError(error),
        ...(detail === undefined ? {} : { detail }),
      });
    }
  }

  async #end(): Promise<void> {
    const found = this.#process;
    this.#process = undefined;
    if (found === undefined) return;
    const { stopMs } = this.#options.timeouts;
    await killProcess(found, "SIGTERM");
    await waitForExit(found, { timeoutMs: stopMs }).catch(async (error: unknown) => {
      if (!isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
      await killProcess(found, "SIGKILL");
      await waitForExit(found, { timeoutMs: stopMs });
    });
  }

  /** Has it read all files again, and forget what is in none. */
  async #hangUp(): Promise<void> {
    await this.#shortenLog();
    await this.#removeIgnored();
    if (this.#process !== undefined) {
      // When it forgets a NIC with a tag that it has answered, it frees what it never had (seen in 2.90), and may crash.
      if ((await readText(this.#tagged)) !== undefined) {
        await this.#end();
        return this.#start({});
      }
      await killProcess(this.#process, "SIGHUP");
    }
    this.#stale.clear();
  }

  /** Remembers that lines with tags are about to be read, also for the process that takes over. */
  async #noteTags(hosts: readonly DhcpHost[]): Promise<void> {
    if (!hosts.some(({ defaultGateway }) => defaultGateway === false)) return;
    if ((await readText(this.#tagged)) === undefined) await writeFileAtomic(this.#tagged, "");
  }

  /** Each reading of everything writes a line a file, and it is the end that one looks at. */
  async #shortenLog(): Promise<void> {
    const { log } = this.#paths;
    try {
      if ((await stat(log)).size > MAX_LOG_BYTES) await truncate(log);
    } catch (error) {
      if (errnoName(error) !== "ENOENT")
        throw new HostIoError({ operation: "shortening a log", path: log, cause: error });
    }
  }

  async #removeIgnored(): Promise<void> {
    for (const name of this.#ignored) {
      await this.#dhcp.remove(name);
      this.#ignored.delete(name);
    }
  }

  /** Notes what a NIC has now; true when dnsmasq has read a line with one of its addresses before, and refuses this one. */
  #replace(name: string, host: DhcpHost | undefined): boolean {
    const old = this.#hosts?.get(name);
    if (host === undefined) this.#hosts?.delete(name);
    else this.#hosts?.set(name, host);
    if (old !== undefined && host !== undefined && dhcpHostLine(old) === dhcpHostLine(host)) return false;
    for (const address of old?.addresses ?? []) this.#stale.add(address);
    return host?.addresses.some((address) => this.#stale.has(address)) === true;
  }

  /** A process is ours when it was started with our configuration file, whatever the number is that stands in the pid file. */
  async #findProcess(): Promise<ProcessIdentity | undefined> {
    const text = await readText(this.#paths.pid);
    const identity = text === undefined ? undefined : await identityOf(Number(text.trim()));
    if (identity === undefined) return undefined;
    const commandLine = await readText(`/proc/${identity.pid}/cmdline`);
    const isOurs = commandLine?.split("\0").includes(`--conf-file=${this.#paths.config}`) === true;
    return isOurs && (await isAlive(identity)) ? identity : undefined;
  }

  async #readHosts(): Promise<Map<string, DhcpHost>> {
    if (this.#hosts !== undefined) return this.#hosts;
    const hosts = new Map<string, DhcpHost>();
    for (const [name, text] of await this.#dhcp.read()) {
      const host = parseDhcpHost(text);
      // What a process that died was about to remove.
      if (host === undefined) await this.#dhcp.remove(name);
      else hosts.set(name, host);
    }
    this.#hosts = hosts;
    return hosts;
  }

  /** True when the server is to read its files again to notice. */
  async #setHosts(wanted: readonly DhcpHost[]): Promise<boolean> {
    const hosts = await this.#readHosts();
    const next = new Map(wanted.map((host) => [hostFileName(host.macAddress), host]));
    for (const [name, host] of [...hosts]) if (!next.has(name)) await this.removeHost(host.macAddress);
    const changed = [...next].filter(([name, host]) => {
      const old = hosts.get(name);
      return old === undefined || formatDhcpHost(old) !== formatDhcpHost(host);
    });
    for (const [name, host] of next) await this.#writeDns(name, host);
    await this.#noteTags(changed.map(([, host]) => host));
    await this.#dhcp.writeAll(new Map(changed.map(([name, host]) => [name, formatDhcpHost(host)])));
    for (const [name] of changed) this.#ignored.delete(name);
    return changed.map(([name, host]) => this.#replace(name, host)).some(Boolean);
  }

  async #writeDns(name: string, host: DhcpHost): Promise<void> {
    const records = formatDnsHost(host, this.#network?.domain);
    if (records === (await readText(join(this.#paths.dnsHosts, name)))) return;
    if (records === "") await this.#dns.remove(name);
    else await this.#dns.write(name, records);
  }

  async #storedLeases(): Promise<ReturnType<typeof parseLeases>> {
    await this.#readHosts();
    return parseLeases((await readText(this.#paths.leases)) ?? "", (address) => this.macOf(address));
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes(errnoName(error) ?? "")) return undefined;
    throw new HostIoError({ operation: "reading a file", path, cause: error });
  }
}
