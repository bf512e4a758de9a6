/** The lines for `iptables-restore --noflush` that turn what a table has of ours into what is wanted, and back. Pure. */
import type { IptablesRule } from "./iptables-rule.js";
import { targetOf } from "./iptables-rule.js";
import type { TableContent } from "./iptables-table.js";
import type { LiveRule, LiveTable } from "./saved-table.js";

export interface Script {
  readonly forward: readonly string[];
  readonly backward: readonly string[];
}

/** How the kernel tells rules that we wrote in other words: by our text. */
export type Spellings = ReadonlyMap<string, string>;

interface Phases {
  readonly declare: string[];
  readonly edit: string[];
  readonly gone: string[];
}

/** Rules of ours in a chain of others: at its head and at its end. */
interface Placement {
  readonly head: readonly string[];
  readonly tail: readonly string[];
}

/**
 * From what we have put in force, with a look at the chains of others that we have rules in. `undefined` when something of ours is missing there, so that more may be.
 */
export function deltaScript(
  before: TableContent,
  after: TableContent,
  live: LiveTable,
  spellings: Spellings,
): Script | undefined {
  const placements = foreignChains(before, after).map((chain) => {
    const [was, is] = [placementOf(before, chain), placementOf(after, chain)];
    const spell = speller(spellings);
    const rules = live.get(chain) ?? [];
    const old = [...was.head, ...was.tail].map(spell);
    if (old.some((text) => !rules.some((rule) => rule.text === text))) return undefined;
    const ours = new Set([...old, ...[...is.head, ...is.tail].map(spell)]);
    return placed(chain, rules, is, spell, ({ text }) => ours.has(text));
  });
  if (placements.includes(undefined)) return undefined;
  const known = placements as Script[];
  return {
    forward: assemble(chainDelta(before, after), known, "forward"),
    backward: assemble(chainDelta(after, before), known, "backward"),
  };
}

/**
 * From what a whole table was found to have. Counters are kept of rules that are told as they are wanted.
 * @param before what was put in force, as far as that is known
 */
export function syncScript(
  owner: string,
  before: TableContent,
  after: TableContent,
  live: LiveTable,
  spellings: Spellings,
): Script {
  const isOwn = (name: string | undefined): boolean => name?.startsWith(`${owner}-`) === true;
  const [forward, backward] = [phases(), phases()];
  const retained = retainedChains(before, after, live, isOwn);
  for (const name of after.wrapped) {
    const [old, now] = [live.get(name), textsOf(after.rules.get(name))];
    if (old !== undefined && isSame(textsOf(old), now)) continue;
    forward.declare.push(`:${name} - [0:0]`);
    const counters = countersOf(old ?? []);
    forward.edit.push(...now.map((text) => `${counters(text)}-A ${name} ${text}`));
    if (old === undefined) backward.gone.push(`-F ${name}`);
    else restoreChain(backward, name, old);
  }
  for (const name of after.shared) {
    if (live.has(name)) continue;
    forward.declare.push(`-N ${name}`);
    backward.gone.push(`-F ${name}`, `-X ${name}`);
  }
  backward.gone.push(...[...after.wrapped].filter((name) => !live.has(name)).map((name) => `-X ${name}`));
  const stale = [...live.keys()].filter((name) => isOwn(name) && !after.wrapped.has(name));
  forward.gone.push(...stale.map((name) => `-F ${name}`), ...stale.map((name) => `-X ${name}`));
  for (const name of stale) restoreChain(backward, name, live.get(name) ?? []);

  const places = new Set([...foreignChains(before, after), ...[...live.keys()].filter((name) => !isOwn(name))]);
  const known = [...places].map((chain) => {
    const [was, is] = [placementOf(before, chain), placementOf(after, chain)];
    const spell = speller(spellings);
    const ours = new Set([...was.head, ...was.tail, ...is.head, ...is.tail].map(spell));
    const isOurs = ({ text }: LiveRule): boolean => {
      const target = targetOf(text);
      return isOwn(target) || (ours.has(text) && !retained.has(target ?? ""));
    };
    return placed(chain, live.get(chain) ?? [], is, spell, isOurs);
  });
  for (const name of before.shared) {
    if (after.shared.has(name) || retained.has(name) || !live.has(name)) continue;
    forward.gone.push(`-X ${name}`);
    backward.declare.unshift(`-N ${name}`);
  }
  return { forward: assemble(forward, known, "forward"), backward: assemble(backward, known, "backward") };
}

/** Chains of others that a content has rules of ours in. */
export function foreignChains(...contents: readonly TableContent[]): string[] {
  return [
    ...new Set(contents.flatMap(({ wrapped, rules }) => [...rules.keys()].filter((chain) => !wrapped.has(chain)))),
  ];
}

function chainDelta(before: TableContent, after: TableContent): Phases {
  const { declare, edit, gone } = phases();
  for (const name of after.shared) if (!before.shared.has(name)) declare.push(`-N ${name}`);
  for (const name of after.wrapped) {
    const [old, now] = [before.rules.get(name), after.rules.get(name)];
    if (!before.wrapped.has(name)) {
      declare.push(`-N ${name}`);
      edit.push(...textsOf(now).map((text) => `-A ${name} ${text}`));
    } else if (old !== now) edit.push(...editChain(name, textsOf(old), textsOf(now)));
  }
  const lost = [...before.wrapped].filter((name) => !after.wrapped.has(name));
  gone.push(...lost.map((name) => `-F ${name}`), ...lost.map((name) => `-X ${name}`));
  return { declare, edit, gone };
}

