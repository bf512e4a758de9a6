/** A fake of QEMU's monitor at the level of the wire, for tests of QMP clients and of what is built on them. */
import type { QmpObject } from "../qmp/index.js";
import { FakeCommandError, FakeJsonServer } from "./fake-json-server.js";
import type { FakeCommand, FakeServerOptions } from "./fake-json-server.js";

export interface FakeQmpServerOptions extends FakeServerOptions {
  /** What is said first. `false`: nothing, as to the second client of a monitor. */
  readonly greeting?: object | string | false;
  /** Capabilities that the greeting offers. Default: `oob`. */
  readonly capabilities?: readonly string[];
}

/**
 * Speaks QMP like QEMU: greets, wants `qmp_capabilities` first, executes in-band commands in order and out-of-band ones at
 * once, serves one client at a time. Commands are answered by handlers; `query-status`, `stop`, `cont`, `query-version`,
 * `query-commands` and `quit` have ones from the start.
 *
 * ```ts
 * await using server = await new FakeQmpServer({ handlers: { "query-name": () => ({ name: "g1" }) } }).listen();
 * await using client = await QmpClient.open({ path: server.path });
 * ```
 */
export class FakeQmpServer extends FakeJsonServer {
  /** Whether `stop` was executed after the last `cont`. */
  paused = false;
  readonly #options: FakeQmpServerOptions;
  #negotiated = false;
  #inBand: Promise<void> = Promise.resolve();

  constructor(options: FakeQmpServerOptions = {}) {
    super(options);
    this.#options = options;
    this.on("qmp_capabilities", (command) => this.#negotiate(command));
    this.on("query-version", () => this.#version());
    this.on("query-status", () => ({
      status: this.paused ? "paused" : "running",
      running: !this.paused,
      singlestep: false,
    }));
    this.on("query-commands", () => [...this.handlers.keys()].map((name) => ({ name })));
    this.on("stop", () => this.#setPaused(true, "STOP"));
    this.on("cont", () => this.#setPaused(false, "RESUME"));
    this.on("quit", () => this.#quit());
  }

  /** Sends an event. */
  emit(event: string, data?: object): void {
    this.send(this.#event(event, data));
  }

  /** Sends the same event many times in one go. */
  flood(event: string, count: number, data?: object): void {
    const line = `${JSON.stringify(this.#event(event, data))}\r\n`;
    const batch = 1000;
    for (let left = count; left > 0; left -= batch) this.sendRaw(line.repeat(Math.min(batch, left)));
  }

  protected override welcome(): void {
    this.#negotiated = false;
    const { greeting, capabilities = ["oob"] } = this.#options;
    if (greeting === false) return;
    if (typeof greeting === "string") this.sendRaw(greeting);
    else this.send(greeting ?? { QMP: { version: this.#version(), capabilities } });
  }

  protected override farewell(): void {
    this.#inBand = Promise.resolve();
  }

  protected override lineEnd(): string {
    return "\r\n";
  }

  protected override dispatch(command: FakeCommand): void {
    if (this.#negotiated === (command.name === "qmp_capabilities")) void this.#refuse(command);
    else if (command.oob) void this.run(command);
    else this.#inBand = this.#inBand.then(() => this.run(command));
  }

  #refuse({ name, id }: FakeCommand): void {
    const desc = this.#negotiated
      ? "Capabilities negotiation is already complete"
      : "Expecting capabilities negotiation";
    this.send({ id, error: { class: "CommandNotFound", desc: `${desc}, command ${name} ignored` } });
  }

  #negotiate({ args }: FakeCommand): object {
    const { capabilities = ["oob"] } = this.#options;
    const enable = (args["enable"] ?? []) as readonly string[];
    const unknown = enable.find((capability) => !capabilities.includes(capability));
    if (unknown !== undefined) throw new FakeCommandError("GenericError", `Capability ${unknown} is not offered`);
    this.#negotiated = true;
    return {};
  }

  #version(): QmpObject {
    return { qemu: { major: 7, minor: 2, micro: 22 }, package: "fake" };
  }

  #event(event: string, data: object | undefined): object {
    const now = Date.now();
    const timestamp = { seconds: Math.floor(now / 1000), microseconds: (now % 1000) * 1000 };
    return { timestamp, event, ...(data === undefined ? {} : { data }) };
  }

  #setPaused(paused: boolean, event: string): object {
    if (this.paused !== paused) this.emit(event);
    this.paused = paused;
    return {};
  }

  #quit(): object {
    this.emit("SHUTDOWN", { guest: false, reason: "host-qmp-quit" });
    setImmediate(() => this.hangUp());
    return {};
  }
}
