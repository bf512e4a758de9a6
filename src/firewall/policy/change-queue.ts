/** Brings changes of the policy to the host one after the other: many in one transaction where they come together, each alone where one of them fails. */
import { asError } from "../../core/index.js";
import type { FirewallBackend } from "./firewall-backend.js";
import type { FilterRecords } from "./filter-records.js";
import type { FlowCutter } from "./flow-cutter.js";
import { EMPTY_POLICY, PolicyDraft } from "./policy-state.js";
import type { PolicyChange, PolicyEdit, PolicyState } from "./policy-state.js";

/** What is to be edited of the state at its turn. `undefined`: nothing, it has to be made anew. */
export type Mutation = (state: PolicyState) => PolicyEdit | undefined;

export interface ChangeQueueParts {
  readonly backend: FirewallBackend;
  readonly records: FilterRecords;
  readonly flows: FlowCutter;
}

interface Entry {
  /** All or none of them. */
  readonly mutations: readonly Mutation[];
  readonly resolve: (done: boolean) => void;
  readonly reject: (error: Error) => void;
}

/** Most entries that go into one transaction. */
const MAX_BATCH = 256;

export class ChangeQueue {
  readonly #parts: ChangeQueueParts;
  #state: PolicyState = EMPTY_POLICY;
  #entries: Entry[] = [];
  #turn: Promise<unknown> = Promise.resolve();
  #running = false;

  constructor(parts: ChangeQueueParts) {
    this.#parts = parts;
  }

  /** What is in force. */
  get state(): PolicyState {
    return this.#state;
  }

  /** Resolves when the change is in force, to false when its mutation wants to be made anew. Rejects when the host refused it; then it is not. */
  submit(mutation: Mutation): Promise<boolean> {
    return this.submitAll([mutation]);
  }

  submitAll(mutations: readonly Mutation[]): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#entries.push({ mutations, resolve, reject });
      if (!this.#running) void this.#drain();
    });
  }

  /** Puts a whole state in force in place of whatever is there. */
  replaceAll(make: (state: PolicyState) => Promise<PolicyState>): Promise<void> {
    return this.#alone(async () => {
      const next = await make(this.#state);
      await this.#parts.backend.replace(next);
      this.#state = next;
    });
  }

  removeAll(): Promise<void> {
    return this.#alone(async () => {
      await this.#parts.backend.remove();
      for (const uuid of this.#state.instances.keys()) await this.#parts.records.set(uuid, undefined);
      this.#state = EMPTY_POLICY;
    });
  }

  /** Between two transactions. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(work);
    this.#turn = run.catch(() => undefined);
    return run;
  }

  async #drain(): Promise<void> {
    this.#running = true;
    // What comes in the same turn of the event loop goes together.
    await Promise.resolve();
    while (this.#entries.length > 0) {
      const batch = this.#entries.splice(0, batchSize(this.#entries));
      await this.#alone(() => this.#settle(batch));
    }
    this.#running = false;
  }

  /** Never rejects. */
  async #settle(batch: readonly Entry[]): Promise<void> {
    const draft = new PolicyDraft(this.#state);
    const ready: Entry[] = [];
    for (const entry of batch) {
      try {
        if (draftEntry(draft, entry)) ready.push(entry);
        else entry.resolve(false);
      } catch (error) {
        entry.reject(asError(error));
      }
    }
    const [first, ...others] = ready;
    if (first === undefined) return;
    try {
      const change = draft.change();
      if (change !== undefined) await this.#commit(change);
      for (const entry of ready) entry.resolve(true);
    } catch (error) {
      if (others.length === 0) first.reject(asError(error));
      else for (const entry of ready) await this.#settle([entry]);
    }
  }

  async #commit(change: PolicyChange): Promise<void> {
    const { records, flows } = this.#parts;
    const { before, after, instances } = change;
    try {
      for (const uuid of instances) await records.set(uuid, after.instances.get(uuid));
      await this.#put(change);
    } catch (error) {
      for (const uuid of instances) await records.set(uuid, before.instances.get(uuid)).catch(() => undefined);
      throw error;
    }
    this.#state = after;
    await flows.cut(change);
  }

  /** A change that does not fit what somebody else has made of our filters is answered by putting all of them in force anew. */
  async #put(change: PolicyChange): Promise<void> {
    const { backend } = this.#parts;
    try {
      await backend.commit(change);
    } catch (error) {
      if (await backend.intact()) throw error;
      await backend.replace(change.after);
    }
  }
}

/** One that has many edits goes alone: when one of them fails, none is made. */
function batchSize(entries: readonly Entry[]): number {
  const many = entries.findIndex(({ mutations }) => mutations.length > 1);
  return many < 0 ? MAX_BATCH : Math.min(Math.max(many, 1), MAX_BATCH);
}

/** False when it wants to be made anew. */
function draftEntry(draft: PolicyDraft, { mutations }: Entry): boolean {
  for (const mutation of mutations) {
    const edit = mutation(draft.state);
    if (edit === undefined) return false;
    draft.edit(edit);
  }
  return true;
}
