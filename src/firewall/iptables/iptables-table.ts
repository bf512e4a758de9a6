/** What is wanted of one table: chains and rules in the terms of Nova's `IptablesTable`. Touches nothing; a manager puts it in force. */
import { InvalidArgumentError } from "../../core/index.js";
import { checkChainName, checkRuleText, IptablesRule, MAX_CHAIN_NAME } from "./iptables-rule.js";
import type { RulePlace } from "./iptables-rule.js";

export type TableName = "filter" | "nat" | "mangle";

/** What a table has at one moment. Nothing of it changes. */
export interface TableContent {
  /** Chains of the owner, by the names that the kernel has. */
  readonly wrapped: ReadonlySet<string>;
  /** Chains that several programs share. */
  readonly shared: ReadonlySet<string>;
  /** Rules by chain, top ones first; of chains of others only those that are ours. */
  readonly rules: ReadonlyMap<string, readonly IptablesRule[]>;
}

export const EMPTY_TABLE: TableContent = { wrapped: new Set(), shared: new Set(), rules: new Map() };

export class IptablesTable {
  readonly name: TableName;
  readonly #owner: string;
  readonly #wrapped = new Set<string>();
  readonly #shared = new Set<string>();
  readonly #rules = new Map<string, readonly IptablesRule[]>();
  /** What it has before anything is added. @internal */
  readonly initial: TableContent;
  /** Before the first use there is nothing to put in force, not even what a table begins with. */
  #used = false;
  #dirty = false;

  /** @internal */
  constructor(name: TableName, owner: string, fill: (table: IptablesTable) => void) {
    this.name = name;
    this.#owner = owner;
    fill(this);
    this.initial = this.content();
    this.clear();
  }

  /** Whether something was changed since it was last put in force. */
  get dirty(): boolean {
    return this.#dirty;
  }

