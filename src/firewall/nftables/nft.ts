/** The kernel's nftables, through `nft`. */
import { asError, isHyperviseError } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { FirewallError } from "../errors.js";
import type { FilterCounter } from "../policy/firewall-backend.js";
import type { TableKey } from "./fragment.js";

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

export class Nft {
  readonly #commands: CommandRunner;
  readonly #timeoutMs: number;

  constructor(commands: CommandRunner, timeoutMs: number) {
    this.#commands = commands;
    this.#timeoutMs = timeoutMs;
  }

  /** Runs a script as one transaction: all of it or nothing. @throws FirewallError */
  async apply(script: string): Promise<void> {
    if (script === "") return;
    try {
      await this.#run(["-f", "-"], script);
    } catch (error) {
      const { detail } = error as { readonly detail?: string };
      throw new FirewallError("the kernel did not take the filters", {
        cause: asError(error),
        ...(detail === undefined ? {} : { detail }),
      });
    }
  }

  /** Whether the kernel would take a script. */
  async accepts(script: string): Promise<boolean> {
    return this.#succeeds(["-c", "-f", "-"], script);
  }

  async hasChain(table: TableKey, tableName: string, name: string): Promise<boolean> {
    return this.#succeeds(["list", "chain", table, tableName, name]);
  }

  async hasCounter(table: TableKey, tableName: string, name: string): Promise<boolean> {
    return this.#succeeds(["list", "counter", table, tableName, name]);
  }

  /** A counter by its name; zeros when there is none. @throws FirewallError */
  async counter(table: TableKey, tableName: string, name: string): Promise<FilterCounter> {
    return this.#sum([`list counter ${table} ${tableName} ${name}`]);
  }

  /** The counters of elements, added up. @throws FirewallError */
  async elementCounter(
    table: TableKey,
    tableName: string,
    elements: readonly { readonly set: string; readonly key: string }[],
  ): Promise<FilterCounter> {
    return this.#sum(elements.map(({ set, key }) => `get element ${table} ${tableName} ${set} { ${key} }`));
  }

  /** `nft` has no JSON of single elements. */
  async #sum(commands: readonly string[]): Promise<FilterCounter> {
    try {
      const { stdout } = await this.#run(["-f", "-"], commands.map((command) => `${command}\n`).join(""));
      const counted = [...stdout.matchAll(/packets (\d+) bytes (\d+)/g)];
      const sum = (index: 1 | 2): bigint => counted.reduce((total, match) => total + BigInt(match[index] ?? 0), 0n);
      return { packets: sum(1), bytes: sum(2) };
    } catch (error) {
      throw new FirewallError("the kernel's counters could not be read", { cause: asError(error) });
    }
  }

  async #succeeds(args: readonly string[], input?: string): Promise<boolean> {
    try {
      await this.#run(args, input);
      return true;
    } catch (error) {
      if (isHyperviseError(error, "COMMAND_FAILED")) return false;
      throw error;
    }
  }

  #run(args: readonly string[], input?: string): Promise<{ readonly stdout: string }> {
    const options = { timeoutMs: this.#timeoutMs, maxOutputBytes: MAX_OUTPUT_BYTES };
    return this.#commands.run(["nft", ...args], input === undefined ? options : { ...options, input });
  }
}
