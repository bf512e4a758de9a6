// A link between two hosts that a test makes silent or breaks: it carries a guest's memory, and QEMU knows nothing of it.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

export type LinkMode = "open" | "silent" | "refused";

/** How often a silent link looks whether it is one still. */
const LOOK_MS = 50;

export class BreakingLink implements AsyncDisposable {
  readonly #servers: readonly Server[];
  readonly #sockets = new Set<Socket>();
  mode: LinkMode = "open";
  /** How often somebody has come. */
  connections = 0;
  /** Bytes, both ways. */
  carried = 0;

  private constructor(servers: ReadonlyMap<Server, number>) {
    this.#servers = [...servers.keys()];
    for (const [server, to] of servers) server.on("connection", (socket) => this.#join(socket, to));
  }

  /** A link to ports of this machine. */
  static async open(...ports: readonly number[]): Promise<BreakingLink> {
    const servers = new Map<Server, number>();
    for (const port of ports) {
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      servers.set(server, port);
    }
    return new BreakingLink(servers);
  }

  /** What leads to the ports, in their order. */
  get ports(): readonly number[] {
    return this.#servers.map((server) => (server.address() as AddressInfo).port);
  }

  /** Both sides see that the link is gone. */
  break(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.mode = "refused";
    this.break();
    for (const server of this.#servers) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  #join(from: Socket, port: number): void {
    if (this.mode === "refused") return void from.destroy();
    this.connections++;
    const to = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      this.#sockets.add(one);
      one.on("error", () => undefined);
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
      void this.#carry(one, other).catch(() => other.destroy());
    }
  }

  async #carry(from: Socket, to: Socket): Promise<void> {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      while (this.mode === "silent" && !to.destroyed) await delay(LOOK_MS);
      this.carried += chunk.length;
      if (!to.write(chunk)) await once(to, "drain");
    }
    // What a silent link does not carry is its end, too.
    while (this.mode === "silent" && !to.destroyed) await delay(LOOK_MS);
    to.end();
  }
}
