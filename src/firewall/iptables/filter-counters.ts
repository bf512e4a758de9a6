/** Counters of ports and groups, read from the chains that count. */
import type { OwnedPort } from "../policy/address-places.js";
import type { FilterCounter, PortCounters } from "../policy/firewall-backend.js";
import { markRule } from "./filter-rules.js";
import type { FilterLayout } from "./filter-layout.js";
import type { IptablesManager } from "./iptables-manager.js";
import { targetOf } from "./iptables-rule.js";
import { CHAINS, groupChain, linkChain } from "./names.js";
import type { LiveRule } from "./saved-table.js";

const VERSIONS = [4, 6] as const;

export class FilterCounters {
  readonly #owner: string;
  readonly #manager: IptablesManager;
  readonly #layout: FilterLayout;

  constructor(owner: string, manager: IptablesManager, layout: FilterLayout) {
    this.#owner = owner;
    this.#manager = manager;
    this.#layout = layout;
  }

  /** What went to the chains of a port, and what came out at their end. */
  async ofPorts(ports: readonly OwnedPort[]): Promise<readonly PortCounters[]> {
    const chains = ports.map((owned) => {
      const places = this.#layout.placesOf(owned);
      return {
        id: owned.port.id,
        links: [...new Set(places.map(({ place }) => this.#name(linkChain("to", place.link))))],
        instances: [...new Set(places.map(({ instance }) => this.#name(instance)))],
      };
    });
    const rules = await this.#rules([...new Set(chains.flatMap(({ links, instances }) => [...links, ...instances]))]);
    return chains.map(({ id, links, instances }) => {
      const goesTo = (from: readonly string[], targets: readonly string[]): FilterCounter =>
        sum(
          from.flatMap((chain) =>
            (rules.get(chain) ?? []).filter(({ text }) => targets.includes(targetOf(text) ?? "")),
          ),
        );
      const total = goesTo(links, instances);
      const dropped = goesTo(instances, [this.#name(CHAINS.fallback)]);
      const accepted = { packets: total.packets - dropped.packets, bytes: total.bytes - dropped.bytes };
      return { portId: id, accepted, dropped };
    });
  }

  async ofGroup(groupId: string): Promise<FilterCounter> {
    const chain = groupChain(groupId);
    const sends = this.#layout.sendChainsOf(groupId).map((name) => this.#name(name));
    const rules = await this.#rules([this.#name(chain), ...sends]);
    const mark = `${markRule(chain)} `;
    const sent = sends.flatMap((name) => (rules.get(name) ?? []).filter(({ text }) => text.includes(mark)));
    return sum([...(rules.get(this.#name(chain)) ?? []), ...sent]);
  }

  /** Of both families. */
  async #rules(chains: readonly string[]): Promise<ReadonlyMap<string, readonly LiveRule[]>> {
    const [four, six] = await Promise.all(VERSIONS.map((version) => this.#manager.list(version, "filter", chains)));
    return new Map(chains.map((chain) => [chain, [...(four?.get(chain) ?? []), ...(six?.get(chain) ?? [])]]));
  }

  #name(chain: string): string {
    return `${this.#owner}-${chain}`;
  }
}

function sum(rules: readonly LiveRule[]): FilterCounter {
  return rules.reduce(({ packets, bytes }, rule) => ({ packets: packets + rule.packets, bytes: bytes + rule.bytes }), {
    packets: 0n,
    bytes: 0n,
  });
}
