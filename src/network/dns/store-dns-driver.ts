/** DNS entries in a store of networks: what there is to serve, for a server that reads it. */
import { isIP } from "node:net";
import { ConflictError } from "../../core/index.js";
import { canonicalAddress } from "../ipam/address.js";
import { ABSENT, Records } from "../ipam/records.js";
import type { Versioned } from "../ipam/records.js";
import { retryOnConflict } from "../ipam/retry.js";
import type { NetworkStore } from "../store/network-store.js";
import { checkDnsDomain, checkDomain, checkEntry, checkName } from "./check-dns.js";
import type { DnsDomain, DnsDriver, DnsDriverOptions, DnsEntry } from "./dns-driver.js";
import { DnsDomainNotFoundError, DnsEntryNotFoundError } from "./errors.js";

/** Which version of IP an entry is of stands in its id. */
function entryId({ name, domain, address }: DnsEntry): string {
  return `${isIP(address)}:${name}.${domain}`;
}

/** {@link DnsDriver} that keeps entries in the store and serves none. Domains must be made before their entries. */
export class StoreDnsDriver implements DnsDriver {
  readonly #store: NetworkStore;
  readonly #domains: Records<DnsDomain>;
  readonly #entries: Records<DnsEntry>;

  constructor(store: NetworkStore) {
    this.#store = store;
    this.#domains = new Records(store, { kind: "dns-domain", idOf: ({ domain }) => domain });
    this.#entries = new Records(store, {
      kind: "dns-entry",
      idOf: entryId,
      indexOf: ({ domain, address }) => [`domain:${domain.slice(0, 240)}`, `address:${address}`],
    });
  }

  async getDomains(options: DnsDriverOptions = {}): Promise<readonly DnsDomain[]> {
    return (await this.#domains.all(undefined, options)).map(({ value }) => value);
  }

  async createEntry(entry: DnsEntry, options: DnsDriverOptions = {}): Promise<void> {
    const checked = checkEntry(entry);
    await retryOnConflict(
      async () => {
        const domain = await this.#domain(checked.domain, options);
        const present = await this.#entries.get(entryId(checked), options);
        if (present?.value.address === checked.address && present.value.domain === checked.domain) return;
        if (present !== undefined) throw new ConflictError(`the name ${checked.name} has another address`);
        await this.#store.commit([this.#domains.expect(domain), this.#entries.put(checked, ABSENT)], options);
      },
      undefined,
      options,
    );
  }

  async deleteEntry(name: string, domain: string, options: DnsDriverOptions = {}): Promise<void> {
    await retryOnConflict(
      async () => {
        const entries = await this.#named(name, domain, options);
        if (entries.length > 0)
          await this.#store.commit(
            entries.map((entry) => this.#entries.delete(entry)),
            options,
          );
      },
      undefined,
      options,
    );
  }

  async modifyAddress(name: string, address: string, domain: string, options: DnsDriverOptions = {}): Promise<void> {
    const checked = checkEntry({ name, address, domain });
    await retryOnConflict(
      async () => {
        const present = await this.#entries.get(entryId(checked), options);
        if (present === undefined) throw new DnsEntryNotFoundError(`${checked.name}.${checked.domain}`);
        await this.#store.commit([this.#entries.put(checked, present.version)], options);
      },
      undefined,
      options,
    );
  }

  async getEntriesByAddress(
    address: string,
    domain: string,
    options: DnsDriverOptions = {},
  ): Promise<readonly string[]> {
    const wanted = checkDomain(domain);
    const found = await this.#entries.all(`address:${canonicalAddress(address, "address")}`, options);
    return found.flatMap(({ value }) => (value.domain === wanted ? [value.name] : [])).sort();
  }

  async getEntriesByName(name: string, domain: string, options: DnsDriverOptions = {}): Promise<readonly string[]> {
    return (await this.#named(name, domain, options)).map(({ value }) => value.address);
  }

  async createDomain(domain: DnsDomain, options: DnsDriverOptions = {}): Promise<void> {
    const checked = checkDnsDomain(domain);
    await retryOnConflict(
      async () => {
        const present = await this.#domains.get(checked.domain, options);
        await this.#store.commit([this.#domains.put(checked, present?.version ?? ABSENT)], options);
      },
      undefined,
      options,
    );
  }

  async deleteDomain(domain: string, options: DnsDriverOptions = {}): Promise<void> {
    const name = checkDomain(domain);
    await retryOnConflict(
      async () => {
        const present = await this.#domains.get(name, options);
        if (present === undefined) return;
        const entries = await this.#entries.all(`domain:${name.slice(0, 240)}`, options);
        const doomed = entries.filter(({ value }) => value.domain === name).slice(0, 10_000);
        const rest = entries.length - doomed.length;
        await this.#store.commit(
          [
            // While entries are left the domain stays, but at a new version: nobody who saw the old one adds to it.
            rest === 0 ? this.#domains.delete(present) : this.#domains.put(present.value, present.version),
            ...doomed.map((entry) => this.#entries.delete(entry)),
          ],
          options,
        );
        if (rest > 0) await this.deleteDomain(name, options);
      },
      undefined,
      options,
    );
  }

  async #domain(name: string, options: DnsDriverOptions): Promise<Versioned<DnsDomain>> {
    const domain = await this.#domains.get(name, options);
    if (domain === undefined) throw new DnsDomainNotFoundError(name);
    return domain;
  }

  async #named(name: string, domain: string, options: DnsDriverOptions): Promise<readonly Versioned<DnsEntry>[]> {
    const checkedDomain = checkDomain(domain);
    const checkedName = checkName(name, checkedDomain);
    const of = (address: string): Promise<Versioned<DnsEntry> | undefined> =>
      this.#entries.get(entryId({ name: checkedName, domain: checkedDomain, address }), options);
    const found = await Promise.all([of("0.0.0.0"), of("::")]);
    return found.flatMap((entry) => (entry === undefined || entry.value.domain !== checkedDomain ? [] : [entry]));
  }
}
