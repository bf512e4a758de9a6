/** What a connection to libvirt needs of its carrier: bytes both ways, in order, with back-pressure, and an end. */

/** Where a transport delivers to. */
export interface LibvirtTransportSink {
  /** The next bytes from the peer. They stay as they are. */
  data(chunk: Buffer): void;
  /** What was written has left this process, after {@link LibvirtTransport.send} had said that it was full. */
  drained(): void;
  /** The connection is over, once and for all; `error` when it did not end in an orderly way. Called exactly once. */
  ended(error?: Error): void;
}

/** A connection to a libvirt daemon. An embedder may give its own, over a tunnel for example. */
export interface LibvirtTransport {
  /** What it is connected to, for error messages: `unix:/run/libvirt/libvirt-sock`. */
  readonly description: string;
  /** Starts delivery. Called once, before anything else. */
  start(sink: LibvirtTransportSink): void;
  /** Queues bytes; false when so many wait that the sender should pause until `drained`. Never throws: a failure ends the connection. */
  send(data: Uint8Array): boolean;
  /**
   * Sends bytes, and after them one byte for each descriptor that carries a copy of it, with nothing in between. The
   * descriptors must stay open until the promise settles. Absent where the connection can't carry descriptors.
   * @throws the reason they could not be sent; nothing was sent when the error has no `partial`
   */
  sendWithFds?(data: Uint8Array, fds: readonly number[], options: SendFdsLimits): Promise<void>;
  /** Whether bytes wait that the peer, or its network, has not taken. */
  readonly blocked: boolean;
  /** Stops delivery; the peer is held up in the end. */
  pause(): void;
  /** Undoes {@link LibvirtTransport.pause}. */
  resume(): void;
  /** Ends the connection after what was sent has left this process, or `graceMs` later. Never rejects. */
  close(graceMs: number): Promise<void>;
  /** Lets the process exit although the connection is open. */
  unref?(): void;
  /** Undoes {@link LibvirtTransport.unref}. */
  ref?(): void;
}

/** How long passing descriptors may take. */
export interface SendFdsLimits {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs: number;
}
