/** The agent of one guest, by way of the daemon, which has its channel. Commands of one guest follow each other. */
import {
  DeadlineExceededError,
  HyperviseError,
  KeyedLock,
  OverflowError,
  abortErrorOf,
  onAbort,
  raceAbort,
} from "../../../core/index.js";
import type { CommonOptions, Secret } from "../../../core/index.js";
import { AgentCommandError, AgentUnresponsiveError } from "../../../driver/index.js";
import type { GuestAgent } from "../../../driver/index.js";
import {
  DEFAULT_GUEST_AGENT_TIMEOUTS,
  GuestAgentCalls,
  GuestThawError,
  exitCodeOf,
  guestInterfaces,
  isQmpObject,
  parseJsonExactly,
  serializeJson,
} from "../../../qmp/index.js";
import type { QmpWaitOptions } from "../../../qmp/index.js";
import { LibvirtError } from "../../rpc/index.js";
import { asDriverError } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import { libvirtPlatform } from "../plan/index.js";

/** libvirt 9.0 never ends what its socket to the agent does not take at once, which is about this. */
const MAX_COMMAND_BYTES = 196_608;
const FILE_CHUNK_BYTES = 98_304;
/** The daemon counts the agent's time in these. */
const SECOND_MS = 1_000;
const NS_PER_MS = 1_000_000;

/** `virDomainQemuAgentCommand`: all of it by the agent's own commands, each of which the daemon gives up after the same time as we do. */
export class LibvirtGuestAgent implements GuestAgent {
  readonly #core: GuestCore;
  readonly #turns: KeyedLock;
  readonly #calls: GuestAgentCalls;
  /** A command that the daemon may still be waiting for. */
  #pending: Promise<unknown> = Promise.resolve();

