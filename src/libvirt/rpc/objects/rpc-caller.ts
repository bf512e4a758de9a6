/** The seam between methods and the connection that carries their calls: `LibvirtConnection`, or what stands in for it. */
import type { LibvirtExecuteOptions } from "../connection.js";
import type { Procedure } from "../procedure.js";
import type { LibvirtStream, LibvirtStreamOptions } from "../streams/libvirt-stream.js";

/** What methods need of a connection. */
export interface RpcCaller {
  /** Calls a procedure with arguments as the codec takes them. */
  execute(procedure: Procedure, args: object, options: LibvirtExecuteOptions): Promise<unknown>;
  /** Calls a procedure that opens a stream. */
  executeStream(procedure: Procedure, args: object, options: LibvirtStreamOptions): Promise<LibvirtStream>;
}

/** The options that calls have whatever they call. */
export const CALL_OPTIONS: readonly string[] = [
  "signal",
  "deadlineMs",
  "fds",
  "sparse",
  "bufferBytes",
  "maxBufferedBytes",
  "dedicated",
] satisfies readonly (keyof (LibvirtExecuteOptions & LibvirtStreamOptions))[];

export type WireRecord = Record<string, unknown>;
