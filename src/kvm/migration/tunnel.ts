/** Migrations through streams of the embedder's: on the source QEMU connects to this process, which connects to the destination. */
import { createServer } from "node:net";
import type { Server } from "node:net";
import { pipeline } from "node:stream";
import type { Duplex } from "node:stream";
import { asError } from "../../core/index.js";
import { MigrationError } from "../../driver/index.js";
import { HostIoError, removeFile } from "../../host/index.js";
import type { MigrationChannel, TunnelDescriptor, TunnelOpener, TunnelRequest } from "./options.js";

type FixedRequest = Omit<TunnelRequest, "channel" | "takesDescriptor" | "signal">;

/** The source's ends of the tunnels of one migration. */
export class OutgoingTunnels {
  readonly #open: TunnelOpener;
  readonly #request: FixedRequest;
  readonly #stop = new AbortController();
  readonly #servers: { readonly server: Server; readonly path: string }[] = [];
  readonly #streams = new Set<Duplex>();
  /** Opened before QEMU came for them. */
  readonly #ready = new Map<MigrationChannel, Duplex>();
  #failure: Error | undefined;

  constructor(open: TunnelOpener, request: FixedRequest) {
    this.#open = open;
    this.#request = request;
  }

  /** Whether a stream is open. */
  get busy(): boolean {
    return this.#streams.size > 0;
  }

  /** Why a stream could not be opened or broke; undefined while all is well. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Waits on a socket for QEMU. @throws HostIoError */
  async listen(channel: MigrationChannel, path: string): Promise<void> {
    await removeFile(path);
    const server = createServer({ allowHalfOpen: true }, (socket) => void this.#connect(channel, socket));
    await new Promise<void>((resolve, reject) => {
      server.once("error", (cause) => reject(new HostIoError({ operation: "waiting for QEMU", path, cause })));
      // QEMU may run as another user; who gets there is up to the directory.
      server.listen({ path, readableAll: true, writableAll: true }, resolve);
    });
    server.unref();
    this.#servers.push({ server, path });
  }

  /** Opens a channel before QEMU comes for it. Gives what QEMU is to have itself; undefined for a stream, which is kept for when it comes. */
  async openFirst(channel: MigrationChannel): Promise<TunnelDescriptor | undefined> {
    const opened = await this.#open({ ...this.#request, channel, takesDescriptor: true, signal: this.#stop.signal });
    if (isDescriptor(opened)) return opened;
    this.#hold(opened);
    this.#ready.set(channel, opened);
    return undefined;
  }

  /** Ends all streams. */
  async close(): Promise<void> {
    this.#stop.abort();
    for (const stream of this.#streams) stream.destroy();
    for (const { server, path } of this.#servers.splice(0)) {
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await removeFile(path);
    }
  }

  async #connect(channel: MigrationChannel, socket: Duplex): Promise<void> {
    this.#hold(socket);
    try {
      const stream = this.#ready.get(channel) ?? (await this.#openStream(channel));
      this.#ready.delete(channel);
      join(socket, stream, (error) => (this.#failure ??= error));
    } catch (error) {
      this.#failure ??= asError(error);
      socket.destroy();
    }
  }

  async #openStream(channel: MigrationChannel): Promise<Duplex> {
    const { signal } = this.#stop;
    const stream = requireStream(await this.#open({ ...this.#request, channel, takesDescriptor: false, signal }));
    this.#hold(stream);
    return stream;
  }

  #hold(stream: Duplex): void {
    if (this.#stop.signal.aborted) stream.destroy();
    this.#streams.add(stream);
    stream.once("close", () => this.#streams.delete(stream));
    stream.on("error", () => undefined);
  }
}

function isDescriptor(opened: Duplex | TunnelDescriptor): opened is TunnelDescriptor {
  return !("pipe" in opened);
}

/** @throws MigrationError for a descriptor, which is closed then */
export function requireStream(opened: Duplex | TunnelDescriptor): Duplex {
  if (!isDescriptor(opened)) return opened;
  opened.close();
  throw new MigrationError("a tunnel was opened as a descriptor where a stream was asked for");
}

/** Each end of one stream is that of the other. */
function join(one: Duplex, other: Duplex, onFailure: (error: Error) => void): void {
  const ended = (error: Error | null | undefined): void => {
    if (error !== null && error !== undefined) onFailure(error);
  };
  pipeline(one, other, ended);
  pipeline(other, one, ended);
}
