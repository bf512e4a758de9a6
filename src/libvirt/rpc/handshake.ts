/** From bytes that flow to a hypervisor's driver that is open: who calls, which abilities, what is to be opened. */
import type { Clock, Deadline } from "../../core/index.js";
import { authenticate } from "./auth/authenticate.js";
import type { CredentialSource } from "./auth/credentials.js";
import type { ConnectUri } from "./connect-uri.js";
import { DirectCalls } from "./direct-calls.js";
import type { HandshakeCall } from "./direct-calls.js";
import { LibvirtConnectError, LibvirtDisconnectedError, LibvirtProtocolError } from "./errors.js";
import { procedureNamed } from "./procedures.js";
import type { RemoteProcedures } from "./protocol/remote-types.gen.js";
import type { Session } from "./session.js";

export interface HandshakeOptions {
  readonly uri: ConnectUri;
  readonly readOnly: boolean;
  readonly credentials: CredentialSource | undefined;
  readonly confidential: boolean;
  readonly clock: Clock;
  /** Limits the whole. */
  readonly deadline: Deadline;
}

/** `VIR_DRV_FEATURE_PROGRAM_KEEPALIVE`: asking for it makes the daemon ping. */
const FEATURE_KEEPALIVE = 10;
const OPEN_READ_ONLY = 1;

/**
 * Opens the hypervisor's driver on a session that has started. On failure the session is left to its owner.
 * @throws LibvirtAuthenticationError, LibvirtConnectError when the daemon hangs up, LibvirtError when it can't open the URI,
 * LibvirtProtocolError, and the deadline's error
 */
export async function handshake(session: Session, options: HandshakeOptions): Promise<void> {
  const direct = new DirectCalls(session, options.clock, options.deadline);
  const call: HandshakeCall = async (name, args) =>
    (await direct.call(procedureNamed("remote", name), args)) as RemoteProcedures[typeof name]["result"];
  try {
    await authenticate(call, { ...options, signal: options.deadline.signal });
    const { supported } = await call("connectSupportsFeature", { feature: FEATURE_KEEPALIVE });
    if (supported !== 0) session.startKeepalive();
    const flags = options.readOnly ? OPEN_READ_ONLY : 0;
    await call("connectOpen", { name: options.uri.daemonUri, flags });
  } catch (error) {
    throw explain(error);
  }
}

/** What ends a connection that was not open yet is no loss of one. */
function explain(error: unknown): unknown {
  if (!(error instanceof LibvirtDisconnectedError)) return error;
  const { cause } = error;
  if (cause instanceof LibvirtProtocolError || cause instanceof LibvirtConnectError) return cause;
  return new LibvirtConnectError("the daemon hung up before the connection was open", { cause: cause ?? error });
}