  constructor(core: GuestCore) {
    this.#core = core;
    const { clock, timeouts } = core.host;
    this.#turns = new KeyedLock({ clock });
    const { agentMs } = timeouts;
    const limits = { ...DEFAULT_GUEST_AGENT_TIMEOUTS, commandMs: agentMs, syncMs: agentMs };
    this.#calls = new GuestAgentCalls((command, args, wait) => this.#execute(command, args, wait) as Promise<never>, {
      clock,
      timeouts: limits,
      fileChunkBytes: FILE_CHUNK_BYTES,
      instance: core.instance,
    });
  }

  get adminUser(): string {
    const { adminUser, guestSystem } = libvirtPlatform(this.#core.definition.platform);
    return adminUser ?? (guestSystem === "windows" ? "Administrator" : "root");
  }

  ping(options: CommonOptions = {}): Promise<void> {
    return this.#call(options, (calls, limits) => calls.ping(limits));
  }

  setPassword(user: string, password: Secret, options: CommonOptions = {}): Promise<void> {
    return this.#call(options, (calls, limits) => calls.setUserPassword(user, password, limits));
  }

  writeFile(path: string, contents: Uint8Array, options: CommonOptions = {}): Promise<void> {
    return this.#call(options, (calls, limits) => calls.writeFile(path, contents, limits));
  }

  readFile(path: string, options: CommonOptions & { readonly maxBytes: number }): Promise<Uint8Array> {
    return this.#call(options, (calls, limits) => calls.readFile(path, { ...limits, maxBytes: options.maxBytes }));
  }

  /** @throws OverflowError for more input and arguments than about 140 KiB */
  exec(
    argv: readonly string[],
    options: CommonOptions & { readonly input?: Uint8Array } = {},
  ): ReturnType<GuestAgent["exec"]> {
    const [path = "", ...args] = argv;
    const input = options.input === undefined ? {} : { input: options.input };
    return this.#call(options, async (calls, limits) => {
      const result = await calls.exec(path, { ...limits, args, ...input });
      const { stdout, stderr } = result;
      return { exitCode: exitCodeOf(result), stdout, stderr };
    });
  }

  interfaces(options: CommonOptions = {}): ReturnType<GuestAgent["interfaces"]> {
    return this.#call(options, async (calls, limits) => guestInterfaces(await calls.networkInterfaces(limits)));
  }

  freeze(options: CommonOptions = {}): Promise<number> {
    return this.#call(options, (calls, limits) => calls.freeze(limits));
  }

  /** Sets the guest's clock to the host's. `virDomainSetTime`, which sees to the guest's real-time clock, too. */
  setClock(options: CommonOptions = {}): Promise<void> {
    return this.#call(options, async (_calls, { signal, deadlineMs = this.#core.host.timeouts.agentMs }) => {
      await this.#within(this.#pending, signal, deadlineMs);
      const { domain, host } = this.#core;
      const now = Math.round(host.clock.now());
      const nanoseconds = (now % SECOND_MS) * NS_PER_MS;
      const sent = domain.setTime(Math.floor(now / SECOND_MS), nanoseconds, { deadlineMs: deadlineMs + SECOND_MS });
      this.#pending = sent.catch(() => undefined);
      await this.#within(sent, signal, deadlineMs);
    });
  }

  /** Goes on trying for as long as thawing may take, whatever becomes of the caller. A guest that is not in memory has nothing frozen. */
  async thaw(options: CommonOptions = {}): Promise<void> {
    if (!this.#core.inMemory) return;
    await this.#call(options, (calls) => calls.thaw());
  }

  async #call<T>(
    options: CommonOptions,
    use: (calls: GuestAgentCalls, limits: QmpWaitOptions) => Promise<T>,
  ): Promise<T> {
    const { signal, deadline } = options;
    const deadlineMs = deadline ?? this.#core.host.timeouts.agentMs;
    try {
      return await this.#turns.run(
        "agent",
        () => {
          this.#core.requireInMemory("guestAgent");
          return use(this.#calls, { signal, deadlineMs });
        },
        { signal, deadline: deadlineMs },
      );
    } catch (error) {
      if (signal?.aborted === true) throw abortErrorOf(signal, "the call of the guest agent");
      throw this.#explain(error);
    }
  }

  /** A command that was given up is still the daemon's until its time is over: the next one waits for that. */
  async #execute(command: string, args: unknown, wait: QmpWaitOptions): Promise<unknown> {
    const { signal, deadlineMs = this.#core.host.timeouts.agentMs } = wait;
    await this.#within(this.#pending, signal, deadlineMs);
    const seconds = Math.max(1, Math.ceil(deadlineMs / SECOND_MS));
    const text = serializeJson({ execute: command, arguments: args }, command);
    if (Buffer.byteLength(text) > MAX_COMMAND_BYTES)
      throw new OverflowError(`libvirt carries no commands to the guest agent of more than ${MAX_COMMAND_BYTES} bytes`);
    const sent = this.#core.domain.qemuAgentCommand(text, seconds, { deadlineMs: (seconds + 1) * SECOND_MS });
    this.#pending = sent.catch(() => undefined);
    return this.#answerOf(await this.#within(sent, signal, deadlineMs));
  }

  async #within<T>(work: Promise<T>, signal: AbortSignal | undefined, deadlineMs: number): Promise<T> {
    const limit = new AbortController();
    const { clock } = this.#core.host;
    const timer = clock.setTimeout(
      () =>
        limit.abort(new DeadlineExceededError({ operation: "a command of the guest agent", timeoutMs: deadlineMs })),
      deadlineMs,
    );
    const forget = onAbort(signal, () => limit.abort(signal?.reason));
    try {
      return await raceAbort(work, limit.signal);
    } finally {
      timer.cancel();
      forget();
    }
  }

  /** What the guest says is as little to be trusted as the guest. */
  #answerOf(text: string | undefined): unknown {
    let reply: unknown;
    try {
      reply = parseJsonExactly(text ?? "");
    } catch (error) {
      throw this.#refused("the guest agent answered what is no JSON", error);
    }
    if (!isQmpObject(reply) || !("return" in reply)) throw this.#refused("the guest agent refused");
    return reply["return"];
  }

  #explain(thrown: unknown): unknown {
    const { instance } = this.#core;
    const error = asDriverError(thrown, { operation: "guestAgent", instance });
    if (error instanceof GuestThawError)
      return new AgentUnresponsiveError("the guest agent does not thaw", { instance, cause: error });
    if (error instanceof DeadlineExceededError)
      return new AgentUnresponsiveError("the guest agent does not answer", { instance, cause: error });
    // The daemon gives on what the agent refused as an error of its own.
    if (error instanceof LibvirtError && error.kind === "internal")
      return this.#refused("the guest agent refused", error);
    return error;
  }

  #refused(message: string, cause?: unknown): AgentCommandError {
    const { instance } = this.#core;
    const detail = cause instanceof HyperviseError && cause.detail !== undefined ? { detail: cause.detail } : {};
    return new AgentCommandError(message, { instance, ...detail, ...(cause === undefined ? {} : { cause }) });
  }
}
