/** Where a client finds its peer. */
import type { Duplex } from "node:stream";
import type { Clock } from "../core/index.js";
import { fdPassingOf } from "./fd-passing.js";
import { streamTransport } from "./stream-transport.js";
import type { QmpTransport } from "./transport.js";
import { connectUnix } from "./unix-transport.js";

/**
 * - `path`: a UNIX socket on which the peer listens, or soon will. Paths of any length.
 * - `stream`: a connected stream, such as one end of a socketpair or the standard streams of a child. The client owns it.
 *   Descriptors pass over it when it is a UNIX socket.
 * - `transport`: a connection of the embedder's making. The client owns it.
 */
export type QmpEndpoint =
  | { readonly path: string }
  | { readonly stream: Duplex; readonly description?: string }
  | { readonly transport: QmpTransport };

/** Whether a further attempt to connect can be made after one that failed. */
export function isReusable(endpoint: QmpEndpoint): boolean {
  return "path" in endpoint;
}

/** What the endpoint is, for messages before there is a transport. */
export function describeEndpoint(endpoint: QmpEndpoint): string {
  if ("path" in endpoint) return `unix:${endpoint.path}`;
  return "transport" in endpoint ? endpoint.transport.description : (endpoint.description ?? "stream");
}

export interface ReachOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

/** Opens the transport to an endpoint; see {@link connectUnix} for what may be thrown. */
export async function reach(endpoint: QmpEndpoint, options: ReachOptions): Promise<QmpTransport> {
  if ("transport" in endpoint) return endpoint.transport;
  if ("path" in endpoint) return connectUnix(endpoint.path, options);
  const { stream } = endpoint;
  return streamTransport(stream, {
    description: describeEndpoint(endpoint),
    clock: options.clock,
    fdPassing: fdPassingOf(stream),
  });
}
