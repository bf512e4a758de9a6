/** The console of a container. libvirt keeps no log of it and lets anybody have it at once: here it is read all the time, into a log, and given to one at a time. */
import { appendFile } from "node:fs/promises";
import { Duplex } from "node:stream";
import { ConflictError, isHyperviseError, traceMessage } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { ConsoleStream } from "../../../host/index.js";
import type { LibvirtStream } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import { inMemoryCall } from "../in-memory-call.js";
import { isInMemory } from "../power.js";

/** How much waits to be written to the log; what the container says beyond that is not in it. */
const UNWRITTEN_BYTES = 1_048_576;
/** As long as a timer can be. */
const FOR_EVER_MS = 2_147_483_647;

export class ContainerConsole {
  readonly #core: GuestCore;
  #stream: LibvirtStream | undefined;
  #opening: Promise<LibvirtStream> | undefined;
  #holder: Duplex | undefined;
  #written: Promise<void> = Promise.resolve();
  #unwritten = 0;

  /** Reads from when the container is in memory until the driver lets go of it. */
  constructor(core: GuestCore) {
    this.#core = core;
    void this.#follow();
  }

  /**
   * Both directions; ends with the container. `virDomainOpenConsole`.
   * @throws InvalidStateError when the container is not in memory; ConflictError when somebody has its console open
   */
  async open({ signal }: CommonOptions): Promise<Duplex> {
    const core = this.#core;
    const { instance } = core;
    core.requireInMemory("openConsole");
    if (this.#holder !== undefined) throw new ConflictError("the guest's console is open already", { instance });
    const holder = new Duplex({
      allowHalfOpen: false,
      read: () => undefined,
      write: (chunk: Buffer, _encoding, done) => {
        if (this.#stream === undefined) done();
        else this.#stream.write(chunk, (error) => done(error));
      },
      destroy: (error, done) => {
        if (this.#holder === holder) this.#holder = undefined;
        done(error);
      },
    });
    this.#holder = holder;
    try {
      await inMemoryCall(core, "openConsole", () => this.#require());
      signal?.throwIfAborted();
    } catch (error) {
      holder.destroy();
      throw error;
    }
    return new ConsoleStream(holder);
  }

  /** Resolves when what was heard is in the log. */
  idle(): Promise<void> {
    return this.#written;
  }

  /** Reads no further, until the container is in memory again. */
  end(): Promise<void> {
    this.#stream?.destroy();
    return this.#written;
  }

  async #follow(): Promise<void> {
    const core = this.#core;
    const listener = core.listen();
    core.onRelease(() => this.#stream?.destroy());
    const look = async (): Promise<undefined> => {
      // What can't be had now is looked for with the next sign of the container.
      if (isInMemory(core.powerState)) await this.#require().catch(() => undefined);
    };
    try {
      await listener.until(look, { operation: "reading a container's console", deadlineMs: FOR_EVER_MS });
    } catch (error) {
      if (!isHyperviseError(error, "CLOSED")) trace(error);
    } finally {
      listener.close();
    }
  }

  #require(): Promise<LibvirtStream> {
    if (this.#stream !== undefined) return Promise.resolve(this.#stream);
    this.#opening ??= this.#open().finally(() => (this.#opening = undefined));
    return this.#opening;
  }

  async #open(): Promise<LibvirtStream> {
    const { domain, host } = this.#core;
    const stream = await domain.openConsole({ deadlineMs: host.timeouts.consoleMs });
    if (this.#core.released) stream.destroy();
    this.#stream = stream;
    stream.on("data", (chunk: Buffer) => this.#hear(chunk));
    stream.on("error", () => stream.destroy());
    stream.once("close", () => {
      if (this.#stream === stream) this.#stream = undefined;
      this.#holder?.push(null);
    });
    return stream;
  }

  #hear(chunk: Buffer): void {
    this.#holder?.push(chunk);
    if (this.#unwritten > UNWRITTEN_BYTES) return;
    this.#unwritten += chunk.length;
    const { consoleLog } = this.#core.files;
    this.#written = this.#written
      .then(() => appendFile(consoleLog, chunk, { mode: 0o600 }))
      .catch(trace)
      .finally(() => (this.#unwritten -= chunk.length));
  }
}

function trace(error: unknown): void {
  traceMessage("hypervise:libvirt:background-failure", () => ({ error: String(error) }));
}
