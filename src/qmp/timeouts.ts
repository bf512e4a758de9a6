/** Every time limit of the clients in one place each, in milliseconds. */

/** Time limits of {@link QmpClient}. */
export interface QmpTimeouts {
  /** The whole of `connect()`: reaching the socket, greeting and negotiation. */
  readonly connectMs: number;
  /** From an open socket to QEMU's greeting. QEMU serves one client a socket: the second hears nothing. */
  readonly greetingMs: number;
  /** A command without a deadline of its own, waiting for its turn included. */
  readonly commandMs: number;
  /** `waitFor` without a deadline of its own. */
  readonly eventMs: number;
  /** A job without a deadline of its own, from its start to its end. */
  readonly jobMs: number;
  /** How long `close()` lets what was sent leave this process. */
  readonly closeMs: number;
  /** How long the end of a connection waits for `exitInfo`. */
  readonly exitInfoMs: number;
  /** First and longest pause between two attempts to reach a socket that is not there yet. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

export const DEFAULT_QMP_TIMEOUTS: QmpTimeouts = {
  connectMs: 15_000,
  greetingMs: 5_000,
  commandMs: 30_000,
  eventMs: 60_000,
  jobMs: 3_600_000,
  closeMs: 1_000,
  exitInfoMs: 1_000,
  retryMinMs: 5,
  retryMaxMs: 100,
};

/** Time limits of {@link GuestAgentClient}. */
export interface GuestAgentTimeouts {
  /** The whole of `connect()`: reaching the socket and the first synchronisation. */
  readonly connectMs: number;
  /** One synchronisation. An agent that runs answers within milliseconds; a guest under load may take seconds. */
  readonly syncMs: number;
  /** A command without a deadline of its own. */
  readonly commandMs: number;
  /** A program run in the guest, from start to end. */
  readonly execMs: number;
  /** Reading or writing one file. */
  readonly fileMs: number;
  /** Freezing the file systems: the guest flushes them first. */
  readonly freezeMs: number;
  /** How long file systems may stay frozen; then they are thawed whatever is under way. */
  readonly frozenMs: number;
  /** All attempts to thaw. */
  readonly thawMs: number;
  /** How long a shutdown or suspend is watched for a refusal before silence counts as success. */
  readonly noReplyMs: number;
  /** First and longest pause between two looks at a program that runs in the guest: the agent has no events. */
  readonly pollMinMs: number;
  readonly pollMaxMs: number;
  /** How long `close()` lets what was sent leave this process. */
  readonly closeMs: number;
  /** First and longest pause between two attempts to reach a socket that is not there yet. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

export const DEFAULT_GUEST_AGENT_TIMEOUTS: GuestAgentTimeouts = {
  connectMs: 15_000,
  syncMs: 5_000,
  commandMs: 30_000,
  execMs: 60_000,
  fileMs: 60_000,
  freezeMs: 120_000,
  frozenMs: 60_000,
  thawMs: 30_000,
  noReplyMs: 5_000,
  pollMinMs: 10,
  pollMaxMs: 500,
  closeMs: 1_000,
  retryMinMs: 5,
  retryMaxMs: 100,
};
