/** Anti-spoofing alone, in a table of the bridge family: for drivers that leave groups to another of the kernel's filters. */
import { randomBytes } from "node:crypto";
import { portKey } from "../policy/address-places.js";
import type { OwnedPort } from "../policy/address-places.js";
import { transition } from "./fragment.js";
import type { Fragment, TableKey } from "./fragment.js";
import type { Nft } from "./nft.js";
import { sourceFragment } from "./port-fragments.js";
import { antiSpoofingSkeleton } from "./skeleton.js";

export class AntiSpoofingTable {
  readonly #nft: Nft;
  readonly #names: Readonly<Record<TableKey, string>>;
  #fragments = new Map<string, Fragment>();
  /** A counter that only this process knows: where it is, our table is. */
  #mark: string | undefined;

  constructor(nft: Nft, table: string) {
    this.#nft = nft;
    this.#names = { bridge: table, inet: table };
  }

  /** One transaction. @throws FirewallError; then nothing has changed */
  async replace(ports: readonly OwnedPort[]): Promise<void> {
    const fragments = new Map(ports.map((port) => [portKey(port), sourceFragment(port)]));
    const mark = `mark_${randomBytes(8).toString("hex")}`;
    const lines = transition([], [...fragments.values()], this.#names);
    await this.#nft.apply(
      antiSpoofingSkeleton(this.#names.bridge) + textOf([...lines, `add counter bridge ${this.#names.bridge} ${mark}`]),
    );
    this.#fragments = fragments;
    this.#mark = mark;
  }

  /** One transaction of the size of the change. @throws FirewallError; then nothing has changed */
  async move(out: readonly OwnedPort[], come: readonly OwnedPort[]): Promise<void> {
    const next = new Map<string, Fragment | undefined>(out.map((port) => [portKey(port), undefined]));
    for (const port of come) next.set(portKey(port), sourceFragment(port));
    const old = [...next.keys()].flatMap((key) => this.#fragments.get(key) ?? []);
    const fresh = [...next.values()].flatMap((fragment) => fragment ?? []);
    await this.#nft.apply(textOf(transition(old, fresh, this.#names)));
    for (const [key, fragment] of next) {
      if (fragment === undefined) this.#fragments.delete(key);
      else this.#fragments.set(key, fragment);
    }
  }

  async intact(): Promise<boolean> {
    return this.#mark !== undefined && (await this.#nft.hasCounter("bridge", this.#names.bridge, this.#mark));
  }

  /** Success when there is none. */
  async remove(): Promise<void> {
    const table = `table bridge ${this.#names.bridge}`;
    await this.#nft.apply(`add ${table}\ndelete ${table}\n`);
    this.#fragments.clear();
    this.#mark = undefined;
  }

  /** What ports bring into the table, for people. */
  plan(ports: readonly OwnedPort[]): readonly string[] {
    return transition([], ports.map(sourceFragment), this.#names);
  }
}

function textOf(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}
