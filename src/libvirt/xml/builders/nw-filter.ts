/** Network filters, in the words of who wants one. */
import type { NwFilter, NwFilterRule } from "../generated/types.gen.js";
import type { Editable } from "../xml-object.js";
import { defined } from "./defined.js";
import { filterReferenceXml } from "./interface.js";
import type { InterfaceFilter } from "./interface.js";

/** A protocol that a rule can be about: `tcp`, `udp-ipv6`, `arp`, … */
export type NwFilterProtocol = Exclude<
  keyof NwFilterRule & string,
  `$${string}` | "action" | "direction" | "priority" | "statematch"
>;

/** What a rule looks at: `{ protocol: "tcp", match: { dstportstart: "22" } }`. */
export type NwFilterMatch = {
  readonly [Protocol in NwFilterProtocol]: {
    readonly protocol: Protocol;
    readonly match?: NonNullable<NwFilterRule[Protocol]> | undefined;
  };
}[NwFilterProtocol];

/** A rule of a filter. */
export type NwFilterRuleOptions = {
  readonly action: "accept" | "drop" | "reject" | "return" | "continue";
  readonly direction: "in" | "out" | "inout";
  /** From -1000 to 1000, low ones first. Default: 500. */
  readonly priority?: number | undefined;
  /** `false`: no connection tracking. */
  readonly stateMatch?: boolean | undefined;
} & (NwFilterMatch | { readonly protocol?: undefined });

/** A filter: rules and references to other filters, in the order in which they take effect. */
export interface NwFilterOptions {
  readonly name: string;
  readonly uuid?: string | undefined;
  readonly chain?: NwFilter["chain"];
  readonly priority?: number | undefined;
  readonly entries: readonly (NwFilterRuleOptions | { readonly filter: InterfaceFilter })[];
}

/** The element `<rule>`. */
export function nwFilterRuleXml(options: NwFilterRuleOptions): Editable<NwFilterRule> {
  const { action, direction, priority, stateMatch } = options;
  return defined<NwFilterRule>({
    action,
    direction,
    priority,
    statematch: stateMatch === undefined ? undefined : stateMatch.toString(),
    ...(options.protocol === undefined ? {} : { [options.protocol]: { ...options.match } }),
  });
}

/** The document `<filter>`. */
export function nwFilterXml({ name, uuid, chain, priority, entries }: NwFilterOptions): Editable<NwFilter> {
  const rule = entries.flatMap((entry) => ("filter" in entry ? [] : [nwFilterRuleXml(entry)]));
  const filterref = entries.flatMap((entry) => ("filter" in entry ? [filterReferenceXml(entry.filter)] : []));
  return defined<NwFilter>({
    name,
    chain,
    priority,
    uuid,
    rule: rule.length === 0 ? undefined : rule,
    filterref: filterref.length === 0 ? undefined : filterref,
    $order: ["uuid", ...entries.map((entry) => ("filter" in entry ? "filterref" : "rule"))],
  });
}
