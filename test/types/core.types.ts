// What the compiler must accept and refuse of src/core's public types. Nothing here runs.
import { HyperviseError, KeyedLock, Secret, isHyperviseError } from "../../src/core/index.js";
import type { Clock, JsonValue, StateStore } from "../../src/core/index.js";

declare const thrown: unknown;
if (isHyperviseError(thrown)) {
  thrown.code satisfies string;
  thrown.retryable satisfies boolean;
  // @ts-expect-error -- an error is data: nobody rewrites its code
  thrown.code = "OTHER";
}
// @ts-expect-error -- unknown until it has been asked
void thrown.code;

// @ts-expect-error -- every error has a code
void new HyperviseError("no code", {});

const secret = Secret.of("hunter2");
secret.reveal() satisfies string;
// @ts-expect-error -- a secret is not a string
secret satisfies string;

const lock = new KeyedLock();
lock.run("key", () => Promise.resolve(7)) satisfies Promise<number>;
// @ts-expect-error -- what runs under the lock is asynchronous
void lock.run("key", () => 7);

declare const store: StateStore;
void store.put("a/b", { list: [1, "two", null] });
// @ts-expect-error -- only what JSON can carry is stored
void store.put("a/b", { when: new Date() });
void store.get("a/b").then((value) => {
  value satisfies JsonValue | undefined;
  // @ts-expect-error -- what is read may not be there
  value satisfies JsonValue;
});

declare const clock: Clock;
clock.sleep(5) satisfies Promise<void>;
// @ts-expect-error -- durations are numbers of milliseconds
void clock.sleep("5 ms");
