/** What a driver keeps of one guest: known in memory once it is written down. */

export class DurableState<S> {
  readonly #save: (state: S) => Promise<void>;
  #current: S;
  #writing: Promise<unknown> = Promise.resolve();

  /** @param save resolves when the state is durable */
  constructor(current: S, save: (state: S) => Promise<void>) {
    this.#current = current;
    this.#save = save;
  }

  get current(): S {
    return this.#current;
  }

  /** Changes follow each other; one that gives the same state writes nothing. On failure the old state stands. @throws what saving throws */
  update(change: (state: S) => S): Promise<void> {
    const run = this.#writing.then(async () => {
      const next = change(this.#current);
      if (next === this.#current) return;
      await this.#save(next);
      this.#current = next;
    });
    this.#writing = run.catch(() => undefined);
    return run;
  }

  /** Takes over what has been written by somebody else. */
  adopt(state: S): void {
    this.#current = state;
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    await this.#writing;
  }
}
