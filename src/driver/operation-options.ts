/** Checks of what every call takes beside its own arguments: who it is about, and how long it may take. */
import { check } from "../core/index.js";
import type { OperationOptions } from "../core/index.js";
import type { InstanceRef } from "./instance-spec.js";

/** What an instance may be called: safe in paths, commands and documents. */
export const instanceName = check.string({
  min: 1,
  max: 63,
  pattern: /^[A-Za-z0-9_][A-Za-z0-9._-]*$/,
  expected: "1 to 63 characters of A-Z a-z 0-9 . _ -, not starting with . or -",
});

const uuid = check.uuid();
const deadline = check.number({ min: 0, max: 1e12 });
const signal = check.guarded((value): value is AbortSignal => value instanceof AbortSignal, "an AbortSignal");
const callback = check.guarded((value): value is () => void => typeof value === "function", "a function");

/** The instance that a call names; further properties are not looked at. @throws InvalidArgumentError */
export function checkInstance(value: unknown): InstanceRef {
  const record = propertiesOf(value, "instance");
  return { uuid: uuid(record["uuid"], "instance.uuid"), name: instanceName(record["name"], "instance.name") };
}

/** The uuid that a call names. @throws InvalidArgumentError */
export function checkUuid(value: unknown): string {
  return uuid(propertiesOf(value, "instance")["uuid"], "instance.uuid");
}

/** What a call may leave out altogether. @throws InvalidArgumentError naming the option that is wrong. */
export function checkOptions<O extends OperationOptions>(options: O | undefined): Partial<O> {
  if (options === undefined) return {};
  const given = propertiesOf(options, "options");
  if (given["deadline"] !== undefined) deadline(given["deadline"], "options.deadline");
  if (given["signal"] !== undefined) signal(given["signal"], "options.signal");
  if (given["onProgress"] !== undefined) callback(given["onProgress"], "options.onProgress");
  return options;
}

const anObject = check.guarded(
  (value): value is Record<string, unknown> => typeof value === "object" && value !== null,
  "an object",
);

function propertiesOf(value: unknown, path: string): Record<string, unknown> {
  return anObject(value, path);
}
