/** A filter as we mean it, before libvirt's uuid and XML. */
import type { NwFilterOptions, NwFilterRuleOptions } from "../../libvirt/xml/index.js";

export type FilterDocument = Omit<NwFilterOptions, "uuid">;

export type FilterEntry = FilterDocument["entries"][number];

export type FilterRule = NwFilterRuleOptions;

/** A reference with values for its variables. */
export function reference(
  name: string,
  parameters?: Readonly<Record<string, string | readonly string[]>>,
): FilterEntry {
  return { filter: { name, ...(parameters === undefined ? {} : { parameters }) } };
}

/** Documents that are the same have the same. */
export function fingerprint(document: FilterDocument): string {
  return JSON.stringify(document);
}
