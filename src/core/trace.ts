/** Tracing through `node:diagnostics_channel`: silent and free until somebody subscribes. */
import { channel } from "node:diagnostics_channel";
import type { Channel } from "node:diagnostics_channel";
import { redactError } from "./redact-error.js";
import { redactValue } from "./redact.js";
import type { SecretLike } from "./secret.js";

interface TraceChannels {
  readonly start: Channel;
  readonly end: Channel;
  readonly asyncStart: Channel;
  readonly asyncEnd: Channel;
  readonly error: Channel;
}

const cache = new Map<string, TraceChannels>();

/**
 * Runs an operation as a `TracingChannel` would: subscribe with `tracingChannel("hypervise:<room>:<what>").subscribe(…)`.
 * All five messages of one run are one object, the redacted context; `error` is set on it when the operation fails. What the
 * operation returns is not published.
 * @param name such as `hypervise:kvm:spawn`.
 * @param context what the operation is about; a function is called only when somebody listens.
 */
export function traceOperation<T>(
  name: string,
  context: object | (() => object),
  fn: () => Promise<T>,
  secrets?: readonly SecretLike[],
): Promise<T> {
  const channels = channelsOf(name);
  if (!hasSubscribers(channels)) return fn();
  const message = redactValue(typeof context === "function" ? (context as () => object)() : context, secrets) as {
    error?: unknown;
  };
  const running = channels.start.runStores(message, (): Promise<T> => {
    try {
      return fn();
    } finally {
      channels.end.publish(message);
    }
  });
  return settle(running, channels, message, secrets);
}

async function settle<T>(
  running: Promise<T>,
  channels: TraceChannels,
  message: { error?: unknown },
  secrets: readonly SecretLike[] | undefined,
): Promise<T> {
  try {
    return await running;
  } catch (error) {
    message.error = redactError(error, secrets);
    channels.error.publish(message);
    throw error;
  } finally {
    channels.asyncStart.publish(message);
    channels.asyncEnd.publish(message);
  }
}

/** Publishes one message on a plain channel; the context is made and redacted only when somebody listens. */
export function traceMessage(name: string, context: () => object, secrets?: readonly SecretLike[]): void {
  const target = channel(name);
  if (target.hasSubscribers) target.publish(redactValue(context(), secrets));
}

function channelsOf(name: string): TraceChannels {
  let channels = cache.get(name);
  if (channels === undefined) {
    const part = (what: string): Channel => channel(`tracing:${name}:${what}`);
    channels = {
      start: part("start"),
      end: part("end"),
      asyncStart: part("asyncStart"),
      asyncEnd: part("asyncEnd"),
      error: part("error"),
    };
    cache.set(name, channels);
  }
  return channels;
}

function hasSubscribers(channels: TraceChannels): boolean {
  return (
    channels.start.hasSubscribers ||
    channels.asyncEnd.hasSubscribers ||
    channels.error.hasSubscribers ||
    channels.end.hasSubscribers ||
    channels.asyncStart.hasSubscribers
  );
}
