/** The kernel's tables of IPv4 and IPv6 rules, through the programs of iptables. */
import { asError, isHyperviseError } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { FirewallError } from "../errors.js";
import type { IpVersion } from "../security-group.js";
import type { TableName } from "./iptables-table.js";
import { parseListed, parseSaved } from "./saved-table.js";
import type { LiveTable } from "./saved-table.js";

/** Which of the kernel's two filters iptables speaks to. */
export type IptablesVariant = "nft" | "legacy";

const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;

export interface XtablesOptions {
  readonly commands: CommandRunner;
  readonly variant?: IptablesVariant;
  readonly timeoutMs: number;
  readonly lockWaitSeconds: number;
}

export class Xtables {
  readonly #options: XtablesOptions;
  #infix: Promise<string> | undefined;

  constructor(options: XtablesOptions) {
    this.#options = options;
  }

  /** All of a table. @throws FirewallError */
  async save(version: IpVersion, table: TableName): Promise<LiveTable> {
    return parseSaved(await this.#run(version, "save", ["-c", "-t", table], "the rules could not be read"));
  }

  /** Some chains of a table. @throws FirewallError, also when one of them is not there */
  async list(version: IpVersion, table: TableName, chains: readonly string[]): Promise<LiveTable> {
    if (chains.length === 0) return new Map();
    const script = scriptOf(
      table,
      chains.map((chain) => `-v -S ${chain}`),
    );
    return parseListed(await this.#restore(version, script, "the rules could not be read"));
  }

  /** Runs the lines as one transaction: all of them or nothing. @throws FirewallError */
  async restore(version: IpVersion, table: TableName, lines: readonly string[]): Promise<void> {
    if (lines.length > 0) await this.#restore(version, scriptOf(table, lines), "the kernel did not take the rules");
  }

  /** Whether there is such a rule, in whatever spelling. */
  async has(version: IpVersion, table: TableName, chain: string, text: string): Promise<boolean> {
    try {
      await this.#restore(version, scriptOf(table, [`-C ${chain} ${text}`]), "the rules could not be read");
      return true;
    } catch (error) {
      if (isHyperviseError((error as Error).cause, "COMMAND_FAILED")) return false;
      throw error;
    }
  }

  #restore(version: IpVersion, input: string, failure: string): Promise<string> {
    const args = ["-w", String(this.#options.lockWaitSeconds), "--noflush", "--counters"];
    return this.#run(version, "restore", args, failure, input);
  }

  async #run(
    version: IpVersion,
    program: "save" | "restore",
    args: readonly string[],
    failure: string,
    input?: string,
  ): Promise<string> {
    const { commands, timeoutMs, lockWaitSeconds } = this.#options;
    const argv = [`${version === 4 ? "iptables" : "ip6tables"}${await this.#variantInfix()}-${program}`, ...args];
    const options = { timeoutMs: timeoutMs + lockWaitSeconds * 1_000, maxOutputBytes: MAX_OUTPUT_BYTES };
    try {
      return (await commands.run(argv, input === undefined ? options : { ...options, input })).stdout;
    } catch (error) {
      const { detail } = error as { readonly detail?: string };
      throw new FirewallError(failure, { cause: asError(error), ...(detail === undefined ? {} : { detail }) });
    }
  }

  /** Without a wish, what the host calls `iptables`, else what it has. */
  #variantInfix(): Promise<string> {
    const { variant } = this.#options;
    this.#infix ??= variant === undefined ? this.#probe() : Promise.resolve(`-${variant}`);
    this.#infix.catch(() => (this.#infix = undefined));
    return this.#infix;
  }

  async #probe(): Promise<string> {
    let missing: unknown;
    for (const infix of ["", "-nft", "-legacy"]) {
      try {
        await this.#options.commands.run([`iptables${infix}-restore`, "--version"], {
          timeoutMs: this.#options.timeoutMs,
        });
        return infix;
      } catch (error) {
        if (!isHyperviseError(error, "COMMAND_NOT_FOUND")) throw error;
        missing ??= error;
      }
    }
    throw asError(missing);
  }
}

function scriptOf(table: TableName, lines: readonly string[]): string {
  return `*${table}\n${lines.map((line) => `${line}\n`).join("")}COMMIT\n`;
}
