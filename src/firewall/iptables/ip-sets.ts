/** Sets of addresses in the kernel, through `ipset`. */
import { asError } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { FirewallError } from "../errors.js";
import type { IpVersion } from "../security-group.js";

export interface IpSet {
  readonly version: IpVersion;
  readonly entries: ReadonlySet<string>;
}

/** A change that is in force, but for what only takes place. */
export interface SetChange {
  /** Does away with sets that nothing refers to any more. What can't be done now is done at the next replacement. */
  readonly finish: () => Promise<void>;
  readonly undo: () => Promise<void>;
}

/** Changes of a set up to this size are made member by member; larger ones by a set that takes the other's place at once. */
const MAX_SINGLE = 64;
const MAX_MEMBERS = 1_048_576;

export class IpSets {
  readonly #commands: CommandRunner;
  readonly #timeoutMs: number;
  /** Begins the names of all sets of ours. */
  readonly #prefix: string;
  readonly #sets = new Map<string, IpSet>();

  constructor(commands: CommandRunner, prefix: string, timeoutMs: number) {
    this.#commands = commands;
    this.#prefix = prefix;
    this.#timeoutMs = timeoutMs;
  }

  /** Changes some sets; `undefined`: they are not wanted any more. @throws FirewallError; then nothing has changed */
  async change(changes: ReadonlyMap<string, IpSet | undefined>): Promise<SetChange> {
    const forward: string[] = [];
    const backward: string[] = [];
    const created: string[] = [];
    const gone: string[] = [];
    const before = new Map([...changes.keys()].map((name) => [name, this.#sets.get(name)]));
    for (const [name, after] of changes) {
      const known = before.get(name);
      if (after === undefined) {
        if (known !== undefined) gone.push(name);
      } else if (known === undefined) {
        created.push(name);
        forward.push(...fill(name, after));
      } else {
        forward.push(...edit(name, known, after));
        backward.push(...edit(name, after, known));
      }
    }
    await this.#put(forward, backward, created);
    this.#remember(changes);
    return {
      finish: () => this.#destroy(gone),
      undo: async () => {
        this.#remember(before);
        await this.#restore(backward);
        await this.#destroy(created);
      },
    };
  }

  /** Makes all sets of ours just these, whatever is there. @throws FirewallError; then nothing has changed */
  async replace(wanted: ReadonlyMap<string, IpSet>): Promise<SetChange> {
    const live = await this.#names();
    const before = new Map(this.#sets);
    const created = [...wanted.keys()].filter((name) => !live.includes(name));
    const present = [...wanted.keys()].filter((name) => live.includes(name));
    const filled = [...wanted].flatMap(([name, set]) => fill(present.includes(name) ? shadow(name) : name, set));
    const swapped = present.map((name) => `swap ${shadow(name)} ${name}`);
    const aside = present.map(shadow);
    await this.#put(filled, [], [...created, ...aside]);
    await this.#put(swapped, [], [...created, ...aside]);
    const remember = (sets: ReadonlyMap<string, IpSet>): void => {
      this.#sets.clear();
      for (const [name, set] of sets) this.#sets.set(name, set);
    };
    remember(wanted);
    return {
      finish: () => this.#destroy([...aside, ...live.filter((name) => !wanted.has(name) && !aside.includes(name))]),
      undo: async () => {
        remember(before);
        await this.#restore(swapped);
        await this.#destroy([...aside, ...created]);
      },
    };
  }

  /** The lines that make sets, for people. */
  plan(sets: ReadonlyMap<string, IpSet>): readonly string[] {
    return [...sets].flatMap(([name, set]) => [
      creation(name, set),
      ...[...set.entries].map((entry) => `add ${name} ${entry}`),
    ]);
  }

  async #put(forward: readonly string[], backward: readonly string[], created: readonly string[]): Promise<void> {
    try {
      await this.#restore(forward);
    } catch (error) {
      // The lines before the one that failed are in force.
      await this.#restore(backward).catch(() => undefined);
      await this.#destroy(created);
      throw error;
    }
  }

  #remember(changes: ReadonlyMap<string, IpSet | undefined>): void {
    for (const [name, set] of changes) {
      if (set === undefined) this.#sets.delete(name);
      else this.#sets.set(name, set);
    }
  }

  async #restore(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    await this.#run(["restore", "-exist"], lines.map((line) => `${line}\n`).join(""));
  }

  /** Where one is in use, or gone, it does not hold up the others. */
  async #destroy(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    const isDone = await this.#restore(names.map((name) => `destroy ${name}`)).then(
      () => true,
      () => false,
    );
    if (isDone) return;
    for (const name of names) await this.#run(["destroy", name]).catch(() => undefined);
  }

  async #names(): Promise<readonly string[]> {
    const stdout = await this.#run(["list", "-n"]);
    return stdout.split("\n").filter((name) => name.startsWith(`${this.#prefix}-`));
  }

  async #run(args: readonly string[], input?: string): Promise<string> {
    const options = { timeoutMs: this.#timeoutMs, maxOutputBytes: 64 * 1024 * 1024 };
    try {
      return (await this.#commands.run(["ipset", ...args], input === undefined ? options : { ...options, input }))
        .stdout;
    } catch (error) {
      const { detail } = error as { readonly detail?: string };
      throw new FirewallError("the kernel did not take the sets of addresses", {
        cause: asError(error),
        ...(detail === undefined ? {} : { detail }),
      });
    }
  }
}

function edit(name: string, before: IpSet, after: IpSet): string[] {
  const come = [...after.entries].filter((entry) => !before.entries.has(entry));
  const gone = [...before.entries].filter((entry) => !after.entries.has(entry));
  if (come.length + gone.length > MAX_SINGLE) return exchange(name, after);
  return [...gone.map((entry) => `del ${name} ${entry}`), ...come.map((entry) => `add ${name} ${entry}`)];
}

function exchange(name: string, set: IpSet): string[] {
  const other = shadow(name);
  return [...fill(other, set), `swap ${other} ${name}`, `destroy ${other}`];
}

function fill(name: string, set: IpSet): string[] {
  return [creation(name, set), `flush ${name}`, ...[...set.entries].map((entry) => `add ${name} ${entry}`)];
}

function creation(name: string, { version }: IpSet): string {
  return `create ${name} hash:net family ${version === 4 ? "inet" : "inet6"} maxelem ${MAX_MEMBERS}`;
}

function shadow(name: string): string {
  return `${name}t`;
}
