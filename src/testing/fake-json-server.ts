/** What the fakes of QEMU's monitor and of the guest agent share: connections, framing, handlers, and ways to misbehave. */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { HyperviseError, nameErrorClass } from "../core/index.js";
import { isQmpObject, parseJsonExactly, serializeJson } from "../qmp/index.js";
import type { QmpObject, QmpValue } from "../qmp/index.js";
import { duplexPair } from "./duplex-pair.js";
import { JsonFramer } from "./json-framer.js";

/** A handler returns this to leave a command without a reply. */
export const NO_REPLY: unique symbol = Symbol("no reply");

/** A handler throws this to refuse a command: the fake answers with the class and the description. Code `FAKE_COMMAND_REFUSED`. */
export class FakeCommandError extends HyperviseError {
  readonly errorClass: string;

  static {
    nameErrorClass(this, "FakeCommandError");
  }

  constructor(errorClass: string, desc: string) {
    super(desc, { code: "FAKE_COMMAND_REFUSED" });
    this.errorClass = errorClass;
  }
}

/** A command as it arrived. */
export interface FakeCommand {
  readonly name: string;
  readonly args: QmpObject;
  readonly id: QmpValue | undefined;
  readonly oob: boolean;
  /** Its JSON, as it was sent. */
  readonly text: string;
}

/** Answers a command: with a value, a promise of one, {@link NO_REPLY}, or by throwing {@link FakeCommandError}. */
export type FakeHandler = (command: FakeCommand) => unknown;

/** A command that waits until the test answers it. */
export interface HeldCommand extends FakeCommand {
  reply(value?: unknown): void;
  refuse(errorClass: string, desc: string): void;
  /** Lets it be without a reply. */
  drop(): void;
}

export interface FakeServerOptions {
  readonly handlers?: { readonly [command: string]: FakeHandler };
  /** How replies are cut: as they are, into single bytes, or as the function says. Default: `whole`. */
  readonly chunks?: "whole" | "bytes" | ((bytes: Buffer) => readonly Buffer[]);
}

/** One of the fakes. Use {@link FakeQmpServer} or {@link FakeGuestAgentServer}. */
export abstract class FakeJsonServer implements AsyncDisposable {
  /** Every command that arrived, in order. */
  readonly received: FakeCommand[] = [];
  protected readonly options: FakeServerOptions;
  protected readonly handlers = new Map<string, FakeHandler>();
  readonly #connections = new Set<Duplex>();
  readonly #expected: { readonly name: string; readonly resolve: (command: HeldCommand) => void }[] = [];
  readonly #waiting: Duplex[] = [];
  #current: Duplex | undefined;
  #server: Server | undefined;
  #folder: string | undefined;
  #path: string | undefined;

  constructor(options: FakeServerOptions) {
    this.options = options;
  }

