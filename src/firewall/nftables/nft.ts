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

  async hasCounter(table: TableKey, tableName: string, name: string): Promise<boolean> {
    return this.#succeeds(["list", "counter", table, tableName, name]);
  }

  /** In the order of the names. @throws FirewallError */
  async counters(table: TableKey, tableName: string, names: readonly string[]): Promise<readonly FilterCounter[]> {
    try {
      const commands = names.map((name) => `list counter ${table} ${tableName} ${name}`);
      const { stdout } = await this.#run(["-j", commands.join("; ")]);
      const found = parseCounters(stdout);
      return names.map((name) => found.get(name) ?? { packets: 0n, bytes: 0n });
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

/** One JSON document a command, one after the other. */
function parseCounters(text: string): Map<string, FilterCounter> {
  const counters = text
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .flatMap(
      (line) => (JSON.parse(line) as { readonly nftables?: readonly { readonly counter?: RawCounter }[] }).nftables,
    )
    .flatMap((entry) => entry?.counter ?? []);
  return new Map(
    counters.map(({ name, packets, bytes }) => [name, { packets: BigInt(packets), bytes: BigInt(bytes) }]),
  );
}

interface RawCounter {
  readonly name: string;
  readonly packets: number;
  readonly bytes: number;
}