/** Rules that stay are not touched, and so keep their counters; unless they change places. */
function editChain(chain: string, old: readonly string[], now: readonly string[]): string[] {
  if (isSame(old, now)) return [];
  const [was, is] = [new Set(old), new Set(now)];
  const kept = old.filter((text) => is.has(text));
  const keptNow = now.filter((text) => was.has(text));
  if (!isSame(kept, keptNow)) return [`-F ${chain}`, ...now.map((text) => `-A ${chain} ${text}`)];
  // Where somebody has emptied the chain, it is found out here.
  const guard = kept.length > 0 ? [`-C ${chain} ${kept[0]}`] : [];
  const deletions = old.filter((text) => !is.has(text)).map((text) => `-D ${chain} ${text}`);
  const lastKept = now.findLastIndex((text) => was.has(text));
  const additions = now.flatMap((text, index) => {
    if (was.has(text)) return [];
    return [index > lastKept ? `-A ${chain} ${text}` : `-I ${chain} ${index + 1} ${text}`];
  });
  return [...guard, ...deletions, ...additions];
}

function placed(
  chain: string,
  live: readonly LiveRule[],
  { head, tail }: Placement,
  spell: (text: string) => string,
  isOurs: (rule: LiveRule) => boolean,
): Script {
  const ours = live.flatMap((rule, index) => (isOurs(rule) ? [{ rule, index }] : []));
  const wanted = [...head, ...tail];
  const standing = [...live.slice(0, head.length), ...live.slice(live.length - tail.length)];
  const inPlace =
    live.length >= wanted.length && ours.length === wanted.length && isSame(textsOf(standing), wanted.map(spell));
  if (inPlace) return { forward: [], backward: [] };
  const counters = countersOf(ours.map(({ rule }) => rule));
  return {
    forward: [
      ...ours.map(({ rule }) => `-D ${chain} ${rule.text}`),
      ...head.map((text, index) => `${counters(spell(text))}-I ${chain} ${index + 1} ${text}`),
      ...tail.map((text) => `${counters(spell(text))}-A ${chain} ${text}`),
    ],
    backward: [
      ...wanted.map((text) => `-D ${chain} ${text}`),
      ...ours.map(({ rule, index }) => `${counted(rule)}-I ${chain} ${index + 1} ${rule.text}`),
    ],
  };
}

/** Shared chains that we want no more and that others still use. */
function retainedChains(
  before: TableContent,
  after: TableContent,
  live: LiveTable,
  isOwn: (name: string | undefined) => boolean,
): ReadonlySet<string> {
  const gone = [...before.shared].filter((name) => !after.shared.has(name));
  const isUsed = (name: string): boolean => {
    const { head, tail } = placementOf(before, name);
    const inside = (live.get(name) ?? []).filter(
      ({ text }) => !isOwn(targetOf(text)) && ![...head, ...tail].includes(text),
    );
    const outside = [...live]
      .filter(([chain]) => !isOwn(chain))
      .flatMap(([chain, rules]) => {
        const own = placementOf(before, chain);
        return rules.filter(({ text }) => targetOf(text) === name && ![...own.head, ...own.tail].includes(text));
      });
    return inside.length + outside.length > 0;
  };
  return new Set(gone.filter(isUsed));
}

function placementOf({ wrapped, rules }: TableContent, chain: string): Placement {
  const own: readonly IptablesRule[] = wrapped.has(chain) ? [] : (rules.get(chain) ?? []);
  return {
    head: textsOf([...own.filter(({ top }) => top), ...own.filter(({ top, bottom }) => !top && !bottom)]),
    tail: textsOf(own.filter(({ bottom }) => bottom)),
  };
}

function assemble({ declare, edit, gone }: Phases, placements: readonly Script[], way: keyof Script): string[] {
  return [...declare, ...edit, ...placements.flatMap((script) => script[way]), ...gone];
}

function restoreChain({ declare, edit }: Phases, name: string, rules: readonly LiveRule[]): void {
  declare.push(`:${name} - [0:0]`);
  edit.push(...rules.map((rule) => `${counted(rule)}-A ${name} ${rule.text}`));
}

function countersOf(rules: readonly LiveRule[]): (text: string) => string {
  const known = new Map(rules.map((rule) => [rule.text, counted(rule)]));
  return (text) => known.get(text) ?? "";
}

function counted({ packets, bytes }: LiveRule): string {
  return `[${packets}:${bytes}] `;
}

function speller(spellings: Spellings): (text: string) => string {
  return (text) => spellings.get(text) ?? text;
}

function textsOf(rules: readonly { readonly text: string }[] | undefined): string[] {
  return (rules ?? []).map(({ text }) => text);
}

function phases(): Phases {
  return { declare: [], edit: [], gone: [] };
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((text, index) => text === other[index]);
}