  /** All rules, chain by chain. */
  get rules(): readonly IptablesRule[] {
    return [...this.#rules.values()].flat();
  }

  /** @throws InvalidArgumentError for a name that is longer than 28 characters together with its owner's */
  addChain(name: string, { wrap = true }: Pick<RulePlace, "wrap"> = {}): void {
    (wrap ? this.#wrapped : this.#shared).add(this.#chain(name, wrap));
    this.#touch();
  }

  hasChain(name: string, { wrap = true }: Pick<RulePlace, "wrap"> = {}): boolean {
    return (wrap ? this.#wrapped : this.#shared).has(this.#chain(name, wrap));
  }

  /** Removes a chain, its rules, and all rules that go to just this chain. Nothing happens when there is none. */
  removeChain(name: string, { wrap = true }: Pick<RulePlace, "wrap"> = {}): void {
    const chain = this.#chain(name, wrap);
    if (!(wrap ? this.#wrapped : this.#shared).delete(chain)) return;
    this.#rules.delete(chain);
    this.#filter((rule) => rule.target !== chain);
    this.#touch();
  }

  /**
   * Adds a rule to the end of a chain, or with `top` to the end of its top rules. A word of the text that begins with `$` is the name of one of the owner's chains. A rule that is there stays
   * where it is.
   * @throws InvalidArgumentError for an unknown chain of the owner, or a text that is not one rule
   */
  addRule(chain: string, text: string, place: RulePlace = {}): void {
    this.#add(this.#rule(chain, text, place));
  }

  /** Adds a rule of another's chain that is to stay at its end. @internal */
  addBottomRule(chain: string, text: string): void {
    this.#add(
      new IptablesRule(this.#chain(chain, false), this.#expand(checkRuleText(text)), { wrap: false, bottom: true }),
    );
  }

  /** Removes a rule that is equal in chain, text, `wrap` and `top`. Nothing happens when there is none. */
  removeRule(chain: string, text: string, place: RulePlace = {}): void {
    const name = this.#chain(chain, place.wrap ?? true);
    const gone = new IptablesRule(name, this.#expand(checkRuleText(text)), place);
    this.#filterChain(name, (rule) => !rule.equals(gone));
  }

  /** Removes the rules whose line `-A chain text` matches from its beginning on; returns how many. */
  removeRulesRegex(pattern: RegExp | string): number {
    const { source, flags } = typeof pattern === "string" ? { source: pattern, flags: "" } : pattern;
    const anchored = new RegExp(`^(?:${source})`, flags.replace(/[gy]/g, ""));
    return this.#filter((rule) => !anchored.test(rule.toString()));
  }

  /** Removes all rules of a chain. */
  emptyChain(chain: string, { wrap = true }: Pick<RulePlace, "wrap"> = {}): void {
    this.#filterChain(this.#chain(chain, wrap), () => false);
  }

  /** Makes the rules of a chain of the owner, which need not be there yet, just these, in this order. Rules that were there stay as they are. */
  replaceRules(chain: string, texts: readonly string[]): void {
    const name = this.#chain(chain, true);
    const old = this.#rules.get(name) ?? [];
    const known = this.#wrapped.has(name);
    const kept = new Map(old.map((rule) => [rule.text, rule]));
    const unique = [...new Set(texts.map((text) => this.#expand(text)))];
    const next = unique.map((text) => kept.get(text) ?? new IptablesRule(name, checkRuleText(text)));
    if (known && next.length === old.length && next.every((rule, index) => rule === old[index])) return;
    this.#wrapped.add(name);
    this.#rules.set(name, next);
    this.#touch();
  }

  /** What is to be in force. @internal */
  content(): TableContent {
    if (!this.#used) return EMPTY_TABLE;
    return { wrapped: new Set(this.#wrapped), shared: new Set(this.#shared), rules: new Map(this.#rules) };
  }

  /** Wants again what was wanted at that moment. @internal */
  reset(content: TableContent): void {
    const { wrapped, shared, rules } = content === EMPTY_TABLE ? this.initial : content;
    for (const set of [this.#wrapped, this.#shared]) set.clear();
    this.#rules.clear();
    for (const name of wrapped) this.#wrapped.add(name);
    for (const name of shared) this.#shared.add(name);
    for (const [chain, list] of rules) this.#rules.set(chain, list);
    this.#used = content !== EMPTY_TABLE;
    this.#dirty = true;
  }

  /** Wants nothing any more but to begin anew at the next use. @internal */
  clear(): void {
    this.reset(EMPTY_TABLE);
    this.#dirty = false;
  }

  /** @internal */
  markDirty(dirty: boolean): void {
    this.#dirty = dirty;
  }

  #touch(): void {
    this.#used = true;
    this.#dirty = true;
  }

  #rule(chain: string, text: string, place: RulePlace): IptablesRule {
    const wrap = place.wrap ?? true;
    const name = this.#chain(chain, wrap);
    if (wrap && !this.#wrapped.has(name))
      throw new InvalidArgumentError({ field: "chain", value: chain, expected: "a chain that was added" });
    return new IptablesRule(name, this.#expand(checkRuleText(text)), place);
  }

  #add(rule: IptablesRule): void {
    const list = this.#rules.get(rule.chain) ?? [];
    if (list.some((other) => other.equals(rule))) return;
    const tops = rule.top ? list.filter(({ top }) => top).length : list.length;
    this.#rules.set(rule.chain, [...list.slice(0, tops), rule, ...list.slice(tops)]);
    this.#touch();
  }

  #filter(keep: (rule: IptablesRule) => boolean): number {
    let removed = 0;
    for (const chain of [...this.#rules.keys()]) removed += this.#filterChain(chain, keep);
    return removed;
  }

  #filterChain(chain: string, keep: (rule: IptablesRule) => boolean): number {
    const list = this.#rules.get(chain) ?? [];
    const kept = list.filter(keep);
    if (kept.length === list.length) return 0;
    if (kept.length === 0) this.#rules.delete(chain);
    else this.#rules.set(chain, kept);
    this.#touch();
    return list.length - kept.length;
  }

  #chain(name: string, wrap: boolean): string {
    checkChainName(name);
    if (!wrap) {
      if (name.startsWith(`${this.#owner}-`))
        throw new InvalidArgumentError({ field: "chain", value: name, expected: "a chain that is not the owner's" });
      return name;
    }
    const wrapped = `${this.#owner}-${name}`;
    if (wrapped.length <= MAX_CHAIN_NAME) return wrapped;
    const most = MAX_CHAIN_NAME - this.#owner.length - 1;
    throw new InvalidArgumentError({ field: "chain", value: name, expected: `at most ${most} characters` });
  }

  #expand(text: string): string {
    return text
      .split(" ")
      .map((word) => (word.startsWith("$") && word.length > 1 ? `${this.#owner}-${word.slice(1)}` : word))
      .join(" ");
  }
}
