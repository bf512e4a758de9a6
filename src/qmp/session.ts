/** One conversation over one transport: commands out, replies matched by id, everything else handed on. */
import { asError, redactText, traceMessage } from "../core/index.js";
import type { Clock, InstanceRef } from "../core/index.js";
import { CommandQueue } from "./command-queue.js";
import type { CommandOptions, LateReply, PendingCommand } from "./command-queue.js";
import { QmpCommandError, QmpProtocolError } from "./errors.js";
import { MessageDecoder } from "./message-decoder.js";
import { isQmpObject } from "./qmp-value.js";
import type { QmpObject } from "./qmp-value.js";
import { hasSecretReply, redactArguments, secretsOf } from "./secret-arguments.js";
import { serializeJson } from "./serialize-json.js";
import type { TranscriptHook } from "./transcript.js";
import type { QmpTransport } from "./transport.js";

/** Beyond these a caller is flooding a peer that does not answer. */
const MAX_QUEUED = 16_384;
const MAX_OOB = 64;
const PLAIN_NAME = /^[\w-]+$/;

/** What a session hands to its owner. Handlers may throw `QmpProtocolError` to end the session. */
export interface SessionHandlers {
  /** A message that is neither a reply nor an error: events, the greeting. */
  message(message: QmpObject): void;
  /** A reply or error that carries no id. */
  stray(message: QmpObject): void;
  /** The byte 0xFF of the guest agent. */
  marker?(): void;
  /** A line that is no message; without this function it ends the session. */
  garbage?(error: QmpProtocolError): void;
  /** The session is over; nothing is sent or delivered after this. */
  ended(error: Error | undefined): void;
  /** A command that nobody waits for any more was answered. */
  late?(reply: LateReply): void;
  /** A caller gave up on a command that had been sent. */
  left?(command: PendingCommand): void;
}

export interface SessionOptions {
  readonly transport: QmpTransport;
  readonly clock: Clock;
  /** How many in-band commands the peer reads ahead. */
  readonly window: number;
  readonly maxMessageBytes?: number | undefined;
  readonly guestAgent?: boolean;
  readonly transcript?: TranscriptHook | undefined;
  /** The instance that errors name. */
  readonly instance?: InstanceRef | undefined;
}

export class Session {
  readonly #options: SessionOptions;
  readonly #handlers: SessionHandlers;
  readonly #transport: QmpTransport;
  readonly #decoder: MessageDecoder;
  readonly #queue: CommandQueue;
  #outbox: (string | Buffer)[] = [];
  #flushing = false;
  #over = false;

