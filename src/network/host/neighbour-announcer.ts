/** Tells neighbours that an address is here now, by gratuitous ARP. */
import { traceMessage } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";

/** Announces in the background: what is not heard, neighbours find out when they ask. */
export class NeighbourAnnouncer {
  readonly #commands: CommandRunner;
  readonly #count: number;
  readonly #running = new Map<Promise<void>, AbortController>();

  constructor(commands: CommandRunner, count: number) {
    this.#commands = commands;
    this.#count = count;
  }

  /** Of IPv4 addresses; IPv6's neighbours are told by the kernel. */
  announce(device: string, address: string): void {
    if (this.#count === 0 || address.includes(":")) return;
    const abort = new AbortController();
    const run = this.#commands
      .run(["arping", "-U", "-c", String(this.#count), "-I", device, address], {
        signal: abort.signal,
        timeoutMs: 10_000 + 2_000 * this.#count,
      })
      .then(
        () => undefined,
        (error: unknown) =>
          traceMessage("hypervise:network:announce", () => ({ device, address, error: String(error) })),
      )
      .finally(() => void this.#running.delete(run));
    this.#running.set(run, abort);
  }

  /** Ends what is still announced. */
  async close(): Promise<void> {
    for (const abort of this.#running.values()) abort.abort();
    await Promise.all(this.#running.keys());
  }
}
