/** The states of a client, in the order in which it passes through them. */

/**
 * - `idle`: made, or an attempt to connect failed and may be repeated.
 * - `connecting`: socket, greeting and negotiation are under way.
 * - `running`: commands may be executed.
 * - `disconnecting`: the end has begun; pending calls are being rejected.
 * - `closed`: over for good. A new session is a new client.
 */
export type QmpState = "idle" | "connecting" | "running" | "disconnecting" | "closed";
