/** Where the names of instances and floating addresses go (Nova's `instance_dns_manager` and `floating_dns_manager`). */

export interface DnsDriverOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Whose names a domain holds: those of instances in a zone, or those that projects give to floating addresses. */
export type DnsDomain =
  | { readonly domain: string; readonly scope: "private"; readonly zone?: string }
  | { readonly domain: string; readonly scope: "public"; readonly projectId?: string };

/** One A or AAAA record; whether there is a PTR to it is the driver's affair. */
export interface DnsEntry {
  /** DNS label or labels below the domain, lower case. */
  readonly name: string;
  readonly domain: string;
  /** IPv4 or IPv6. */
  readonly address: string;
}

/** A name has at most one IPv4 and one IPv6 address. Names are compared without regard to case. */
export interface DnsDriver {
  getDomains(options?: DnsDriverOptions): Promise<readonly DnsDomain[]>;
  /** Success when the same entry is there. @throws ConflictError when the name has another address of the version. */
  createEntry(entry: DnsEntry, options?: DnsDriverOptions): Promise<void>;
  /** Takes away all addresses of a name; success when there are none. */
  deleteEntry(name: string, domain: string, options?: DnsDriverOptions): Promise<void>;
  /** Gives the name this address in place of the one of its version. @throws DnsEntryNotFoundError when it has none. */
  modifyAddress(name: string, address: string, domain: string, options?: DnsDriverOptions): Promise<void>;
  /** The names of an address in a domain, sorted. */
  getEntriesByAddress(address: string, domain: string, options?: DnsDriverOptions): Promise<readonly string[]>;
  /** The addresses of a name in a domain, IPv4 first. */
  getEntriesByName(name: string, domain: string, options?: DnsDriverOptions): Promise<readonly string[]>;
  /** Makes a domain or replaces what is known of it. */
  createDomain(domain: DnsDomain, options?: DnsDriverOptions): Promise<void>;
  /** With all of its entries; success when it is not there. */
  deleteDomain(domain: string, options?: DnsDriverOptions): Promise<void>;
}
