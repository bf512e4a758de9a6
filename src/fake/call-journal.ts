/** The calls that were made on a fake driver, as data without secrets. */
import { asError, isHyperviseError, redactText, redactValue, Secret } from "../core/index.js";
import type { Clock, JsonObject } from "../core/index.js";

export interface DriverCall {
  /** Counts the calls from 1. */
  readonly sequence: number;
  /** Nova's name in camelCase. */
  readonly method: string;
  /** Copies; secrets are `[redacted]`, bytes are only counted. */
  readonly args: readonly unknown[];
  readonly instanceUuid?: string;
  /** Milliseconds since the epoch of the world's clock. */
  readonly startedAt: number;
  /** Milliseconds of the world's clock; absent while it runs. */
  readonly durationMs?: number;
  readonly outcome: "running" | "resolved" | "rejected";
  /** What it resolved with; handles are named, not followed. */
  readonly result?: unknown;
  readonly error?: JsonObject;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** How a call ended. */
interface NotedCall {
  resolved(result: unknown): void;
  rejected(error: unknown): void;
}

const UNNOTED: NotedCall = { resolved: () => undefined, rejected: () => undefined };

export const DEFAULT_CALL_LIMIT = 10_000;

/** Positions of arguments that are secret as a whole. */
const SECRET_ARGUMENTS: Readonly<Record<string, number>> = {
  setAdminPassword: 1,
  setConsolePassword: 2,
};

export class CallJournal {
  readonly #clock: Clock;
  readonly #limit: number;
  #calls: DriverCall[] = [];
  #sequence = 0;

  constructor(clock: Clock, limit: number) {
    this.#clock = clock;
    this.#limit = limit;
  }

  /** The last calls, oldest first. */
  get calls(): readonly DriverCall[] {
    return this.#calls.length > this.#limit ? this.#calls.slice(-this.#limit) : this.#calls;
  }

  clear(): void {
    this.#calls = [];
  }

  /** Notes a call; the returned functions note how it ended. */
  begin(method: string, args: readonly unknown[]): NotedCall {
    if (this.#limit === 0) return UNNOTED;
    const secrets = secretsOf(method, args);
    const start = this.#clock.monotonic();
    const uuid = uuidOf(args[0]);
    const call: Writable<DriverCall> = {
      sequence: ++this.#sequence,
      method,
      args: redactValue(args, secrets) as readonly unknown[],
      ...(uuid === undefined ? {} : { instanceUuid: uuid }),
      startedAt: this.#clock.now(),
      outcome: "running",
    };
    this.#keep(call);
    const end = (outcome: "resolved" | "rejected"): void => {
      call.outcome = outcome;
      call.durationMs = this.#clock.monotonic() - start;
    };
    return {
      resolved: (result) => {
        end("resolved");
        if (result !== undefined) call.result = redactValue(result, secrets);
      },
      rejected: (error) => {
        end("rejected");
        call.error = isHyperviseError(error)
          ? error.toJSON()
          : { message: redactText(asError(error).message, secrets) };
      },
    };
  }

  /** Drops the oldest now and then, so that a call costs the same however many there were. */
  #keep(call: DriverCall): void {
    this.#calls.push(call);
    if (this.#calls.length >= 1.5 * this.#limit + 16) this.#calls = this.#calls.slice(-this.#limit);
  }
}

/** Uuid of the instance that a call names first. */
export function uuidOf(argument: unknown): string | undefined {
  if (typeof argument !== "object" || argument === null || !("uuid" in argument)) return undefined;
  return typeof argument.uuid === "string" ? argument.uuid : undefined;
}

/** Texts that the call must not show: passwords that were given as plain strings. */
function secretsOf(method: string, args: readonly unknown[]): readonly Secret[] {
  const position = SECRET_ARGUMENTS[method];
  const given = position === undefined ? [] : [args[position]];
  for (const argument of args) {
    if (typeof argument === "object" && argument !== null && "adminPassword" in argument)
      given.push(argument.adminPassword);
  }
  return given.flatMap((value) => {
    if (Secret.is(value)) return [value];
    return typeof value === "string" && value !== "" ? [Secret.of(value)] : [];
  });
}
