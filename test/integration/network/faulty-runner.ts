// Commands of which one fails, or none gets through any more.
import { systemCommandRunner } from "../../../src/host/index.js";
import type { CommandOptions, CommandResult, CommandRunner } from "../../../src/host/index.js";

/** Fails one command, before it runs or after it has done its work; or all from one on. */
export class FaultyRunner implements CommandRunner {
  #at = 0;
  #count = 0;
  #when: "before" | "after" = "before";
  #forever = false;

  get pending(): boolean {
    return this.#count < this.#at;
  }

  failAt(at: number, when: "before" | "after"): void {
    [this.#at, this.#count, this.#when, this.#forever] = [at, 0, when, false];
  }

  dieAt(at: number): void {
    [this.#at, this.#count, this.#when, this.#forever] = [at, 0, "before", true];
  }

  async run(argv: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    const count = ++this.#count;
    const fails = this.#at > 0 && (count === this.#at || (this.#forever && count > this.#at));
    if (fails && this.#when === "before") throw new Error(`fault before ${argv.join(" ")}`);
    if (!fails) return systemCommandRunner.run(argv, options);
    await systemCommandRunner.run(argv, options).catch(() => undefined);
    throw new Error(`fault after ${argv.join(" ")}`);
  }
}
