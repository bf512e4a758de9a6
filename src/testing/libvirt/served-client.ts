/** One client of a fake daemon: its frames, calls, streams and events, at the level of the wire. */
import type { Duplex } from "node:stream";
import type { Clock, TimerHandle } from "../../core/index.js";
import type { Frame, FrameHeader, Procedure, ProgramName, RemoteError } from "../../libvirt/rpc/index.js";
import { EventRegistrations } from "./event-registrations.js";
import type { CallbackCounters } from "./event-registrations.js";
import { NO_LIBVIRT_REPLY } from "./fake-call.js";
import type { FakeLibvirtCall, FakeLibvirtClient, FakeProcedureName } from "./fake-call.js";
import { FakeLibvirtError } from "./fake-libvirt-error.js";
import { FakeLibvirtStream } from "./fake-libvirt-stream.js";
import type { LibvirtFaults, LibvirtStrike, ReplyDamage } from "./libvirt-faults.js";
import type { LibvirtRpc } from "./libvirt-rpc.js";
import { changesSomething, refusedToReaders } from "./reader-calls.js";

/** How often a fake daemon asks its clients whether they live. */
export interface FakeKeepalive {
  /** Milliseconds of silence before each ping. */
  readonly intervalMs: number;
  /** How many may go unanswered. */
  readonly count: number;
}

/** What a client has of its server. */
export interface ServedClientSurroundings {
  readonly rpc: LibvirtRpc;
  readonly clock: Clock;
  readonly faults: LibvirtFaults;
  readonly counters: CallbackCounters;
  readonly maxRequests: number;
  readonly keepalive: FakeKeepalive | undefined;
  readonly cut: (bytes: Buffer) => readonly Buffer[];
  /** Answers a call; see {@link FakeLibvirtHandler}. */
  run(call: FakeLibvirtCall, client: ServedClient): unknown;
  left(client: ServedClient): void;
}

const KEEPALIVE_PROGRAM = 0x6b656570;
const PING = 1;
const PONG = 2;
const FEATURE_KEEPALIVE = 10;
/** The procedures by which a client says who it is. */
const BEFORE_AUTHENTICATION: ReadonlySet<string> = new Set([
  "authList",
  "authSaslInit",
  "authSaslStart",
  "authSaslStep",
  "authPolkit",
]);
const RPC = { code: 39, domain: 7 } as const;

export class ServedClient implements FakeLibvirtClient {
  readonly number: number;
  readonly events: EventRegistrations;
  authenticated = false;
  opened = false;
  readOnly = false;
  uri: string | undefined;
  readonly #host: ServedClientSurroundings;
  readonly #connection: Duplex;
  readonly #streams = new Map<number, FakeLibvirtStream>();
  readonly #waiting: Frame[] = [];
  #unanswered = 0;
  #frozen: (() => void)[] | undefined;
  #pings = 0;
  #pingTimer: TimerHandle | undefined;

