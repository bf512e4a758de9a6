/** What a window of calls takes and gives: a call, its options, and how it ended. */
import type { Clock } from "../../core/index.js";
import type { Procedure } from "./procedure.js";

/** How a call that was no longer waited for ended after all. */
export interface LateReply {
  readonly procedure: string;
  readonly serial: number;
  /** Whether the daemon carried it out. */
  readonly succeeded: boolean;
}

/** How long a call is waited for. */
export interface LibvirtCallOptions {
  /** Ends the wait with `AbortedError`. A call that has not left is taken back; one that has is carried out all the same. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds until the wait ends with `DeadlineExceededError`, waiting for its turn included. Default: `timeouts.callMs`. */
  readonly deadlineMs?: number | undefined;
  /**
   * Whether the call gets a connection of its own, which ends with it: one that takes minutes then holds up nothing else, however many
   * there are. Default: false.
   */
  readonly dedicated?: boolean | undefined;
}

/** A call on its way. */
export interface PendingCall {
  readonly serial: number;
  readonly procedure: Procedure;
  readonly payload: Uint8Array;
  /** Descriptors that go with it. */
  readonly fds: readonly number[] | undefined;
  /** `queued`: not sent. `sent`: waited for. `left`: sent, but its caller has been told of an abort or deadline. `done`: settled. */
  readonly state: "queued" | "sent" | "left" | "done";
}

/** How a call ended. */
export type CallOutcome = { readonly value: unknown } | { readonly error: Error };

export interface AddCallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly deadlineMs: number;
  readonly fds?: readonly number[] | undefined;
  /** What it is about; of low-priority calls about one thing few are under way at once. */
  readonly lane?: string | undefined;
  /** Told of the serial right before the call leaves. */
  readonly onSent?: ((serial: number) => void) | undefined;
  /** Another way to make the call, for when the window is crowded: full, and for a second nothing in it has been answered. */
  readonly beside?: CallBeside | undefined;
}

/** Makes a call past the window. @throws LibvirtConnectError when there is no way */
export type CallBeside = (limits: {
  readonly signal: AbortSignal | undefined;
  readonly deadlineMs: number;
}) => Promise<unknown>;

export interface CallWindowOptions {
  readonly clock: Clock;
  /**
   * How many calls may be unanswered at once. libvirt's daemons take 5 (`max_client_requests`) and read nothing more until
   * one is answered. The last place is kept for procedures of high priority, which daemons answer even when all else
   * hangs: so a full window of slow calls holds up neither those nor the pings.
   */
  readonly size: number;
  /** How many may wait for their turn. */
  readonly maxQueued: number;
  /** Puts a call on the wire. */
  readonly transmit: (call: PendingCall) => void;
}