  constructor(options: SessionOptions, handlers: SessionHandlers) {
    this.#options = options;
    this.#handlers = handlers;
    this.#transport = options.transport;
    const { clock, window, maxMessageBytes, guestAgent = false } = options;
    const message = (object: QmpObject, text: string): void => this.#onMessage(object, text);
    const garbage = handlers.garbage?.bind(handlers);
    this.#decoder = new MessageDecoder(
      {
        message,
        marker: () => handlers.marker?.(),
        ...(garbage === undefined ? {} : { garbage }),
      },
      { maxMessageBytes, guestAgent },
    );
    this.#queue = new CommandQueue({
      clock,
      window,
      maxQueued: MAX_QUEUED,
      maxOob: MAX_OOB,
      instance: options.instance,
      transmit: (command) => this.#transmit(command),
      onLeft: (command) => handlers.left?.(command),
    });
  }

  get description(): string {
    return this.#transport.description;
  }

  /** Commands that were sent and not answered. */
  get unanswered(): number {
    return this.#queue.unanswered;
  }

  /** Whether the session has ended. */
  get over(): boolean {
    return this.#over;
  }

  start(): void {
    this.#transport.start({ data: (chunk) => this.#onData(chunk), ended: (error) => this.fail(error) });
  }

  /** Sends a command in its turn; see {@link CommandQueue.add}. */
  execute(command: string, args: unknown, options: CommandOptions): Promise<unknown> {
    let head: string;
    try {
      const verb = options.oob === true ? '{"exec-oob":' : '{"execute":';
      const body = args === undefined ? ',"id":' : `,"arguments":${serializeJson(args, "arguments")},"id":`;
      head = verb + serializeName(command) + body;
    } catch (error) {
      return Promise.reject(asError(error));
    }
    return this.#queue.add(command, args, head, options);
  }

  /** Puts bytes on the wire that are no command with an id, such as the agent's synchronisation. */
  sendRaw(bytes: Buffer): void {
    this.#record("sent", bytes.toString("latin1").trim());
    this.#push(bytes);
  }

  /** Forgets the commands that nobody waits for; see {@link CommandQueue.dropLeft}. */
  dropLeft(): void {
    this.#queue.dropLeft();
  }

  /** Ends the session from this side. Calls {@link SessionHandlers.ended} at once. */
  fail(error: Error | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#outbox = [];
    void this.#transport.close(0);
    this.#handlers.ended(error);
  }

  /** Ends the session in an orderly way: what was sent leaves this process first, within `graceMs`. */
  async close(graceMs: number): Promise<void> {
    if (this.#over) return;
    this.#flush();
    this.#over = true;
    const closing = this.#transport.close(graceMs);
    this.#handlers.ended(undefined);
    await closing;
  }

  /** Rejects everything that waits. */
  rejectAll(makeError: (command: PendingCommand, wasSent: boolean) => Error): void {
    this.#queue.stop(makeError);
  }

  ref(): void {
    this.#transport.ref?.();
  }

  unref(): void {
    this.#transport.unref?.();
  }

  /** The secrets of the commands under way: the peer may quote them in what it says. */
  secrets(): string[] {
    return [...this.#queue.pending()].flatMap((command) => secretsOf(command.command, command.args));
  }

  #transmit(command: PendingCommand): void {
    const { transcript } = this.#options;
    if (transcript !== undefined) this.#record("sent", redactedText(command), command.command);
    if (command.fds !== undefined) this.#transmitFds(command, command.fds);
    else this.#push(command.text);
  }

  /** Commands of one turn of the event loop leave in one write. */
  #push(bytes: string | Buffer): void {
    this.#outbox.push(bytes);
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    this.#flushing = false;
    if (this.#outbox.length === 0 || this.#over) return;
    const outbox = this.#outbox;
    this.#outbox = [];
    if (outbox.every((bytes) => typeof bytes === "string"))
      this.#transport.send(outbox.length === 1 ? (outbox[0] as string) : outbox.join(""));
    else for (const bytes of outbox) this.#transport.send(bytes);
  }

  #transmitFds(command: PendingCommand, fds: readonly number[]): void {
    this.#flush();
    const signal = command.abandoned ?? AbortSignal.abort();
    const sending = this.#transport.sendWithFds?.(command.text, fds, signal);
    sending?.catch((error: unknown) => this.#queue.failTransmit(command, asError(error)));
  }

  #onData(chunk: Buffer): void {
    if (this.#over) return;
    try {
      this.#decoder.push(chunk);
    } catch (error) {
      this.fail(asError(error));
    }
  }

  #onMessage(message: QmpObject, text: string): void {
    if (this.#over) return;
    const isReply = "return" in message || "error" in message;
    if (this.#options.transcript !== undefined) this.#recordReceived(message, text);
    if (!isReply) return this.#handlers.message(message);
    const { id } = message;
    if (id === undefined) return this.#handlers.stray(message);
    const command =
      "return" in message ? this.#queue.reply(id, { value: message["return"] }) : this.#onError(id, message["error"]);
    if (command?.state === "left") this.#onLate(command, message);
    else if (command === undefined)
      traceMessage("hypervise:qmp:unexpected-reply", () => ({ peer: this.description, id }));
  }

  #onError(id: unknown, error: unknown): PendingCommand | undefined {
    const { errorClass, desc } = readError(error);
    return this.#queue.reply(id, {
      makeError: (command) =>
        new QmpCommandError({
          errorClass,
          desc,
          command: command.command,
          id: command.id,
          instance: this.#options.instance,
          secrets: secretsOf(command.command, command.args),
        }),
    });
  }

  #onLate(command: PendingCommand, message: QmpObject): void {
    const late: LateReply = {
      command: command.command,
      id: command.id,
      ...("return" in message ? {} : { error: lateError(message["error"]) }),
    };
    traceMessage("hypervise:qmp:late-reply", () => ({ peer: this.description, ...late }));
    try {
      this.#handlers.late?.(late);
    } catch {
      // The embedder's own hook; the session goes on.
    }
  }

  #recordReceived(message: QmpObject, text: string): void {
    const command = this.#queue.find(message["id"]);
    const hidden = command !== undefined && "return" in message && hasSecretReply(command.command);
    const secrets = command === undefined ? this.secrets() : secretsOf(command.command, command.args);
    const shown = hidden ? `{"return":"[redacted]","id":${command.id}}` : redactText(text, secrets);
    this.#record("received", shown, command?.command);
  }

  #record(direction: "sent" | "received", text: string, command?: string): void {
    const { transcript, clock } = this.#options;
    try {
      transcript?.({ direction, at: clock.now(), text, ...(command === undefined ? {} : { command }) });
    } catch {
      // The embedder's own hook; the session goes on.
    }
  }
}

function serializeName(command: string): string {
  return PLAIN_NAME.test(command) ? `"${command}"` : serializeJson(command, "command");
}

/** Reads QEMU's error object. Throws QmpProtocolError when it is of another shape. */
export function readError(error: unknown): { readonly errorClass: string; readonly desc: string } {
  if (isQmpObject(error)) {
    const { class: errorClass, desc } = error;
    if (typeof errorClass === "string" && typeof desc === "string") return { errorClass, desc };
  }
  throw new QmpProtocolError("the peer sent an error that is none of QMP's", { fault: "bad-reply" });
}

function lateError(error: unknown): { readonly class: string; readonly desc: string } {
  const { errorClass, desc } = readError(error);
  return { class: errorClass, desc };
}

function redactedText(command: PendingCommand): string {
  const shown = redactArguments(command.command, command.args);
  if (shown === command.args) return command.text.trim();
  const key = command.oob ? "exec-oob" : "execute";
  return serializeJson({ [key]: command.command, arguments: shown, id: command.id }, "transcript");
}
