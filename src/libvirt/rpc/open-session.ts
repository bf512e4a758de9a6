/** Makes one physical connection: reaches the daemon, authenticates, opens the hypervisor's driver. */
import { Duplex } from "node:stream";
import type { Clock, Deadline } from "../../core/index.js";
import type { LibvirtConnectionOptions } from "./connection-options.js";
import type { ConnectUri } from "./connect-uri.js";
import { handshake } from "./handshake.js";
import { Session } from "./session.js";
import type { SessionOwner } from "./session.js";
import type { LibvirtTimeouts } from "./timeouts.js";
import { openTransport } from "./transports/open-transport.js";
import { streamTransport, unixSocketOf } from "./transports/stream-transport.js";
import type { LibvirtTransport } from "./transports/transport.js";

export interface OpenSessionOptions {
  readonly uri: ConnectUri;
  readonly connection: LibvirtConnectionOptions;
  readonly timeouts: LibvirtTimeouts;
  readonly clock: Clock;
  /** Limits the whole. */
  readonly deadline: Deadline;
}

/** On failure nothing stays open. See `LibvirtConnection.open` for what is thrown. */
export async function openSession(options: OpenSessionOptions, owner: SessionOwner): Promise<Session> {
  const { uri, connection, timeouts, clock, deadline } = options;
  deadline.throwIfExpired();
  const transport = await reach(options);
  const { keepalive, maxFrameBytes, credentials, readOnly = false } = connection;
  let ready = false;
  const session = new Session(
    { transport, clock, keepalive, maxFrameBytes, sendFdsMs: timeouts.sendFdsMs },
    { ...owner, ended: (closure) => ready && owner.ended(closure) },
  );
  session.start();
  try {
    const confidential = uri.transport !== "tcp";
    await handshake(session, { uri, readOnly, credentials, confidential, clock, deadline });
    ready = true;
    return session;
  } catch (error) {
    await session.close(0);
    throw error;
  }
}

async function reach({ uri, connection, clock, deadline }: OpenSessionOptions): Promise<LibvirtTransport> {
  const { connect, readOnly = false } = connection;
  const { signal } = deadline;
  if (connect === undefined) return openTransport(uri, { readOnly, signal, clock });
  const reached = await deadline.race(Promise.resolve(connect({ uri, readOnly, signal })));
  if (!(reached instanceof Duplex)) return reached;
  return streamTransport(reached, { description: "given stream", clock, fdSocket: unixSocketOf(reached) });
}