  constructor(number: number, connection: Duplex, host: ServedClientSurroundings) {
    this.number = number;
    this.#host = host;
    this.#connection = connection;
    this.events = new EventRegistrations(host.counters);
    const decoder = new host.rpc.FrameDecoder((frame) => this.#onFrame(frame));
    connection.on("error", () => undefined);
    connection.on("close", () => this.#onClose());
    connection.on("end", () => connection.destroy());
    connection.on("data", (chunk: Buffer) => {
      try {
        decoder.push(chunk);
      } catch {
        connection.destroy();
      }
    });
  }

  get unanswered(): number {
    return this.#unanswered;
  }

  get registrations(): number {
    return this.events.size;
  }

  get gone(): boolean {
    return this.#connection.destroyed;
  }

  hangUp(): void {
    this.#connection.destroy();
  }

  sendRaw(bytes: Uint8Array): void {
    if (this.gone) return;
    for (const piece of this.#host.cut(Buffer.from(bytes))) this.#connection.write(piece);
  }

  /** Nothing is read and nothing is said any more, as by a stopped process. */
  freeze(): void {
    this.#frozen ??= [];
    this.#connection.pause();
  }

  thaw(): void {
    const held = this.#frozen ?? [];
    this.#frozen = undefined;
    for (const run of held) run();
    if (this.#waiting.length === 0) this.#connection.resume();
  }

  sendFrame(header: Partial<FrameHeader>, payload: Uint8Array = Buffer.alloc(0), damage?: ReplyDamage): void {
    this.#whenThawed(() => {
      const { rpc } = this.#host;
      const { number: program, version } = rpc.PROGRAMS.remote;
      const whole = { program, version, procedure: 1, type: rpc.FRAME_TYPE.reply, serial: 0, status: 0, ...header };
      const frame = rpc.encodeFrame(whole, payload);
      const damaged = damage?.(frame) ?? frame;
      this.sendRaw(Buffer.isBuffer(damaged) ? damaged : damaged.bytes);
      if (!Buffer.isBuffer(damaged)) this.#connection.end();
    });
  }

  /** Sends an event's message. */
  sendEvent(procedure: Procedure, payload: object): void {
    const { rpc } = this.#host;
    const { number: program, version } = rpc.PROGRAMS[procedure.program];
    const { number } = procedure;
    const header = { program, version, procedure: number, type: rpc.FRAME_TYPE.message, serial: 1 };
    this.sendFrame(header, rpc.encodeResult(procedure, payload));
  }

  #onFrame(frame: Frame): void {
    const { FRAME_TYPE } = this.#host.rpc;
    this.#pings = 0;
    if (frame.program === KEEPALIVE_PROGRAM) return this.#onKeepalive(frame);
    switch (frame.type) {
      case FRAME_TYPE.call:
      case FRAME_TYPE.callWithFds:
        if (this.#unanswered < this.#host.maxRequests) return void this.#onCall(frame);
        // A daemon reads nothing more until it has answered one.
        this.#waiting.push(frame);
        return void this.#connection.pause();
      case FRAME_TYPE.stream:
      case FRAME_TYPE.streamHole: {
        const { status, payload } = frame;
        void this.#streams.get(frame.serial)?.receive({ hole: frame.type === FRAME_TYPE.streamHole, status, payload });
      }
    }
  }

  #onKeepalive({ procedure }: Frame): void {
    if (procedure === PING) this.#sendKeepalive(PONG);
  }

  #sendKeepalive(procedure: number): void {
    this.sendFrame({ program: KEEPALIVE_PROGRAM, version: 1, procedure, type: this.#host.rpc.FRAME_TYPE.message });
  }

  async #onCall(frame: Frame): Promise<void> {
    this.#unanswered++;
    const damages: ReplyDamage[] = [];
    const stream = this.#streamOf(frame);
    try {
      const { procedure, args } = this.#read(frame);
      const result = await this.#perform({ frame, procedure, args, stream, damages });
      if (result === NO_LIBVIRT_REPLY) return;
      const payload = this.#host.rpc.encodeResult(procedure, result);
      this.#reply(frame, "ok", payload, damages);
      stream?.opened();
    } catch (error) {
      stream?.lost();
      if (error !== HUNG_UP) this.#reply(frame, "error", this.#encodeError(error), damages);
    }
  }

  #reply(frame: Frame, status: "ok" | "error", payload: Buffer, damages: readonly ReplyDamage[]): void {
    const { FRAME_STATUS, FRAME_TYPE } = this.#host.rpc;
    const { program, version, procedure, serial } = frame;
    const header = { program, version, procedure, serial, type: FRAME_TYPE.reply, status: FRAME_STATUS[status] };
    this.#whenThawed(() => {
      this.sendFrame(header, payload, damages[0]);
      this.#unanswered--;
      const next = this.#waiting.shift();
      if (next !== undefined) void this.#onCall(next);
      else if (this.#frozen === undefined) this.#connection.resume();
    });
  }

  /** Finds out what is called, and whether this client may. */
  #read(frame: Frame): { readonly procedure: Procedure; readonly args: unknown } {
    const { rpc } = this.#host;
    const program = programOf(rpc, frame);
    if (program === undefined)
      throw new FakeLibvirtError({
        ...RPC,
        message: `Cannot find program ${frame.program} version ${frame.version}`,
      });
    const procedure = rpc.procedureNumbered(program, frame.procedure);
    if (procedure === undefined || procedure.kind === "event")
      throw new FakeLibvirtError({ ...RPC, message: `unknown procedure: ${frame.procedure}` });
    let args: unknown;
    try {
      args = rpc.decodeArguments(procedure, frame.payload);
    } catch {
      throw new FakeLibvirtError({ ...RPC, message: "Unable to decode message payload" });
    }
    if (!this.authenticated && !BEFORE_AUTHENTICATION.has(procedure.name))
      throw new FakeLibvirtError({ ...RPC, message: "authentication required" });
    if (!this.opened && !mayComeBeforeOpen(procedure, args))
      throw new FakeLibvirtError({ code: 1, domain: 7, message: "connection not open" });
    if (procedure.name === "connectSupportsFeature" && isKeepaliveFeature(args)) this.#startPings();
    return { procedure, args };
  }

  async #perform(context: {
    readonly frame: Frame;
    readonly procedure: Procedure;
    readonly args: unknown;
    readonly stream: FakeLibvirtStream | undefined;
    readonly damages: ReplyDamage[];
  }): Promise<unknown> {
    const { frame, procedure, args, stream, damages } = context;
    const call = {
      name: procedure.name as FakeProcedureName,
      args: args as FakeLibvirtCall["args"],
      procedure,
      serial: frame.serial,
      client: this,
      fdCount: frame.fdCount,
      stream,
    };
    const faults = this.#host.faults.match(procedure.name, args);
    const strike = async (stage: "before" | "after"): Promise<boolean> => {
      for (const fault of faults) if (fault.stage === stage && (await this.#strike(fault.strike, damages))) return true;
      return false;
    };
    if (await strike("before")) return NO_LIBVIRT_REPLY;
    if (this.readOnly && changesSomething(procedure.name, args)) throw refusedToReaders(procedure.name);
    const result = await this.#host.run(call, this);
    return (await strike("after")) ? NO_LIBVIRT_REPLY : result;
  }

  /** @returns whether the call stays without a reply */
  async #strike(strike: LibvirtStrike, damages: ReplyDamage[]): Promise<boolean> {
    switch (strike.kind) {
      case "refuse":
        throw new FakeLibvirtError(strike.error);
      case "silence":
        return true;
      case "hangUp":
        this.hangUp();
        throw HUNG_UP;
      case "delay":
        await this.#host.clock.sleep(strike.ms);
        return false;
      case "damage":
        damages.push(strike.damage);
        return false;
    }
  }

  #streamOf(frame: Frame): FakeLibvirtStream | undefined {
    const { rpc } = this.#host;
    const program = programOf(rpc, frame);
    const procedure = program === undefined ? undefined : rpc.procedureNumbered(program, frame.procedure);
    if (procedure?.stream === undefined) return undefined;
    const { program: number, version, procedure: called, serial } = frame;
    const stream = new FakeLibvirtStream(
      ({ type, status, payload }) => {
        const { FRAME_TYPE, FRAME_STATUS } = rpc;
        const header = { program: number, version, procedure: called, serial, status: FRAME_STATUS[status] };
        this.sendFrame({ ...header, type: type === "hole" ? FRAME_TYPE.streamHole : FRAME_TYPE.stream }, payload);
        return this.#drained();
      },
      (error) => rpc.encodeError(error.remote),
    );
    this.#streams.set(serial, stream);
    void stream.closed.then(() => this.#streams.delete(serial));
    return stream;
  }

  #drained(): Promise<void> {
    const connection = this.#connection;
    if (!connection.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        connection.removeListener("drain", done);
        connection.removeListener("close", done);
        resolve();
      };
      connection.on("drain", done);
      connection.on("close", done);
    });
  }

  #encodeError(error: unknown): Buffer {
    const remote: RemoteError =
      error instanceof FakeLibvirtError
        ? error.remote
        : { code: 1, domain: 7, level: 2, message: describe(error), int1: -1, int2: -1 };
    return this.#host.rpc.encodeError(remote);
  }

  #whenThawed(run: () => void): void {
    if (this.#frozen === undefined) run();
    else this.#frozen.push(run);
  }

  #startPings(): void {
    const { keepalive, clock } = this.#host;
    if (keepalive === undefined || this.#pingTimer !== undefined) return;
    const ping = (): void => {
      if (this.#pings++ >= keepalive.count) return this.hangUp();
      this.#sendKeepalive(PING);
      arm();
    };
    const arm = (): void => {
      this.#pingTimer = clock.setTimeout(ping, keepalive.intervalMs);
      this.#pingTimer.unref?.();
    };
    arm();
  }

  #onClose(): void {
    this.#pingTimer?.cancel();
    for (const stream of [...this.#streams.values()]) stream.lost();
    this.#host.left(this);
  }
}

/** Thrown through a call whose connection was ended. */
const HUNG_UP = new FakeLibvirtError({ code: 38, domain: 7, message: "the fake daemon hung up" });

function programOf(rpc: LibvirtRpc, { program, version }: Frame): ProgramName | undefined {
  const names: readonly ProgramName[] = ["remote", "qemu", "lxc"];
  return names.find((name) => rpc.PROGRAMS[name].number === program && rpc.PROGRAMS[name].version === version);
}

function mayComeBeforeOpen({ name }: Procedure, args: unknown): boolean {
  return (
    BEFORE_AUTHENTICATION.has(name) || name === "connectOpen" || name === "connectClose" || isKeepalive(name, args)
  );
}

function isKeepalive(name: string, args: unknown): boolean {
  return name === "connectSupportsFeature" && isKeepaliveFeature(args);
}

function isKeepaliveFeature(args: unknown): boolean {
  return (args as { readonly feature?: number }).feature === FEATURE_KEEPALIVE;
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
