/** A record of what went over the wire, for people who debug; secrets do not get into it. */

/** One message of a transcript. */
export interface TranscriptEntry {
  readonly direction: "sent" | "received";
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The message as JSON, with secret arguments and replies taken out. */
  readonly text: string;
  /** The command that was sent or is answered. */
  readonly command?: string;
}

/** Gets every message of a session; what it throws is ignored. */
export type TranscriptHook = (entry: TranscriptEntry) => void;
