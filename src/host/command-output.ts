/** What a command says, kept up to a bound. */
import type { Readable } from "node:stream";
import { OverflowError } from "../core/index.js";
import type { Clock, TimerHandle } from "../core/index.js";
import type { CommandProcess } from "./command-process.js";

/** Collects both outputs of a command from the moment it is made. */
export class CommandOutput {
  /** Rejects when the bound is passed, and never resolves. */
  readonly overflowed: Promise<never>;
  readonly #streams: readonly Readable[];
  readonly #chunks: readonly Buffer[][] = [[], []];
  readonly #maxBytes: number;
  readonly #name: string;
  readonly #ended: Promise<unknown>;
  #bytes = 0;
  #overflow: (error: Error) => void = () => undefined;
  #heard: () => void = () => undefined;

  constructor(child: CommandProcess, maxBytes: number, name: string) {
    this.#name = name;
    this.#maxBytes = maxBytes;
    this.overflowed = new Promise<never>((_, reject) => (this.#overflow = reject));
    this.overflowed.catch(() => undefined);
    this.#streams = [child.process.stdout, child.process.stderr].filter((stream) => stream !== null);
    this.#ended = Promise.all(this.#streams.map((stream, i) => this.#read(stream, this.#chunks[i] ?? [])));
  }

  get stdout(): string {
    return Buffer.concat(this.#chunks[0] ?? []).toString("utf8");
  }

  get stderr(): string {
    return Buffer.concat(this.#chunks[1] ?? []).toString("utf8");
  }

  /**
   * To be called when the command has exited: resolves when its pipes are closed, or have been silent for `silenceMs` because
   * something that it started keeps them open.
   */
  async drained(clock: Clock, silenceMs: number): Promise<void> {
    let timer: TimerHandle | undefined;
    const silent = new Promise<void>((resolve) => {
      this.#heard = () => {
        timer?.cancel();
        timer = clock.setTimeout(resolve, silenceMs);
      };
      this.#heard();
    });
    await Promise.race([this.#ended, silent]);
    this.#heard = () => undefined;
    timer?.cancel();
  }

  /** Stops reading; the pipes are closed on this side. */
  close(): void {
    this.#heard = () => undefined;
    for (const stream of this.#streams) stream.destroy();
  }

  #read(stream: Readable, chunks: Buffer[]): Promise<void> {
    return new Promise<void>((resolve) => {
      stream.on("data", (chunk: Buffer) => this.#take(chunk, chunks));
      stream.on("close", () => resolve());
      stream.on("error", () => resolve());
    });
  }

  #take(chunk: Buffer, chunks: Buffer[]): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#maxBytes) {
      this.#overflow(new OverflowError(`${this.#name} said more than ${this.#maxBytes} bytes`));
      return this.close();
    }
    chunks.push(chunk);
    this.#heard();
  }
}