  /** The path of its socket, after `listen()`. */
  get path(): string {
    if (this.#path === undefined) throw new Error("the fake server does not listen");
    return this.#path;
  }

  /** How many clients are connected, those included that are not served. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Listens on a UNIX socket: at `path`, or at one in a temporary folder, which `close()` removes. */
  async listen(path?: string): Promise<this> {
    if (path === undefined) this.#folder = await mkdtemp(join(tmpdir(), "fake-qmp-"));
    const target = path ?? join(this.#folder as string, "socket");
    const server = createServer((socket) => this.accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(target, resolve);
    });
    this.#server = server;
    this.#path = target;
    return this;
  }

  /** Connects a client in memory and returns the client's end. */
  connect(): Duplex {
    const [ours, theirs] = duplexPair();
    this.accept(ours);
    return theirs;
  }

  /** Sets or replaces the handler of a command. */
  on(command: string, handler: FakeHandler): this {
    this.handlers.set(command, handler);
    return this;
  }

  /** The next command of this name is held until the test answers it. Call this before the command comes. */
  hold(name: string): Promise<HeldCommand> {
    return new Promise((resolve) => this.#expected.push({ name, resolve }));
  }

  /** Sends a message to the client that is served. */
  send(message: object): void {
    this.sendRaw(`${serializeJson(message, "message")}${this.lineEnd()}`);
  }

  /** Sends bytes as they are, cut as the options say. */
  sendRaw(bytes: string | Uint8Array): void {
    const connection = this.#current;
    if (connection === undefined || connection.destroyed) return;
    const { chunks = "whole" } = this.options;
    const buffer = typeof bytes === "string" ? Buffer.from(bytes) : Buffer.from(bytes);
    const cut =
      chunks === "bytes" ? (b: Buffer): readonly Buffer[] => [...b].map((byte) => Buffer.from([byte])) : chunks;
    for (const piece of cut === "whole" ? [buffer] : cut(buffer)) connection.write(piece);
  }

  /** Hangs up on the client that is served; on all when `all` is set. */
  hangUp(options: { readonly all?: boolean } = {}): void {
    if (options.all === true) for (const connection of [...this.#connections]) connection.destroy();
    else this.#current?.destroy();
  }

  /** Hangs up on everybody, stops listening and removes the socket. */
  async close(): Promise<void> {
    this.hangUp({ all: true });
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()));
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Serves a connected stream. One client is served at a time; the others wait without a word, as with QEMU. */
  accept(connection: Duplex): void {
    this.#connections.add(connection);
    connection.on("error", () => undefined);
    connection.on("close", () => this.#left(connection));
    connection.on("end", () => connection.destroy());
    if (this.#current === undefined) this.#serve(connection);
    else this.#waiting.push(connection);
  }

  #serve(connection: Duplex): void {
    this.#current = connection;
    const framer = this.framer();
    connection.on("data", (chunk: Buffer) => framer.push(chunk));
    this.welcome();
  }

  #left(connection: Duplex): void {
    this.#connections.delete(connection);
    const place = this.#waiting.indexOf(connection);
    if (place !== -1) this.#waiting.splice(place, 1);
    if (this.#current !== connection) return;
    this.#current = undefined;
    this.farewell();
    const next = this.#waiting.shift();
    if (next !== undefined) this.#serve(next);
  }

  /** The parser of a new connection. */
  protected framer(): JsonFramer {
    return new JsonFramer({ frame: (text) => this.onFrame(text), garbage: (text) => this.onGarbage(text) });
  }

  /** What is said to a client that has just come. */
  protected abstract welcome(): void;
  /** The client that was served has gone. */
  protected abstract farewell(): void;
  protected abstract lineEnd(): string;
  /** Carries a command out, in its turn. */
  protected abstract dispatch(command: FakeCommand): void;

  protected onGarbage(text: string): void {
    this.send({ error: { class: "GenericError", desc: `JSON parse error, stray '${printable(text)}'` } });
  }

  protected onFrame(text: string): void {
    const command = readCommand(text);
    if (command === undefined) return this.onGarbage(text);
    this.received.push(command);
    this.dispatch(command);
  }

  /** Runs the handler of a command, or hands the command to the test that holds it. */
  protected async run(command: FakeCommand): Promise<void> {
    const { id } = command;
    try {
      const value = await this.#outcome(command);
      if (value !== NO_REPLY) this.send({ return: value ?? {}, ...(id === undefined ? {} : { id }) });
    } catch (error) {
      const errorClass = error instanceof FakeCommandError ? error.errorClass : "GenericError";
      this.send({ ...(id === undefined ? {} : { id }), error: { class: errorClass, desc: (error as Error).message } });
    }
  }

  #outcome(command: FakeCommand): unknown {
    const place = this.#expected.findIndex((expected) => expected.name === command.name);
    if (place !== -1) {
      const [expected] = this.#expected.splice(place, 1);
      return new Promise((resolve, reject) =>
        expected?.resolve({
          ...command,
          reply: resolve,
          refuse: (errorClass, desc) => reject(new FakeCommandError(errorClass, desc)),
          drop: () => resolve(NO_REPLY),
        }),
      );
    }
    const handler = this.options.handlers?.[command.name] ?? this.handlers.get(command.name);
    if (handler === undefined)
      throw new FakeCommandError("CommandNotFound", `The command ${command.name} has not been found`);
    return handler(command);
  }
}

function readCommand(text: string): FakeCommand | undefined {
  let message: QmpValue;
  try {
    message = parseJsonExactly(text);
  } catch {
    return undefined;
  }
  if (!isQmpObject(message)) return undefined;
  const { execute, "exec-oob": outOfBand, arguments: args, id } = message;
  const name = typeof execute === "string" ? execute : outOfBand;
  if (typeof name !== "string") return undefined;
  return { name, args: isQmpObject(args) ? args : {}, id, oob: execute === undefined, text };
}

function printable(text: string): string {
  return text.slice(-40).replace(/[^\x20-\x7e]/g, "\ufffd");
}
