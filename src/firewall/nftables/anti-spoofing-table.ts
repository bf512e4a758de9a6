/** Anti-spoofing alone, in a table of the bridge family: for drivers that leave groups to another of the kernel's filters. */
import { randomBytes } from "node:crypto";
import { portKey } from "../policy/address-places.js";
import type { OwnedPort } from "../policy/address-places.js";
import { transition } from "./fragment.js";
import type { Fragment } from "./fragment.js";
import type { Nft } from "./nft.js";
import { sourceFragment } from "./port-fragments.js";
import { antiSpoofingSkeleton } from "./skeleton.js";
import { TableTurns } from "./table-turns.js";

export class AntiSpoofingTable {
  readonly #nft: Nft;
  readonly #name: string;
  readonly #turns: TableTurns;
  #fragments = new Map<string, Fragment>();
  /** A counter that only this process knows: where it is, our table is. */
  #mark: string | undefined;

  constructor(nft: Nft, table: string) {
    this.#nft = nft;
    this.#name = table;
    this.#turns = new TableTurns(nft, table);
  }

  /** @throws FirewallError; then nothing has changed */
  async replace(ports: readonly OwnedPort[]): Promise<void> {
    const fragments = new Map(ports.map((port) => [portKey(port), sourceFragment(port)]));
    const mark = `mark_${randomBytes(8).toString("hex")}`;
    await this.#turns.replace((name) => {
      const lines = transition([], [...fragments.values()], name);
      return antiSpoofingSkeleton(name) + textOf([...lines, `add counter bridge ${name} ${mark}`]);
    });
    this.#fragments = fragments;
    this.#mark = mark;
  }

  /** One transaction of the size of the change. @throws FirewallError; then nothing has changed */
  async move(out: readonly OwnedPort[], come: readonly OwnedPort[]): Promise<void> {
    const next = new Map<string, Fragment | undefined>(out.map((port) => [portKey(port), undefined]));
    for (const port of come) next.set(portKey(port), sourceFragment(port));
    const old = [...next.keys()].flatMap((key) => this.#fragments.get(key) ?? []);
    const fresh = [...next.values()].flatMap((fragment) => fragment ?? []);
    await this.#nft.apply(textOf(transition(old, fresh, this.#turns.current ?? this.#name)));
    for (const [key, fragment] of next) {
      if (fragment === undefined) this.#fragments.delete(key);
      else this.#fragments.set(key, fragment);
    }
  }

  async intact(): Promise<boolean> {
    const { current } = this.#turns;
    if (current === undefined || this.#mark === undefined) return false;
    return this.#nft.hasCounter("bridge", current, this.#mark);
  }

  /** Success when there is none. */
  async remove(): Promise<void> {
    await this.#turns.remove();
    this.#fragments.clear();
    this.#mark = undefined;
  }

  /** What ports bring into the table, for people. */
  plan(ports: readonly OwnedPort[]): readonly string[] {
    return transition([], ports.map(sourceFragment), this.#turns.current ?? this.#name);
  }
}

function textOf(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}
