/** What this process is about with the devices of one guest. Nothing of it outlives the process: what has to stands in the guest's state. */
import type { DeviceRef } from "./alter-definition.js";

export class DeviceWork {
  readonly #attaching = new Set<string>();
  readonly #detaching = new Map<string, number>();
  readonly #requests = new Map<string, Promise<unknown>>();
  readonly #changes = new Map<string, Promise<unknown>>();
  #settling: Promise<void> = Promise.resolve();
  #sizeChanges = 0;
  /** Elements that were taken out of the configuration, for the case that the guest keeps the device. */
  readonly #configured = new Map<string, string>();

  /** Whether somebody here attaches or detaches it, and sees to what becomes of it. */
  isBusy(device: DeviceRef): boolean {
    const key = keyOf(device);
    return this.#attaching.has(key) || this.#detaching.has(key);
  }

  async whileAttaching<T>(device: DeviceRef, run: () => Promise<T>): Promise<T> {
    const key = keyOf(device);
    this.#attaching.add(key);
    try {
      return await run();
    } finally {
      this.#attaching.delete(key);
    }
  }

  async whileDetaching<T>(device: DeviceRef, run: () => Promise<T>): Promise<T> {
    const key = keyOf(device);
    this.#detaching.set(key, (this.#detaching.get(key) ?? 0) + 1);
    try {
      return await run();
    } finally {
      const left = (this.#detaching.get(key) ?? 1) - 1;
      if (left === 0) this.#detaching.delete(key);
      else this.#detaching.set(key, left);
    }
  }

  /** Grows with each change of vCPUs or memory here, when it begins and when it has ended. */
  get sizeChanges(): number {
    return this.#sizeChanges;
  }

  async whileSizing<T>(run: () => Promise<T>): Promise<T> {
    this.#sizeChanges += 1;
    try {
      return await run();
    } finally {
      this.#sizeChanges += 1;
    }
  }

  /** One request to the guest at a time: who asks again while one is under way gets the answer to that. */
  request<T>(device: DeviceRef, ask: () => Promise<T>): Promise<T> {
    return once(this.#requests as Map<string, Promise<T>>, keyOf(device), ask);
  }

  /** Changes of what is recorded of a device follow each other. */
  alone(device: DeviceRef, run: () => Promise<void>): Promise<void> {
    const key = keyOf(device);
    const work = (this.#changes.get(key) ?? Promise.resolve()).then(run);
    const over: Promise<void> = work
      .catch(() => undefined)
      .then(() => (this.#changes.get(key) === over ? void this.#changes.delete(key) : undefined));
    this.#changes.set(key, over);
    return work;
  }

  /** Looks at all devices; one look after the other. */
  settle(run: () => Promise<void>): Promise<void> {
    const settled = this.#settling.then(run);
    this.#settling = settled.catch(() => undefined);
    return settled;
  }

  /** Resolves when no device's end is being seen to; never rejects. */
  async idle(): Promise<void> {
    await Promise.allSettled([this.#settling, ...this.#changes.values()]);
  }

  keepConfigured(device: DeviceRef, xml: string): void {
    this.#configured.set(keyOf(device), xml);
  }

  takeConfigured(device: DeviceRef): string | undefined {
    const key = keyOf(device);
    const xml = this.#configured.get(key);
    this.#configured.delete(key);
    return xml;
  }
}

function keyOf({ kind, id }: DeviceRef): string {
  return `${kind}/${id}`;
}

function once<T>(running: Map<string, Promise<T>>, key: string, run: () => Promise<T>): Promise<T> {
  const present = running.get(key);
  if (present !== undefined) return present;
  const work = run().finally(() => running.delete(key));
  running.set(key, work);
  return work;
}
