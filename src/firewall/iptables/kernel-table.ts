/** One of the kernel's tables, and what we know to have put into it. */
import { isHyperviseError } from "../../core/index.js";
import type { IpVersion } from "../security-group.js";
import { targetOf } from "./iptables-rule.js";
import type { IptablesTable, TableContent } from "./iptables-table.js";
import { EMPTY_TABLE } from "./iptables-table.js";
import type { LiveTable } from "./saved-table.js";
import { deltaScript, foreignChains, syncScript } from "./table-script.js";
import type { Script } from "./table-script.js";
import type { Xtables } from "./xtables.js";

export class KernelTable {
  readonly version: IpVersion;
  readonly table: IptablesTable;
  readonly #owner: string;
  readonly #xtables: Xtables;
  #content: TableContent = EMPTY_TABLE;
  /** Whether what we put in force still is, as far as we know. */
  #known = false;
  readonly #spellings = new Map<string, string>();

  constructor(version: IpVersion, table: IptablesTable, owner: string, xtables: Xtables) {
    this.version = version;
    this.table = table;
    this.#owner = owner;
    this.#xtables = xtables;
  }

  /** What we have put in force. */
  get content(): TableContent {
    return this.#content;
  }

  get isKnown(): boolean {
    return this.#known;
  }

  /** The next change looks at all that is there. */
  forget(): void {
    this.#known = false;
  }

  /** Makes what is there what is wanted; returns how to take it back. One transaction. @throws FirewallError; then nothing has changed */
  async put(after: TableContent): Promise<() => Promise<void>> {
    const before = this.#content;
    const script = (this.#known ? await this.#putDelta(after) : undefined) ?? (await this.#putAll(after));
    const wasKnown = this.#known;
    this.#content = after;
    this.#known = true;
    return async () => {
      this.#known = false;
      await this.#xtables.restore(this.version, this.table.name, script.backward);
      this.#content = before;
      this.#known = wasKnown;
    };
  }

  /** `undefined` when it does not fit what is there. */
  async #putDelta(after: TableContent): Promise<Script | undefined> {
    const { name } = this.table;
    const before = this.#content;
    if ([...before.shared].some((chain) => !after.shared.has(chain))) return undefined;
    const chains = foreignChains(before, after).filter((chain) => before.shared.has(chain) || !after.shared.has(chain));
    try {
      const live = await this.#xtables.list(this.version, name, chains);
      await this.#learnSpellings(after, live);
      const script = deltaScript(before, after, live, this.#spellings);
      if (script !== undefined) await this.#xtables.restore(this.version, name, script.forward);
      return script;
    } catch (error) {
      if (isRefusal(error)) return undefined;
      throw error;
    }
  }

  async #putAll(after: TableContent): Promise<Script> {
    const attempt = async (): Promise<Script> => {
      const live = await this.#xtables.save(this.version, this.table.name);
      await this.#learnSpellings(after, live);
      // Of an earlier process nothing is known but what all begin with.
      const before = this.#content === EMPTY_TABLE ? this.table.initial : this.#content;
      const script = syncScript(this.#owner, before, after, live, this.#spellings);
      await this.#xtables.restore(this.version, this.table.name, script.forward);
      return script;
    };
    try {
      return await attempt();
    } catch (error) {
      if (!isRefusal(error)) throw error;
      // Somebody may have changed something between the look and the change.
      return attempt();
    }
  }

  /** Finds rules of ours in others' chains that the kernel tells in other words; only iptables knows which are the same. */
  async #learnSpellings(after: TableContent, live: LiveTable): Promise<void> {
    for (const chain of foreignChains(this.#content, after)) {
      const told = (live.get(chain) ?? []).map(({ text }) => text);
      const ours = [this.#content, after].flatMap(({ rules }) => rules.get(chain) ?? []);
      for (const { text, target } of ours) {
        if (this.#spellings.has(text) || told.includes(text) || isPlainJump(text)) continue;
        const spelling = await this.#findSame(
          text,
          told.filter((other) => targetOf(other) === target),
        );
        if (spelling !== undefined) this.#spellings.set(text, spelling);
      }
    }
  }

  async #findSame(text: string, candidates: readonly string[]): Promise<string | undefined> {
    if (candidates.length === 0) return undefined;
    const probe = `${this.#owner}-same`;
    const lines = [
      `-N ${probe}`,
      ...candidates.map((candidate) => `-A ${probe} ${candidate}`),
      `-C ${probe} ${text}`,
      `-F ${probe}`,
      `-X ${probe}`,
    ];
    try {
      // All of it, and so nothing, or nothing.
      await this.#xtables.restore(this.version, this.table.name, lines);
    } catch (error) {
      if (isRefusal(error)) return undefined;
      throw error;
    }
    if (candidates.length === 1) return candidates[0];
    const half = candidates.length >> 1;
    return (
      (await this.#findSame(text, candidates.slice(0, half))) ?? (await this.#findSame(text, candidates.slice(half)))
    );
  }
}

/** There is only one way to tell it. */
function isPlainJump(text: string): boolean {
  return /^-[jg] \S+$/.test(text);
}

function isRefusal(error: unknown): boolean {
  return isHyperviseError((error as Error).cause, "COMMAND_FAILED");
}
