/** SASL with a libvirt daemon: SCRAM, by which the daemon proves itself too, and PLAIN where nobody can listen. */
import { LibvirtAuthenticationError, LibvirtError } from "../errors.js";
import type { HandshakeCall } from "../direct-calls.js";
import type { ResolvedCredentials } from "./credentials.js";
import { SCRAM_MECHANISMS, ScramClient } from "./scram.js";
import type { ScramMechanism } from "./scram.js";

export interface SaslOptions {
  /** What the daemon offers. */
  readonly mechanisms: readonly string[];
  /** The one that the URI insists on. */
  readonly wanted: string | undefined;
  readonly credentials: ResolvedCredentials;
  /** Whether the password itself may be sent: over a UNIX socket, TLS or SSH. */
  readonly confidential: boolean;
}

interface SaslReply {
  readonly complete: number;
  readonly nil: number;
  readonly data: Uint8Array;
}

/**
 * @throws LibvirtAuthenticationError when no offered mechanism is known, the daemon refuses, or can't prove itself
 */
export async function authenticateSasl(call: HandshakeCall, options: SaslOptions): Promise<void> {
  const mechanism = chooseMechanism(options);
  const { credentials } = options;
  try {
    if (mechanism === "PLAIN") await plain(call, credentials);
    else await scram(call, mechanism, credentials);
  } catch (cause) {
    if (!(cause instanceof LibvirtError)) throw cause;
    throw new LibvirtAuthenticationError("the daemon refused the user or the password", {
      cause,
      detail: cause.detail,
      secrets: [credentials.password],
    });
  }
}

function chooseMechanism({ mechanisms, wanted, confidential }: SaslOptions): ScramMechanism | "PLAIN" {
  const offered = new Set(mechanisms.map((name) => name.toUpperCase()));
  const known = [...SCRAM_MECHANISMS, ...(confidential ? (["PLAIN"] as const) : [])];
  const chosen = known.find((name) => offered.has(name) && (wanted === undefined || wanted.toUpperCase() === name));
  if (chosen !== undefined) return chosen;
  throw new LibvirtAuthenticationError("the daemon offers no SASL mechanism that can be used here", {
    detail: `offered: ${mechanisms.join(", ")}; known: ${known.join(", ")}${wanted === undefined ? "" : `; wanted: ${wanted}`}`,
    remedy: confidential
      ? "have the daemon offer SCRAM-SHA-256 (mech_list in its SASL configuration)"
      : "connect over TLS or SSH: over plain TCP daemons offer only mechanisms that encrypt, which are not known here",
  });
}

async function plain(call: HandshakeCall, { username, password }: ResolvedCredentials): Promise<void> {
  const data = Buffer.from(`\0${username}\0${password.reveal()}`);
  const reply = await call("authSaslStart", { mech: "PLAIN", nil: 0, data });
  if (reply.complete === 0) throw new LibvirtAuthenticationError("the daemon wants more than the mechanism PLAIN has");
}

async function scram(call: HandshakeCall, mechanism: ScramMechanism, credentials: ResolvedCredentials): Promise<void> {
  const client = new ScramClient(mechanism, credentials);
  const first = await call("authSaslStart", { mech: mechanism, nil: 0, data: client.first() });
  if (first.complete !== 0) throw unproven();
  const second = await call("authSaslStep", { nil: 0, data: await client.respond(bytesOf(first)) });
  client.finish(bytesOf(second));
  if (second.complete !== 0) return;
  // Some servers send their proof before they call it done.
  const last = await call("authSaslStep", { nil: 0, data: Buffer.alloc(0) });
  if (last.complete === 0) throw new LibvirtAuthenticationError("the daemon does not end the SASL exchange");
}

function bytesOf({ nil, data }: SaslReply): Buffer {
  return nil === 0 ? Buffer.from(data) : Buffer.alloc(0);
}

function unproven(): LibvirtAuthenticationError {
  return new LibvirtAuthenticationError("the daemon accepts the user without proving that it knows the password");
}
