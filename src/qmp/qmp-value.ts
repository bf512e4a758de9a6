/** What QMP's JSON carries; whole numbers beyond 2^53 are `bigint`, so that all 64 bits of a QAPI integer survive. */

/** A value as it comes from QEMU or the guest agent. */
export type QmpValue = string | number | bigint | boolean | null | QmpObject | readonly QmpValue[];

/** An object as it comes from QEMU or the guest agent. */
export interface QmpObject {
  readonly [member: string]: QmpValue;
}

/**
 * A 64-bit integer of QAPI (`int`, `int64`, `uint64`, `size`): a `number` where a double holds it exactly, else a `bigint`.
 * Either may be given as an argument. {@link toNumber} and {@link toBigInt} make one of both.
 */
export type Int64 = number | bigint;

/** Whether a value is a JSON object, not an array and not null. */
export function isQmpObject(value: unknown): value is QmpObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value as a `number`. Throws `RangeError` when that would change it. */
export function toNumber(value: Int64): number {
  const number = Number(value);
  if (typeof value === "bigint" && BigInt(number) !== value) throw new RangeError(`${value} does not fit a number`);
  return number;
}

/** The value as a `bigint`. Throws `RangeError` for what is not a whole number. */
export function toBigInt(value: Int64): bigint {
  return BigInt(value);
}
