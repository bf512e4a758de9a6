/** A fake libvirt daemon at the level of the wire, for tests of clients and of what is built on them. */
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { systemClock } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import type {
  EventData,
  EventFamily,
  EventName,
  FrameHeader,
  LibvirtConnector,
  LibvirtProtocol,
} from "../../libvirt/rpc/index.js";
import { duplexPair } from "../duplex-pair.js";
import { defaultHandlers } from "./default-handlers.js";
import { emitEvent, emitMonitorEvent } from "./emit-event.js";
import { NO_LIBVIRT_REPLY } from "./fake-call.js";
import type {
  FakeLibvirtCall,
  FakeLibvirtClient,
  FakeLibvirtHandler,
  FakeLibvirtHandlers,
  FakeProcedureName,
  HeldLibvirtCall,
  UntypedHandler,
} from "./fake-call.js";
import { FakeLibvirtError } from "./fake-libvirt-error.js";
import { LibvirtFaults } from "./libvirt-faults.js";
import { loadLibvirtRpc } from "./libvirt-rpc.js";
import type { LibvirtRpc } from "./libvirt-rpc.js";
import { ServedClient } from "./served-client.js";
import type { FakeKeepalive, ServedClientSurroundings } from "./served-client.js";

export interface FakeLibvirtServerOptions {
  readonly handlers?: FakeLibvirtHandlers | undefined;
  /** Who may come: all, or those that go through polkit's procedure. Default: `none`. */
  readonly authentication?: "none" | "polkit" | undefined;
  /** How many unanswered calls of one client are carried out at once; nothing is read beyond. Default: 5, as libvirt. */
  readonly maxClientRequests?: number | undefined;
  /** Pings to clients that ask for them. Default: none. */
  readonly keepalive?: FakeKeepalive | undefined;
  /** Version of libvirt that it says it is, as libvirt counts. Default: 9,000,000. */
  readonly version?: number | undefined;
  /** How what is sent is cut: as it is, into single bytes, or as the function says. Default: `whole`. */
  readonly chunks?: "whole" | "bytes" | ((bytes: Buffer) => readonly Buffer[]) | undefined;
  /** Told when a client has gone. */
  readonly onDisconnect?: ((client: FakeLibvirtClient) => void) | undefined;
  /** For faults that delay and for pings. Default: the system's clock. */
  readonly clock?: Clock | undefined;
}

/**
 * Speaks libvirt's protocol, from the same tables as the client: authentication, opening, calls of every procedure, events
 * of every family, streams, keepalive. Calls are answered by handlers; those that open and close connections and register
 * for events have ones from the start, all others are refused as a driver refuses what it does not have (code 3).
 *
 * ```ts
 * await using server = await FakeLibvirtServer.create({ handlers: { connectGetHostname: () => ({ hostname: "h1" }) } });
 * await using libvirt = await LibvirtConnection.open("test:///default", { connect: server.connector });
 * ```
 */
export class FakeLibvirtServer implements AsyncDisposable {
  /** Every call that came through, in order, those included by which connections are opened; not those that a fault struck before they had an effect. */
  readonly received: FakeLibvirtCall[] = [];
  readonly faults = new LibvirtFaults();
  /** For `LibvirtConnection.open`'s option `connect`: connects in memory. */
  readonly connector: LibvirtConnector = () => this.connect();
  readonly #rpc: LibvirtRpc;
  readonly #handlers: Map<string, UntypedHandler>;
  readonly #surroundings: ServedClientSurroundings;
  readonly #clients = new Set<ServedClient>();
  readonly #expected: { readonly name: string; readonly resolve: (call: HeldLibvirtCall) => void }[] = [];
  readonly #watchers = new Set<() => void>();
  #numbered = 0;
  #frozen = false;
  #server: Server | undefined;
  #folder: string | undefined;
  #path: string | undefined;

