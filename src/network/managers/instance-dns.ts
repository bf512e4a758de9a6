/** The names of instances in DNS: their host names and their UUIDs, for their first addresses. */
import type { RollbackStack } from "../../core/index.js";
import type { DnsDriverOptions } from "../dns/dns-driver.js";
import type { NetworkDnsOptions } from "./manager-options.js";

export class InstanceDns {
  readonly #options: NetworkDnsOptions;

  constructor(options: NetworkDnsOptions = {}) {
    this.#options = options;
  }

  /** Gives an instance its names; `undo` takes back each. @throws ConflictError when another has the name */
  async register(
    names: readonly (string | undefined)[],
    addresses: readonly string[],
    undo: RollbackStack,
    options: DnsDriverOptions,
  ): Promise<void> {
    const { instances, instanceDomain: domain } = this.#options;
    if (instances === undefined || domain === undefined) return;
    for (const name of names) {
      for (const address of firstOfEach(addresses)) {
        if (name === undefined) continue;
        const before = await instances.getEntriesByName(name, domain, options);
        if (before.includes(address)) continue;
        if (before.length === 0) undo.defer(`the DNS entry ${name}`, () => this.unregister([name], addresses, {}));
        await instances.createEntry({ name, address, domain }, options);
      }
    }
  }

  /** Takes names away that stand for nothing but these addresses. */
  async unregister(
    names: readonly (string | undefined)[],
    addresses: readonly string[],
    options: DnsDriverOptions,
  ): Promise<void> {
    const { instances, instanceDomain: domain } = this.#options;
    if (instances === undefined || domain === undefined) return;
    for (const name of names) {
      if (name === undefined) continue;
      const present = await instances.getEntriesByName(name, domain, options);
      if (present.length > 0 && present.every((address) => addresses.includes(address)))
        await instances.deleteEntry(name, domain, options);
    }
  }
}

/** The first IPv4 and the first IPv6 address. */
function firstOfEach(addresses: readonly string[]): readonly string[] {
  const v4 = addresses.find((address) => !address.includes(":"));
  const v6 = addresses.find((address) => address.includes(":"));
  return [v4, v6].filter((address) => address !== undefined);
}
