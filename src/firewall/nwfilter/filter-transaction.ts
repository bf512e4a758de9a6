/** A change of libvirt's filters, step by step, each of which can be taken back: libvirt itself knows no transactions of several. */
import { asError, BusyError, ConflictError, HyperviseError, NotSupportedError } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import { FirewallError } from "../errors.js";
import type { FilterDocument } from "./filter-document.js";
import type { KnownFilter, NwfilterHost, PortBinding } from "./nwfilter-host.js";

/** What is in libvirt of ours. */
export interface FilterStock {
  /** Uuids by name. */
  readonly uuids: Map<string, string>;
  /** By the name of the device. */
  readonly bindings: Map<string, PortBinding>;
}

export interface TransactionParts {
  readonly host: NwfilterHost;
  readonly stock: FilterStock;
  readonly clock: Clock;
  /** Longest wait for a filter's last port to let go of it. */
  readonly inUseMs: number;
}

/** Between two tries; libvirt tells of no end of a use. */
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 500;

export class FilterTransaction {
  readonly #parts: TransactionParts;
  readonly #undo: (() => Promise<void>)[] = [];

  private constructor(parts: TransactionParts) {
    this.#parts = parts;
  }

  /** Does the steps. When one fails, those before it are taken back. @throws FirewallError, BusyError */
  static async run(parts: TransactionParts, steps: (transaction: FilterTransaction) => Promise<void>): Promise<void> {
    const transaction = new FilterTransaction(parts);
    try {
      await steps(transaction);
    } catch (error) {
      const failure = asFirewallError(error);
      failure.attachUndoErrors(await transaction.#takeBack());
      throw failure;
    }
  }

  async define(document: FilterDocument): Promise<void> {
    const { host, stock } = this.#parts;
    const { name } = document;
    const uuid = stock.uuids.get(name);
    const former = uuid === undefined ? undefined : await host.textOf(name);
    this.#undo.push(async () => {
      if (former !== undefined) return host.restore(former);
      await host.undefine(name);
      stock.uuids.delete(name);
    });
    const defined: KnownFilter = await host.define(document, uuid);
    stock.uuids.set(name, defined.uuid);
  }

  /** @throws BusyError when something uses it for longer than is waited for */
  async undefine(name: string): Promise<void> {
    const { host, stock } = this.#parts;
    const uuid = stock.uuids.get(name);
    if (uuid === undefined) return;
    const former = await host.textOf(name);
    await this.#whenUnused(name);
    stock.uuids.delete(name);
    this.#undo.push(async () => {
      await host.restore(former);
      stock.uuids.set(name, uuid);
    });
  }

  async bind(binding: PortBinding): Promise<void> {
    const { host, stock } = this.#parts;
    const { deviceName } = binding;
    this.#undo.push(async () => {
      await host.unbind(deviceName);
      stock.bindings.delete(deviceName);
    });
    await host.bind(binding);
    stock.bindings.set(deviceName, binding);
  }

  async unbind(deviceName: string): Promise<void> {
    const { host, stock } = this.#parts;
    const former = stock.bindings.get(deviceName);
    this.#undo.push(async () => {
      if (former === undefined) return;
      await host.bind(former);
      stock.bindings.set(deviceName, former);
    });
    await host.unbind(deviceName);
    stock.bindings.delete(deviceName);
  }

  async #whenUnused(name: string): Promise<void> {
    const { host, clock, inUseMs } = this.#parts;
    const end = clock.monotonic() + inUseMs;
    for (let pause = FIRST_PAUSE_MS; !(await host.undefine(name)); pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      const left = end - clock.monotonic();
      if (left <= 0)
        throw new BusyError("a filter is still in use", {
          detail: name,
          remedy: "Stop the domain, or detach the interface, before its filter is removed.",
        });
      await clock.sleep(Math.min(pause, left));
    }
  }

  async #takeBack(): Promise<Error[]> {
    const failures: Error[] = [];
    for (const undo of this.#undo.reverse()) {
      try {
        await undo();
      } catch (error) {
        failures.push(asError(error));
      }
    }
    return failures;
  }
}

/** What callers are told of whatever libvirt's client says. */
export function asFirewallError(error: unknown): HyperviseError {
  const isOurs = error instanceof FirewallError || error instanceof BusyError || error instanceof ConflictError;
  if (isOurs || error instanceof NotSupportedError) return error;
  const retryable = error instanceof HyperviseError && error.retryable;
  return new FirewallError("libvirt did not take the filters", { cause: asError(error), retryable });
}
