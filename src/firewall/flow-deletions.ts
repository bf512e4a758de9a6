/** Few words for many flows: each deletion walks the kernel's whole table, so what can go at once goes at once. Pure. */
import type { AddressRange } from "./policy/address-range.js";
import type { Flow } from "./policy/permits.js";

/** A flow with the words that delete just it. */
export interface SelectableFlow extends Flow {
  readonly selector: readonly string[];
  /** Its source and its destination as they are written there. */
  readonly ends: { readonly source: string; readonly destination: string };
  /** That the first packet was sent to, before it was redirected. */
  readonly sentPort?: number;
}

/**
 * The arguments of `conntrack -D` that delete the doomed flows and none that is kept. `addresses` are those that the flows were looked for by: only about them is it known that there
 * are no other flows. A flow that comes up meanwhile may go too; where it is permitted its next packet brings it back.
 */
export function flowDeletions(
  doomed: readonly SelectableFlow[],
  kept: readonly SelectableFlow[],
  addresses: readonly AddressRange[],
): readonly (readonly string[])[] {
  const spared = new Set<string>();
  for (const flow of kept) for (const words of selectorsOf(flow, addresses)) spared.add(textOf(words));
  const deletions = new Map<string, readonly string[]>();
  for (const flow of doomed) {
    const words = widest(flow, addresses, spared);
    deletions.set(textOf(words), words);
  }
  return [...deletions.values()];
}

function widest(
  flow: SelectableFlow,
  addresses: readonly AddressRange[],
  spared: ReadonlySet<string>,
): readonly string[] {
  for (const words of selectorsOf(flow, addresses)) if (!spared.has(textOf(words))) return words;
  return flow.selector;
}

/** What selects the flow and others with it, the widest first. */
function* selectorsOf(flow: SelectableFlow, addresses: readonly AddressRange[]): Generator<readonly string[]> {
  const { version, protocol, sentPort, ends } = flow;
  const family = ["-f", version === 4 ? "ipv4" : "ipv6"];
  const own = [
    { own: ["--reply-src", ends.destination], far: ["--orig-src", ends.source], address: flow.destination },
    { own: ["--orig-src", ends.source], far: ["--reply-src", ends.destination], address: flow.source },
  ].filter(({ address }) => addresses.some((range) => isIn(range, version, address)));
  const ofProtocol = ["-p", String(protocol)];
  const toPort = sentPort === undefined ? ofProtocol : [...ofProtocol, "--dport", String(sentPort)];
  for (const end of own) yield [...family, ...end.own];
  for (const end of own) yield [...family, ...end.own, ...ofProtocol];
  for (const end of own) yield [...family, ...end.own, ...toPort];
  for (const end of own) yield [...family, ...end.own, ...toPort, ...end.far];
}

function isIn({ version, first, last }: AddressRange, ofVersion: 4 | 6, address: bigint): boolean {
  return version === ofVersion && first <= address && address <= last;
}

function textOf(words: readonly string[]): string {
  return words.join(" ");
}
