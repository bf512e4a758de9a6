/** Chains and rules of one program in the host's iptables, in the terms of Nova's `IptablesManager`. */
import { asError, check, HyperviseError, InvalidArgumentError } from "../../core/index.js";
import { SystemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { FirewallError } from "../errors.js";
import type { IpVersion } from "../security-group.js";
import { fillTable } from "./initial-content.js";
import { IptablesTable } from "./iptables-table.js";
import type { TableName } from "./iptables-table.js";
import { KernelTable } from "./kernel-table.js";
import type { LiveTable } from "./saved-table.js";
import { Xtables } from "./xtables.js";
import type { IptablesVariant } from "./xtables.js";

export interface IptablesManagerOptions {
  /** Begins the names of all chains that are this program's: `[A-Za-z0-9_.]`, of which the first 16 count. No two programs of a host may have the same. Default `hypervise`. */
  readonly owner?: string;
  /** Begins the names of the chains that several programs share. Default `nova`. */
  readonly shared?: string;
  /** Tables that are looked at; the others stay unused. Default: `filter`, `nat` and `mangle`. */
  readonly tables?: readonly TableName[];
  /** Default: what the host calls `iptables`. */
  readonly variant?: IptablesVariant;
  /** Longest that another program's hold of the tables (the xtables lock) is waited for, in seconds. Default 60. */
  readonly lockWaitSeconds?: number;
  /** Longest that one transaction may take beyond that, in milliseconds. Default 60,000. */
  readonly timeoutMs?: number;
  /** Default: the system's runner. */
  readonly commands?: CommandRunner;
}

export type IptablesTables<N extends TableName> = Readonly<Record<N, IptablesTable>>;

const MAX_OWNER = 16;
const checkPrefix = check.string({ min: 1, max: 64, pattern: /^[A-Za-z0-9_.]+$/, expected: "A-Z a-z 0-9 _ ." });
const TABLES = ["filter", "nat", "mangle"] as const;
const checkTables = check.array(check.oneOf(TABLES), { max: TABLES.length });
const checkVariant = check.oneOf(["nft", "legacy"]);
const checkPositive = check.integer({ min: 1, max: 2_000_000 });

/**
 * Tables are edited in memory, and put in force by `apply`: each by one transaction that names only chains of the owner, and its jumps to them; what others have, and what they do meanwhile,
 * is not touched. A table that was never used stays as it is. Calls of `apply` follow each other.
 */
export class IptablesManager implements AsyncDisposable {
  readonly owner: string;
  readonly shared: string;
  readonly ipv4: IptablesTables<"filter" | "nat" | "mangle">;
  readonly ipv6: IptablesTables<"filter">;
  readonly #xtables: Xtables;
  readonly #kernel: readonly KernelTable[];
  #deferrals = 0;
  #turn: Promise<unknown> = Promise.resolve();

  /** Touches nothing. @throws InvalidArgumentError that names the bad option */
  constructor(options: IptablesManagerOptions = {}) {
    const { owner = "hypervise", shared = "nova", variant, commands = new SystemCommandRunner() } = options;
    this.owner = checkPrefix(owner, "options.owner").slice(0, MAX_OWNER);
    this.shared = checkPrefix(shared, "options.shared");
    if (shared.length > 10 || shared === this.owner)
      throw new InvalidArgumentError({
        field: "options.shared",
        value: shared,
        expected: "at most 10 characters, and not the owner",
      });
    this.#xtables = new Xtables({
      commands,
      ...(variant === undefined ? {} : { variant: checkVariant(variant, "options.variant") }),
      timeoutMs: checkPositive(options.timeoutMs ?? 60_000, "options.timeoutMs"),
      lockWaitSeconds: checkPositive(options.lockWaitSeconds ?? 60, "options.lockWaitSeconds"),
    });
    const table = (name: TableName): IptablesTable => new IptablesTable(name, this.owner, fillTable(name, shared));
    this.ipv4 = { filter: table("filter"), nat: table("nat"), mangle: table("mangle") };
    this.ipv6 = { filter: table("filter") };
    const kernel = (version: IpVersion, tables: IptablesTables<TableName> | IptablesTables<"filter">): KernelTable[] =>
      Object.values(tables).map((one: IptablesTable) => new KernelTable(version, one, this.owner, this.#xtables));
    const names = checkTables(options.tables ?? TABLES, "options.tables");
    this.#kernel = [...kernel(4, this.ipv4), ...kernel(6, this.ipv6)].filter(({ table: { name } }) =>
      names.includes(name),
    );
  }

  /** Collects changes until `deferApplyOff`. Calls nest. */
  deferApplyOn(): void {
    this.#deferrals += 1;
  }

  /** Puts in force what was collected. */
  async deferApplyOff(): Promise<void> {
    if (this.#deferrals === 0) return;
    this.#deferrals -= 1;
    await this.apply();
  }

  /**
   * Puts in force what the tables have; resolves at once where nothing was changed, or while changes are collected. The first call takes out what an earlier process with the same owner left.
   * @throws FirewallError; then the host has what it had, and the tables what is wanted: `apply` again, or `revert`
   */
  async apply(): Promise<void> {
    if (this.#deferrals > 0) return;
    await this.#alone(() => this.#putAll());
  }

  /** As `apply`; returns how to take it back, as long as nothing else was changed. @internal */
  applyRevocably(): Promise<() => Promise<void>> {
    return this.#alone(async () => {
      const undo = await this.#putAll();
      return () =>
        this.#alone(async () => {
          for (const takeBack of undo) await takeBack();
          this.revert();
        });
    });
  }

  /** Compares all with what the host has, and repairs it; says nothing of others' chains and rules. @throws FirewallError */
  async reconcile(): Promise<void> {
    await this.#alone(async () => {
      this.forget();
      await this.#putAll();
    });
  }

  /** Has the next `apply` look at all that is there. @internal */
  forget(): void {
    for (const kernel of this.#kernel) kernel.forget();
  }

  /** Wants again what is in force. */
  revert(): void {
    for (const kernel of this.#kernel) {
      kernel.table.reset(kernel.content);
      kernel.table.markDirty(false);
    }
  }

  /** Takes everything of the owner out of the host. */
  async remove(): Promise<void> {
    await this.#alone(async () => {
      for (const kernel of this.#kernel) {
        kernel.table.clear();
        kernel.forget();
      }
      await this.#putAll();
    });
  }

  /** Rules with their counters, of chains by their names in the kernel. @throws FirewallError, also when there is no such chain */
  list(version: IpVersion, table: TableName, chains: readonly string[]): Promise<LiveTable> {
    return this.#xtables.list(version, table, chains);
  }

  /** Whether a chain of the kernel has a rule, in whatever spelling; false too when there is no such chain. */
  hasRule(version: IpVersion, table: TableName, chain: string, text: string): Promise<boolean> {
    return this.#xtables.has(version, table, chain, text);
  }

  /** Resolves when nothing is under way any more. What is in force stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turn;
  }

  /** What takes it back, the last first. */
  async #putAll(): Promise<readonly (() => Promise<void>)[]> {
    const undo: (() => Promise<void>)[] = [];
    const changed: IptablesTable[] = [];
    try {
      for (const kernel of this.#kernel) {
        const { table } = kernel;
        if (!table.dirty && kernel.isKnown) continue;
        changed.push(table);
        table.markDirty(false);
        undo.unshift(await kernel.put(table.content()));
      }
      return undo;
    } catch (error) {
      for (const table of changed) table.markDirty(true);
      const undoErrors: Error[] = [];
      for (const takeBack of undo) await takeBack().catch((failure: unknown) => undoErrors.push(asError(failure)));
      if (error instanceof HyperviseError) error.attachUndoErrors(undoErrors);
      throw error instanceof HyperviseError
        ? error
        : new FirewallError("the rules were not put in force", { cause: asError(error) });
    }
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(work);
    this.#turn = run.catch(() => undefined);
    return run;
  }
}
