/**
 * Keeps packets going through libvirt's chains while libvirt takes its jumps to them out and puts them in again, as it does with every change of any port's rules: second jumps, which
 * libvirt does not know.
 */
import type { CommandRunner } from "../../host/index.js";
import { CommandError } from "../../host/index.js";

const COMMANDS = ["iptables", "ip6tables"] as const;

/** In the order in which packets are to meet them. */
const JUMPS = [
  { from: "FORWARD", to: "libvirt-in" },
  { from: "FORWARD", to: "libvirt-out" },
  { from: "FORWARD", to: "libvirt-in-post" },
  { from: "INPUT", to: "libvirt-host-in" },
] as const;

/** Processes that raise it at the same time may leave several. */
const MAX_COPIES = 4;

export class ChainGuard {
  readonly #commands: CommandRunner;
  readonly #comment: string;

  constructor(commands: CommandRunner, prefix: string) {
    this.#commands = commands;
    this.#comment = `${prefix}: while libvirt replaces its own`;
  }

  /** Idempotent. */
  async raise(): Promise<void> {
    for (const command of COMMANDS) {
      const there: boolean[] = [];
      for (const jump of JUMPS) there.push(await this.#succeeds([command, "-w", "-C", ...this.#rule(jump)]));
      if (there.every(Boolean)) continue;
      await this.#lower(command);
      for (const { to } of JUMPS) await this.#succeeds([command, "-w", "-N", to]);
      for (const jump of [...JUMPS].reverse()) await this.#commands.run([command, "-w", "-I", ...this.#rule(jump)]);
    }
  }

  /** Success when there is none. */
  async lower(): Promise<void> {
    for (const command of COMMANDS) await this.#lower(command);
  }

  async #lower(command: string): Promise<void> {
    for (const jump of JUMPS)
      for (let copy = 0; copy < MAX_COPIES; copy++)
        if (!(await this.#succeeds([command, "-w", "-D", ...this.#rule(jump)]))) break;
  }

  #rule({ from, to }: (typeof JUMPS)[number]): readonly string[] {
    return [from, "-m", "comment", "--comment", this.#comment, "-j", to];
  }

  /** False when the command says that there is no such thing, or already is. */
  async #succeeds(argv: readonly string[]): Promise<boolean> {
    try {
      await this.#commands.run(argv);
      return true;
    } catch (error) {
      if (error instanceof CommandError) return false;
      throw error;
    }
  }
}
