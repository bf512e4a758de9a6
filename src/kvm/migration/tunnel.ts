/** Migrations through streams of the embedder's: on the source QEMU connects to this process, which connects to the destination. */
import { createServer } from "node:net";
import type { Server } from "node:net";
import { pipeline } from "node:stream";
import type { Duplex } from "node:stream";
import { asError } from "../../core/index.js";
import { HostIoError, removeFile } from "../../host/index.js";
import type { MigrationChannel, TunnelOpener, TunnelRequest } from "./options.js";

/** The source's ends of the tunnels of one migration. */
export class OutgoingTunnels {
  readonly #open: TunnelOpener;
  readonly #request: Omit<TunnelRequest, "channel" | "signal">;
  readonly #stop = new AbortController();
  readonly #servers: { readonly server: Server; readonly path: string }[] = [];
  readonly #streams = new Set<Duplex>();
  #failure: Error | undefined;

  constructor(open: TunnelOpener, request: Omit<TunnelRequest, "channel" | "signal">) {
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
      const stream = await this.#open({ ...this.#request, channel, signal: this.#stop.signal });
      this.#hold(stream);
      join(socket, stream, (error) => (this.#failure ??= error));
    } catch (error) {
      this.#failure ??= asError(error);
      socket.destroy();
    }
  }

  #hold(stream: Duplex): void {
    if (this.#stop.signal.aborted) stream.destroy();
    this.#streams.add(stream);
    stream.once("close", () => this.#streams.delete(stream));
    stream.on("error", () => undefined);
  }
}

/** Each end of one stream is that of the other. */
function join(one: Duplex, other: Duplex, onFailure: (error: Error) => void): void {
  const ended = (error: Error | null | undefined): void => {
    if (error !== null && error !== undefined) onFailure(error);
  };
  pipeline(one, other, ended);
  pipeline(other, one, ended);
}