  private constructor(rpc: LibvirtRpc, options: FakeLibvirtServerOptions) {
    this.#rpc = rpc;
    this.#handlers = new Map(Object.entries(defaultHandlers(rpc, options)));
    for (const [name, handler] of Object.entries(options.handlers ?? {}))
      this.#handlers.set(name, handler as UntypedHandler);
    const { chunks = "whole", clock = systemClock, maxClientRequests: maxRequests = 5, keepalive } = options;
    this.#surroundings = {
      rpc, clock, keepalive, maxRequests,
      faults: this.faults,
      counters: new Map(),
      cut: cutter(chunks),
      run: (call) => this.#run(call),
      left: (client) => {
        this.#clients.delete(client);
        options.onDisconnect?.(client);
      },
    }; // prettier-ignore
  }

  /** Makes one, and loads the tables of the protocol if they were not. It serves nobody yet. */
  static async create(options: FakeLibvirtServerOptions = {}): Promise<FakeLibvirtServer> {
    return new FakeLibvirtServer(await loadLibvirtRpc(), options);
  }

  /** The path of its socket, after `listen()`. */
  get path(): string {
    if (this.#path === undefined) throw new Error("the fake server does not listen");
    return this.#path;
  }

  /** A URI by which `LibvirtConnection.open` and libvirt's own tools reach its socket. */
  get uri(): string {
    return `test+unix:///default?socket=${this.path}`;
  }

  /** Who is connected. */
  get clients(): readonly FakeLibvirtClient[] {
    return [...this.#clients];
  }

  /** Listens on a UNIX socket: at `path`, or at one in a temporary folder, which `close()` removes. */
  async listen(path?: string): Promise<this> {
    if (path === undefined) this.#folder = await mkdtemp(join(tmpdir(), "fake-libvirt-"));
    const target = path ?? join(this.#folder as string, "libvirt-sock");
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

  /** Serves a connected stream. */
  accept(connection: Duplex): void {
    const client = new ServedClient(++this.#numbered, connection, this.#surroundings);
    this.#clients.add(client);
    if (this.#frozen) client.freeze();
  }

  /** Sets or replaces the handler of a procedure. @throws InvalidArgumentError when libvirt has none of the name */
  on<N extends FakeProcedureName>(name: N, handler: FakeLibvirtHandler<N>): this {
    if (!(["remote", "qemu", "lxc"] as const).some((program) => knows(this.#rpc, program, name)))
      this.#rpc.procedureNamed("remote", name);
    this.#handlers.set(name, handler as UntypedHandler);
    return this;
  }

  /** The next call of this name is held until the test answers it. Call this before the call comes. */
  hold<N extends FakeProcedureName>(name: N): Promise<HeldLibvirtCall<N>> {
    return new Promise((resolve) => {
      this.#expected.push({ name, resolve: resolve as (call: HeldLibvirtCall) => void });
    });
  }

  /** The calls of this name that have come through. */
  callsOf<N extends FakeProcedureName>(name: N): readonly FakeLibvirtCall<N>[] {
    return this.received.filter((call) => call.name === name) as unknown as readonly FakeLibvirtCall<N>[];
  }

  /** The nth call of this name, from 1, as soon as it has come through. */
  async called<N extends FakeProcedureName>(name: N, nth = 1): Promise<FakeLibvirtCall<N>> {
    for (;;) {
      const call = this.callsOf(name)[nth - 1];
      if (call !== undefined) return call;
      await new Promise<void>((resolve) => this.#watchers.add(resolve));
    }
  }

  /** Tells every client that has asked for it of an event; of all objects, or of this one. */
  emit<F extends EventFamily, N extends EventName<F>>(family: F, name: N, data: EventData<F, N>): void {
    emitEvent(this.#rpc, this.#clients, family, name, data);
  }

  /** Tells of an event of QEMU's monitor. `details` is JSON. */
  emitMonitorEvent(event: LibvirtMonitorEvent): void {
    emitMonitorEvent(this.#rpc, this.#clients, event, this.#surroundings.clock.now());
  }

  /** Tells that the daemon has lost its own connection to the hypervisor. `reason`: 0 error, 1 end of file, 2 keepalive. */
  emitConnectionClosed(reason: number): void {
    const procedure = this.#rpc.procedureNamed("remote", "connectEventConnectionClosed");
    for (const client of this.#clients) if (client.events.closeCallback) client.sendEvent(procedure, { reason });
  }

  /** Sends a frame to every client. The header's absent members are those of a reply with serial 0. */
  sendFrame(header: Partial<FrameHeader>, payload?: Uint8Array): void {
    for (const client of this.#clients) client.sendFrame(header, payload);
  }

  /** Sends bytes as they are to every client. */
  sendRaw(bytes: Uint8Array): void {
    for (const client of this.#clients) client.sendRaw(bytes);
  }

  /** Reads and says nothing any more, pings included, as a stopped daemon; handlers under way go on. */
  freeze(): void {
    this.#frozen = true;
    for (const client of this.#clients) client.freeze();
  }

  /** Undoes {@link FakeLibvirtServer.freeze}. */
  thaw(): void {
    this.#frozen = false;
    for (const client of this.#clients) client.thaw();
  }

  /** Hangs up on everybody, as a daemon that dies. New clients are served. */
  hangUp(): void {
    for (const client of [...this.#clients]) client.hangUp();
  }

  /** Hangs up on everybody, stops listening and removes the socket. */
  async close(): Promise<void> {
    this.hangUp();
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()));
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #run(call: FakeLibvirtCall): unknown {
    this.received.push(call);
    for (const watcher of this.#watchers) watcher();
    this.#watchers.clear();
    const place = this.#expected.findIndex(({ name }) => name === call.name);
    if (place === -1) return this.#handle(call);
    const [expected] = this.#expected.splice(place, 1);
    return new Promise((resolve, reject) => {
      const held: HeldLibvirtCall = {
        ...call,
        reply: resolve,
        refuse: (error) => reject(new FakeLibvirtError(error)),
        release: () => resolve(this.#release(call)),
        drop: () => resolve(NO_LIBVIRT_REPLY),
      };
      expected?.resolve(held);
    });
  }

  async #release(call: FakeLibvirtCall): Promise<unknown> {
    return this.#handle(call);
  }

  #handle(call: FakeLibvirtCall): unknown {
    const handler = this.#handlers.get(call.name);
    if (handler !== undefined) return handler(call.args, call);
    const message = `this function is not supported by the connection driver: ${call.name}`;
    throw new FakeLibvirtError({ code: 3, domain: 20, message });
  }
}

/** An event of QEMU's monitor, about one domain. */
export interface LibvirtMonitorEvent {
  readonly dom: LibvirtProtocol.RemoteDomain;
  readonly event: string;
  readonly details?: string | undefined;
}

function cutter(chunks: NonNullable<FakeLibvirtServerOptions["chunks"]>): (bytes: Buffer) => readonly Buffer[] {
  if (chunks === "whole") return (bytes) => [bytes];
  return chunks === "bytes" ? (bytes) => [...bytes].map((byte) => Buffer.from([byte])) : chunks;
}

function knows(rpc: LibvirtRpc, program: "remote" | "qemu" | "lxc", name: string): boolean {
  try {
    return rpc.procedureNamed(program, name).kind === "call";
  } catch {
    return false;
  }
}
