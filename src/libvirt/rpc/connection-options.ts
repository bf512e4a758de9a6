/** The options of {@link LibvirtConnection} and what it tells of itself. */
import type { Duplex } from "node:stream";
import type { Clock } from "../../core/index.js";
import type { CredentialSource } from "./auth/credentials.js";
import type { LibvirtClosure } from "./close-reason.js";
import type { ConnectUri } from "./connect-uri.js";
import type { KeepaliveOptions } from "./keepalive.js";
import type { LibvirtTimeouts } from "./timeouts.js";
import type { LibvirtTransport } from "./transports/transport.js";
import type { LateReply } from "./window.js";

/** How a lost connection is made again. */
export interface ReconnectOptions {
  /** Pause before the second attempt; the first is made at once, and each further pause is twice as long. Default: 100. */
  readonly minDelayMs?: number | undefined;
  /** Longest pause between two attempts. Default: 10,000. */
  readonly maxDelayMs?: number | undefined;
  /** After how long the connection is given up. Default: 300,000. */
  readonly giveUpAfterMs?: number | undefined;
}

export const DEFAULT_RECONNECT = { minDelayMs: 100, maxDelayMs: 10_000, giveUpAfterMs: 300_000 } as const;

/** How to reach a daemon in another way than the URI says. */
export type LibvirtConnector = (context: {
  readonly uri: ConnectUri;
  readonly readOnly: boolean;
  readonly signal: AbortSignal;
}) => Duplex | LibvirtTransport | Promise<Duplex | LibvirtTransport>;

/** Options that hold for the whole life of a connection. */
export interface LibvirtConnectionOptions {
  /** Whether only to read: another socket, and a daemon that refuses changes. Default: false. */
  readonly readOnly?: boolean | undefined;
  /** For daemons that ask for a user and a password; libvirt's auth.conf is read when absent. */
  readonly credentials?: CredentialSource | undefined;
  /** Reaches the daemon in the place of the URI's transport: for tunnels and tests. */
  readonly connect?: LibvirtConnector | undefined;
  /** Time limits that differ from {@link DEFAULT_LIBVIRT_TIMEOUTS}. */
  readonly timeouts?: Partial<LibvirtTimeouts> | undefined;
  readonly keepalive?: KeepaliveOptions | undefined;
  /**
   * How many calls may be unanswered at once, from 1. Default: 5, as many as a daemon takes of one connection unless it is
   * configured otherwise (`max_client_requests`). Others wait here, in any number.
   */
  readonly maxInFlight?: number | undefined;
  /** How many calls may wait for their turn. Default: 1,000,000. */
  readonly maxQueued?: number | undefined;
  /** Longest frame taken from the daemon, in bytes. Default and most: 33,554,436. */
  readonly maxFrameBytes?: number | undefined;
  /** Whether a lost connection is made again; calls that were sent fail, those that were not go out later. Default: false. */
  readonly reconnect?: boolean | ReconnectOptions | undefined;
  /** Whether the process may exit although the connection is open and idle. Default: false. */
  readonly unref?: boolean | undefined;
  /** Default: the system's clock. */
  readonly clock?: Clock | undefined;
  /** Told when a call whose caller has given up is answered after all. */
  readonly onLateReply?: ((reply: LateReply) => void) | undefined;
}

/** What happens to a connection. */
export type LibvirtConnectionEvent =
  /** It was lost. Calls that had been sent have failed. */
  | { readonly kind: "lost"; readonly closure: LibvirtClosure }
  /** It could not be made again yet; the next attempt is `delayMs` away. */
  | { readonly kind: "retrying"; readonly attempt: number; readonly delayMs: number; readonly error: Error }
  /** It was made again, and all events that are read have been asked for again. */
  | { readonly kind: "reconnected"; readonly attempts: number }
  /** It is over; nothing follows. */
  | { readonly kind: "closed"; readonly closure: LibvirtClosure }
  /** So many of these were dropped, because their reader was too slow. */
  | { readonly kind: "overflow"; readonly dropped: number };

/**
 * `open`: calls go out. `reconnecting`: calls wait until the connection is made again. `closing`, `closed`: calls are refused.
 */
export type LibvirtConnectionState = "open" | "reconnecting" | "closing" | "closed";
