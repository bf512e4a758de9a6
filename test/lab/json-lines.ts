// A JSON-lines peer over a socket, enough to speak QMP and the guest agent's protocol in tests of the lab itself.
import type { Duplex } from "node:stream";

interface Reply {
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly id?: number;
  readonly event?: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

export interface LabEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class JsonLines {
  readonly #socket: Duplex;
  readonly #pending = new Map<number, Pending>();
  readonly #events: LabEvent[] = [];
  readonly #listeners = new Set<() => void>();
  #rest = "";
  #nextId = 1;
  #closed = false;

  constructor(socket: Duplex) {
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.#read(text));
    socket.on("error", () => this.#close());
    socket.on("close", () => this.#close());
  }

  /** Every event so far, oldest first. */
  get events(): readonly LabEvent[] {
    return this.#events;
  }

  /** @throws Error that names the command, when the peer answers with an error, closes, or is silent for `timeoutMs`. */
  execute(command: string, args: Readonly<Record<string, unknown>> = {}, timeoutMs = 20_000): Promise<unknown> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => finish(() => reject(new Error(`${command}: no answer in ${timeoutMs} ms`))),
        timeoutMs,
      );
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        this.#pending.delete(id);
        settle();
      };
      this.#pending.set(id, {
        resolve: (value) => finish(() => resolve(value)),
        reject: (error) => finish(() => reject(new Error(`${command}: ${error.message}`, { cause: error }))),
      });
      if (this.#closed) this.#pending.get(id)?.reject(new Error("the connection is closed"));
      else this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  /** The first event of this name, also one that came already; `match` narrows by its data. */
  waitForEvent(
    name: string,
    match: (data: LabEvent["data"]) => boolean = () => true,
    timeoutMs = 60_000,
  ): Promise<LabEvent> {
    return new Promise((resolve, reject) => {
      const look = (): boolean => {
        const found = this.#events.find(({ event, data }) => event === name && match(data));
        if (found) resolve(found);
        else if (this.#closed) reject(new Error(`closed before ${name}`));
        else return false;
        stop();
        return true;
      };
      const stop = (): void => {
        clearTimeout(timer);
        this.#listeners.delete(look);
      };
      const timer = setTimeout(() => {
        stop();
        reject(
          new Error(`no event ${name} in ${timeoutMs} ms; seen: ${this.#events.map(({ event }) => event).join(" ")}`),
        );
      }, timeoutMs);
      if (!look()) this.#listeners.add(look);
    });
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#receive(line);
  }

  #receive(line: string): void {
    // The agent may send 0xff to start afresh.
    const trimmed = line.replace(/^[\s\u00ff\ufffd]+/, "").trim();
    if (!trimmed) return;
    const reply = JSON.parse(trimmed) as Reply;
    if (reply.event !== undefined) {
      this.#events.push({ event: reply.event, data: reply.data ?? {} });
      for (const look of [...this.#listeners]) look();
      return;
    }
    if (reply.return === undefined && reply.error === undefined) return;
    // An old agent does not repeat the id: its answers come in order.
    const id = reply.id ?? [...this.#pending.keys()][0];
    const pending = id === undefined ? undefined : this.#pending.get(id);
    if (reply.error) pending?.reject(new Error(`${reply.error.class}: ${reply.error.desc}`));
    else pending?.resolve(reply.return);
  }

  #close(): void {
    this.#closed = true;
    for (const pending of [...this.#pending.values()]) pending.reject(new Error("the connection is closed"));
    for (const look of [...this.#listeners]) look();
  }
}
