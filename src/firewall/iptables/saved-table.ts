/** What `iptables-save -c` and `iptables -v -S` print. Pure. */

export interface LiveRule {
  /** As the kernel tells it, without the chain. */
  readonly text: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** Rules by chain, of all chains that there are. */
export type LiveTable = ReadonlyMap<string, readonly LiveRule[]>;

export function parseSaved(output: string): LiveTable {
  const chains = new Map<string, LiveRule[]>();
  for (const line of output.split("\n")) {
    const declared = /^:(\S+) /.exec(line)?.[1];
    if (declared !== undefined) chains.set(declared, []);
    const [, packets, bytes, chain, text] = /^\[(\d+):(\d+)\] -A (\S+) ?(.*)$/.exec(line) ?? [];
    if (chain !== undefined) put(chains, chain, text ?? "", packets, bytes);
  }
  return chains;
}

export function parseListed(output: string): LiveTable {
  const chains = new Map<string, LiveRule[]>();
  for (const line of output.split("\n")) {
    const declared = /^-[PN] (\S+)/.exec(line)?.[1];
    if (declared !== undefined) chains.set(declared, []);
    // The counters stand before the target, after all matches.
    const [, chain, matches, packets, bytes, target] = /^-A (\S+)(.*) -c (\d+) (\d+)(.*)$/.exec(line) ?? [];
    if (chain !== undefined) put(chains, chain, `${matches}${target}`.trim(), packets, bytes);
  }
  return chains;
}

function put(
  chains: Map<string, LiveRule[]>,
  chain: string,
  text: string,
  packets: string | undefined,
  bytes: string | undefined,
): void {
  const rules = chains.get(chain) ?? [];
  rules.push({ text, packets: BigInt(packets ?? 0), bytes: BigInt(bytes ?? 0) });
  chains.set(chain, rules);
}
