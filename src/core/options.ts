/** Options that every operation takes. */

/** How far a long operation is. */
export interface OperationProgress {
  /** Name of the step under way, for example `image`, `disks`, `boot`. */
  readonly phase: string;
  /** 0 to 1; absent where the end is not known. */
  readonly fraction?: number;
  readonly bytesDone?: number;
  readonly bytesTotal?: number;
}

export interface CommonOptions {
  /** Aborts the operation; it rejects with `AbortedError`, after what it had begun is undone. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds that the operation may take; then it ends as if aborted, with `DeadlineExceededError`. */
  readonly deadline?: number | undefined;
}

export interface OperationOptions extends CommonOptions {
  /** Called with each step; what it throws is ignored. */
  readonly onProgress?: ((progress: OperationProgress) => void) | undefined;
}
