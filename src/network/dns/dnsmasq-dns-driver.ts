/** DNS entries as files that the DHCP servers of a host serve: A, AAAA and PTR records, live as soon as they are written. */
import { createHash } from "node:crypto";
import { ConflictError, KeyedLock, StateCorruptError, check } from "../../core/index.js";
import { HostsDirectory } from "../dhcp/hosts-directory.js";
import { checkPlainPath } from "../dhcp/dnsmasq-config.js";
import { normalAddress, versionOf } from "../linux/addresses.js";
import { checkDnsDomain, checkDomain, checkEntry, checkName } from "./check-dns.js";
import type { DnsDomain, DnsDriver, DnsDriverOptions, DnsEntry } from "./dns-driver.js";
import { DnsDomainNotFoundError, DnsEntryNotFoundError } from "./errors.js";

export interface DnsmasqDnsDriverOptions {
  /** A directory that dnsmasq is given as `--hostsdir`, such as {@link LinuxNetworkHost.dnsDirectory}; letters, digits and `. _ -` alone. */
  readonly directory: string;
}

/** A domain as its file has it. */
interface Zone {
  readonly domain: DnsDomain;
  readonly entries: readonly Omit<DnsEntry, "domain">[];
}

const LOCK = "zones";

/** {@link DnsDriver} on one host's own servers: a file a domain. One object at a time may use a directory. */
export class DnsmasqDnsDriver implements DnsDriver {
  readonly #directory: HostsDirectory;
  readonly #locks = new KeyedLock();
  #zones: Map<string, Zone> | undefined;

  /** @throws InvalidArgumentError for a path that a server's configuration would read as something else. */
  constructor(options: DnsmasqDnsDriverOptions) {
    this.#directory = new HostsDirectory(checkPlainPath(options.directory, "directory"));
  }

  async getDomains(options: DnsDriverOptions = {}): Promise<readonly DnsDomain[]> {
    return this.#exclusively(options, async (zones) => [...zones.values()].map(({ domain }) => domain));
  }

  async createEntry(entry: DnsEntry, options: DnsDriverOptions = {}): Promise<void> {
    const { name, domain, address } = checkEntry(entry);
    await this.#change(domain, options, (zone) => {
      const present = zone.entries.find((own) => isSame(own, name, address));
      if (present === undefined) return { ...zone, entries: [...zone.entries, { name, address }] };
      if (present.address === address) return zone;
      throw new ConflictError(`the name ${name} has another address`);
    });
  }

  async deleteEntry(name: string, domain: string, options: DnsDriverOptions = {}): Promise<void> {
    const checkedDomain = checkDomain(domain);
    const checkedName = checkName(name, checkedDomain);
    await this.#exclusively(options, async (zones) => {
      const zone = zones.get(checkedDomain);
      const entries = zone?.entries.filter((own) => own.name !== checkedName);
      if (zone !== undefined && entries !== undefined && entries.length < zone.entries.length)
        await this.#put(zones, { ...zone, entries });
    });
  }

  async modifyAddress(name: string, address: string, domain: string, options: DnsDriverOptions = {}): Promise<void> {
    const entry = checkEntry({ name, address, domain });
    await this.#change(entry.domain, options, (zone) => {
      if (!zone.entries.some((own) => isSame(own, entry.name, entry.address)))
        throw new DnsEntryNotFoundError(`${entry.name}.${entry.domain}`);
      const entries = zone.entries.map((own) =>
        isSame(own, entry.name, entry.address) ? { name: entry.name, address: entry.address } : own,
      );
      return { ...zone, entries };
    });
  }

  async getEntriesByAddress(
    address: string,
    domain: string,
    options: DnsDriverOptions = {},
  ): Promise<readonly string[]> {
    const wanted = normalAddress(check.ipAddress()(address, "address"));
    const entries = await this.#entries(domain, options);
    return entries
      .filter((entry) => entry.address === wanted)
      .map(({ name }) => name)
      .sort();
  }

  async getEntriesByName(name: string, domain: string, options: DnsDriverOptions = {}): Promise<readonly string[]> {
    const wanted = checkName(name, checkDomain(domain));
    const entries = await this.#entries(domain, options);
    return entries
      .filter((entry) => entry.name === wanted)
      .map(({ address }) => address)
      .sort((one, other) => versionOf(one) - versionOf(other));
  }

  async createDomain(domain: DnsDomain, options: DnsDriverOptions = {}): Promise<void> {
    const checked = checkDnsDomain(domain);
    await this.#exclusively(options, async (zones) =>
      this.#put(zones, { entries: zones.get(checked.domain)?.entries ?? [], domain: checked }),
    );
  }

  async deleteDomain(domain: string, options: DnsDriverOptions = {}): Promise<void> {
    const name = checkDomain(domain);
    await this.#exclusively(options, async (zones) => {
      if (!zones.has(name)) return;
      await this.#directory.remove(fileOf(name));
      zones.delete(name);
    });
  }

  async #entries(domain: string, options: DnsDriverOptions): Promise<Zone["entries"]> {
    const name = checkDomain(domain);
    return this.#exclusively(options, async (zones) => zones.get(name)?.entries ?? []);
  }

  async #change(domain: string, options: DnsDriverOptions, change: (zone: Zone) => Zone): Promise<void> {
    await this.#exclusively(options, async (zones) => {
      const zone = zones.get(domain);
      if (zone === undefined) throw new DnsDomainNotFoundError(domain);
      const changed = change(zone);
      if (changed !== zone) await this.#put(zones, changed);
    });
  }

  async #put(zones: Map<string, Zone>, zone: Zone): Promise<void> {
    const { domain } = zone.domain;
    await this.#directory.write(fileOf(domain), formatZone(zone));
    zones.set(domain, zone);
  }

  #exclusively<T>({ signal }: DnsDriverOptions, work: (zones: Map<string, Zone>) => Promise<T>): Promise<T> {
    return this.#locks.run(LOCK, async () => work(await this.#read()), { signal });
  }

  async #read(): Promise<Map<string, Zone>> {
    if (this.#zones !== undefined) return this.#zones;
    await this.#directory.make();
    const zones = [...(await this.#directory.read())]
      .filter(([name]) => name.startsWith("zone-"))
      .map(([, text]) => parseZone(text));
    this.#zones = new Map(zones.map((zone) => [zone.domain.domain, zone]));
    return this.#zones;
  }
}

function isSame(entry: Omit<DnsEntry, "domain">, name: string, address: string): boolean {
  return entry.name === name && versionOf(entry.address) === versionOf(address);
}

/** A domain may be longer than a file's name. */
function fileOf(domain: string): string {
  return `zone-${createHash("sha256").update(domain).digest("hex").slice(0, 32)}`;
}

function formatZone(zone: Zone): string {
  const { domain, entries } = zone;
  return `# ${JSON.stringify(zone)}\n${entries.map(({ name, address }) => `${address} ${name}.${domain.domain}\n`).join("")}`;
}

function parseZone(text: string): Zone {
  try {
    const { domain, entries } = JSON.parse(text.slice(2, text.indexOf("\n"))) as Zone;
    const checked = checkDnsDomain(domain);
    return {
      domain: checked,
      entries: entries.map((entry) => {
        const { name, address } = checkEntry({ ...entry, domain: checked.domain });
        return { name, address };
      }),
    };
  } catch (error) {
    throw new StateCorruptError("a DNS domain's file can't be read", { cause: error });
  }
}
