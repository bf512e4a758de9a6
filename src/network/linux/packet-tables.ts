/** Our tables in the kernel's nftables: changed by one transaction, never read back, and replaced when they are not ours any more. */
import { randomBytes } from "node:crypto";
import { asError, isHyperviseError } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { NetworkHostError } from "../errors.js";
import { checkTableName, floatingScript, fullScript, removalScript } from "./nat-script.js";
import type { FloatingRule, PacketRules } from "./packet-rules.js";

export interface PacketTablesOptions {
  /** Commands of the namespace that is worked on. */
  readonly commands: CommandRunner;
  /** Name of our tables, of the families `inet` and `bridge`. Default `hypervise_net`. */
  readonly tableName?: string;
  readonly commandTimeoutMs?: number;
}

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Keeps what is in force, so that a change of floating addresses costs what changes. Not for concurrent calls. */
export class PacketTables {
  readonly #commands: CommandRunner;
  readonly #table: string;
  readonly #timeoutMs: number;
  #inForce: { readonly rules: PacketRules; readonly mark: string } | undefined;
  /** What was asked for last; in force unless a change was aborted half-way. */
  #wanted: PacketRules | undefined;

  /** @throws InvalidArgumentError for a table's name that is no plain one. */
  constructor(options: PacketTablesOptions) {
    this.#commands = options.commands;
    this.#table = checkTableName(options.tableName ?? "hypervise_net");
    this.#timeoutMs = options.commandTimeoutMs ?? 60_000;
  }

  get tableName(): string {
    return this.#table;
  }

  /** What `apply` would run for the whole of the rules. */
  plan(rules: PacketRules): string {
    return fullScript(this.#table, rules, "mark");
  }

  /** Puts rules in force, all at once; those in force stay on failure. @throws NetworkHostError */
  async apply(rules: PacketRules, options: CallOptions = {}): Promise<void> {
    const mark = `mark_${randomBytes(8).toString("hex")}`;
    const script = fullScript(this.#table, rules, mark);
    // Not known until the kernel has answered: after a failure the next change is a whole one.
    const before = this.#inForce;
    this.#inForce = undefined;
    this.#wanted ??= rules;
    try {
      await this.#run(script, options);
    } catch (error) {
      if (isRefusal(error)) this.#inForce = before;
      throw failure(error);
    }
    this.#inForce = { rules, mark };
    this.#wanted = rules;
  }

  /** Changes floating addresses alone. @throws NetworkHostError */
  async setFloating(floating: readonly FloatingRule[], options: CallOptions = {}): Promise<void> {
    if (this.#wanted === undefined)
      throw new NetworkHostError("no rules are in force", { remedy: "Start the network host first." });
    const inForce = this.#inForce;
    if (inForce === undefined || !(await this.intact())) return this.apply({ ...this.#wanted, floating }, options);
    const rules = { ...inForce.rules, floating };
    const script = floatingScript(this.#table, inForce.rules.floating, floating);
    if (script === "") return;
    this.#inForce = undefined;
    try {
      await this.#run(script, options);
    } catch (error) {
      if (isRefusal(error)) this.#inForce = inForce;
      throw failure(error);
    }
    this.#inForce = { ...inForce, rules };
    this.#wanted = rules;
  }

  /** Whether the tables in the kernel are those that this object put there. */
  async intact(): Promise<boolean> {
    if (this.#inForce === undefined) return false;
    try {
      await this.#commands.run(["nft", "list", "counter", "inet", this.#table, this.#inForce.mark], {
        timeoutMs: this.#timeoutMs,
      });
      return true;
    } catch (error) {
      if (isHyperviseError(error, "COMMAND_FAILED")) return false;
      throw error;
    }
  }

  /** Takes our tables away. @throws NetworkHostError */
  async remove(options: CallOptions = {}): Promise<void> {
    try {
      await this.#run(removalScript(this.#table), options);
    } catch (error) {
      throw failure(error);
    }
    this.#inForce = undefined;
    this.#wanted = undefined;
  }

  async #run(script: string, { signal }: CallOptions): Promise<void> {
    await this.#commands.run(["nft", "-f", "-"], { timeoutMs: this.#timeoutMs, input: script, signal });
  }
}

/** The kernel took nothing of it, as it says itself; after an abort nobody knows. */
function isRefusal(error: unknown): boolean {
  return isHyperviseError(error, "COMMAND_FAILED") || isHyperviseError(error, "COMMAND_NOT_FOUND");
}

function failure(error: unknown): unknown {
  if (isHyperviseError(error) && !isHyperviseError(error, "COMMAND_FAILED")) return error;
  const { detail } = error as { readonly detail?: string };
  return new NetworkHostError("the kernel did not take the network's rules", {
    cause: asError(error),
    ...(detail === undefined ? {} : { detail }),
  });
}
