/** Putting tables in force anew without a moment in which neither the old nor the new ones decide. */
import { asError } from "../../core/index.js";
import type { TableKey } from "./fragment.js";
import type { Nft } from "./nft.js";

const FAMILIES = ["bridge", "inet"] as const satisfies readonly TableKey[];
/** No name that an embedder may choose has a dot. */
const OTHER = ".b";

/**
 * Two names that take turns. A table that is deleted and made again by one transaction lets packets through that were on their way into it: for them its chains are
 * empty, and the new ones not yet hooked in. So the new table stands beside the old one, both deciding, before the old one goes.
 */
export class TableTurns {
  readonly #nft: Nft;
  readonly #names: readonly [string, string];
  #current: string | undefined;

  constructor(nft: Nft, name: string) {
    this.#nft = nft;
    this.#names = [name, `${name}${OTHER}`];
  }

  /** The name of what is in force; undefined before the first, and when the kernel would take back nothing. */
  get current(): string | undefined {
    return this.#current;
  }

  /**
   * Puts tables of the other name in force, and removes those of this one.
   * @param write the script that makes them; where they are, they go first
   * @throws FirewallError; then what was in force still is, alone or, when the kernel refuses that too, with the new ones
   */
  async replace(write: (name: string) => string): Promise<void> {
    const before = this.#current ?? (await this.#found());
    const after = before === this.#names[0] ? this.#names[1] : this.#names[0];
    await this.#nft.apply(without(after) + write(after));
    try {
      await this.#nft.apply(without(before ?? this.#names[1]));
    } catch (error) {
      await this.#nft.apply(without(after)).catch(() => (this.#current = undefined));
      throw asError(error);
    }
    this.#current = after;
  }

  /** Removes both. Success when there is none. @throws FirewallError */
  async remove(): Promise<void> {
    await this.#nft.apply(this.#names.map(without).join(""));
    this.#current = undefined;
  }

  /** What a former process has left in force. */
  async #found(): Promise<string | undefined> {
    for (const name of this.#names) if (await this.#nft.hasChain("bridge", name, "prerouting")) return name;
    return undefined;
  }
}

function without(name: string): string {
  return FAMILIES.map((family) => `add table ${family} ${name}\ndelete table ${family} ${name}\n`).join("");
}
