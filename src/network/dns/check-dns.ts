/** Names and domains that DNS drivers take. */
import { InvalidArgumentError, check } from "../../core/index.js";
import { canonicalAddress } from "../ipam/address.js";
import type { DnsDomain, DnsEntry } from "./dns-driver.js";

const hostname = check.hostname();

/** Longest name in all, with its domain. */
const MAX_NAME = 253;

/** Lower case. @throws InvalidArgumentError */
export function checkDomain(domain: string, field = "domain"): string {
  return hostname(domain, field);
}

/** Lower case. @throws InvalidArgumentError when the name is none, or too long with its domain */
export function checkName(name: string, domain: string): string {
  const checked = hostname(name, "name");
  if (checked.length + 1 + domain.length > MAX_NAME)
    throw new InvalidArgumentError({
      field: "name",
      value: name,
      expected: `at most ${MAX_NAME} characters with its domain`,
    });
  return checked;
}

/** @throws InvalidArgumentError */
export function checkEntry(entry: DnsEntry): DnsEntry {
  const domain = checkDomain(entry.domain);
  return { domain, name: checkName(entry.name, domain), address: canonicalAddress(entry.address, "address") };
}

const project = check.optional(check.string({ max: 64, charset: "name" }));

/** @throws InvalidArgumentError */
export function checkDnsDomain(domain: DnsDomain): DnsDomain {
  return check.variants("scope", {
    private: check.object({
      domain: hostname,
      scope: check.oneOf(["private"]),
      zone: check.optional(check.string({ max: 255, charset: "name" })),
    }),
    public: check.object({ domain: hostname, scope: check.oneOf(["public"]), projectId: project }),
  })(domain, "domain");
}
