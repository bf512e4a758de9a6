/** The least that a QMP client in Node can be: the floor that ours is measured against. No checks, no deadlines, no states. */
import { connect } from "node:net";
import type { Socket } from "node:net";

interface Message {
  readonly id?: number;
  readonly return?: unknown;
  readonly event?: string;
}

export class RawQmpClient {
  readonly #socket: Socket;
  readonly #pending = new Map<number, (value: unknown) => void>();
  #outbox = "";
  #rest = "";
  #nextId = 1;
  onEvent: ((message: Message) => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#read(chunk.toString("latin1")));
  }

  static async open(path: string): Promise<RawQmpClient> {
    const socket = connect(path);
    await new Promise((resolve) => socket.once("connect", resolve));
    const client = new RawQmpClient(socket);
    await client.execute("qmp_capabilities");
    return client;
  }

  execute(command: string, args?: object): Promise<unknown> {
    return new Promise((resolve) => {
      const id = this.#nextId++;
      this.#pending.set(id, resolve);
      if (this.#outbox === "") queueMicrotask(() => this.#flush());
      this.#outbox += `${JSON.stringify({ execute: command, arguments: args, id })}\n`;
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #flush(): void {
    this.#socket.write(this.#outbox, "latin1");
    this.#outbox = "";
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const message = JSON.parse(line) as Message;
      if (message.event !== undefined) this.onEvent?.(message);
      else if (message.id !== undefined) {
        this.#pending.get(message.id)?.(message.return);
        this.#pending.delete(message.id);
      }
    }
  }
}
