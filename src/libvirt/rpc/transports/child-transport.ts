/** A transport over the standard streams of a program, such as `ssh`. */
import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { systemClock } from "../../../core/index.js";
import type { Clock, TimerHandle } from "../../../core/index.js";
import { LibvirtConnectError } from "../errors.js";
import type { LibvirtTransport, LibvirtTransportSink } from "./transport.js";

export interface ChildTransportOptions {
  readonly description: string;
  readonly clock?: Clock | undefined;
}

const STDERR_TAIL = 4096;
/** How long an ended program's last words are waited for, and a stopped one before it is killed. */
const GRACE_MS = 1_000;

/**
 * Starts a program, without a shell and in a session of its own, so that it neither asks on the embedder's terminal nor is
 * ended by its signals.
 * @throws LibvirtConnectError when it can't be started
 */
export async function childTransport(
  argv: readonly [string, ...string[]],
  options: ChildTransportOptions,
): Promise<LibvirtTransport> {
  const [file, ...args] = argv;
  const child = spawn(file, args, { stdio: "pipe", detached: true });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (cause) => {
      const message = `the program ${file} that was to reach the daemon can't be started`;
      reject(new LibvirtConnectError(message, { retryable: false, cause, detail: argv.join(" ") }));
    });
  });
  return new ChildTransport(child, argv, options);
}

class ChildTransport implements LibvirtTransport {
  readonly description: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #argv: readonly string[];
  readonly #clock: Clock;
  readonly #gone: Promise<void>;
  #exit: string | undefined;
  #stderr = "";
  #sink: LibvirtTransportSink | undefined;
  #ended = false;

  constructor(child: ChildProcessWithoutNullStreams, argv: readonly string[], options: ChildTransportOptions) {
    this.description = options.description;
    this.#child = child;
    this.#argv = argv;
    this.#clock = options.clock ?? systemClock;
    this.#gone = new Promise((resolve) =>
      child.once("close", (code, signal) => {
        this.#exit = code === null ? `was ended by ${signal ?? "a signal"}` : `exited with status ${code}`;
        resolve();
      }),
    );
    child.on("error", () => undefined);
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream.on("error", () => undefined);
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_TAIL);
    });
  }

  get blocked(): boolean {
    return this.#child.stdin.writableLength > 0;
  }

  start(sink: LibvirtTransportSink): void {
    const { stdin, stdout } = this.#child;
    this.#sink = sink;
    stdout.on("data", (chunk: Buffer) => {
      if (!this.#ended) sink.data(chunk);
    });
    stdin.on("drain", () => {
      if (!this.#ended) sink.drained();
    });
    stdout.once("end", () => void this.#end());
    stdout.once("close", () => void this.#end());
    if (stdout.destroyed || stdout.readableEnded) void this.#end();
  }

  send(data: Uint8Array): boolean {
    const { stdin } = this.#child;
    return this.#ended || !stdin.writable || stdin.write(data);
  }

  pause(): void {
    this.#child.stdout.pause();
  }

  resume(): void {
    this.#child.stdout.resume();
  }

  async close(graceMs: number): Promise<void> {
    if (!this.#ended && this.#child.stdin.writable) {
      const flushed = new Promise<void>((resolve) => this.#child.stdin.end(() => resolve()));
      await this.#atMost(Promise.race([flushed, this.#gone]), graceMs);
    }
    await this.#end();
  }

  ref(): void {
    this.#setRef("ref");
  }

  unref(): void {
    this.#setRef("unref");
  }

  #setRef(which: "ref" | "unref"): void {
    this.#child[which]();
    const { stdin, stdout, stderr } = this.#child;
    for (const stream of [stdin, stdout, stderr]) (stream as { ref?: () => void; unref?: () => void })[which]?.();
  }

  async #end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    // A program that has ended by itself says why first.
    await this.#atMost(this.#gone, this.#child.stdout.readableEnded ? GRACE_MS : 0);
    const error = this.#failure();
    this.#sink?.ended(error);
    this.#kill("SIGTERM");
    await this.#atMost(this.#gone, GRACE_MS);
    this.#kill("SIGKILL");
    this.#child.stdin.destroy();
    this.#child.stdout.destroy();
    this.#child.stderr.destroy();
  }

  #failure(): Error | undefined {
    if (this.#exit === undefined || this.#exit === "exited with status 0") return undefined;
    return new LibvirtConnectError(`the program ${this.#argv[0] ?? ""} that reached the daemon ${this.#exit}`, {
      detail: this.#stderr.trim() || undefined,
    });
  }

  #kill(signal: NodeJS.Signals): void {
    const { pid } = this.#child;
    if (this.#exit !== undefined || pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // It is gone, which is what was wanted.
    }
  }

  async #atMost(event: Promise<void>, ms: number): Promise<void> {
    let timer: TimerHandle | undefined;
    const late = new Promise<void>((resolve) => (timer = this.#clock.setTimeout(resolve, ms)));
    await Promise.race([event, late]);
    timer?.cancel();
  }
}
