/** Sizes as libvirt's XML has them. */
import { refusal } from "./refuse.js";

const EXPONENTS: Readonly<Record<string, readonly [base: bigint, exponent: bigint]>> = {
  b: [1n, 0n],
  bytes: [1n, 0n],
  byte: [1n, 0n],
  kb: [1000n, 1n],
  k: [1024n, 1n],
  kib: [1024n, 1n],
  mb: [1000n, 2n],
  m: [1024n, 2n],
  mib: [1024n, 2n],
  gb: [1000n, 3n],
  g: [1024n, 3n],
  gib: [1024n, 3n],
  tb: [1000n, 4n],
  t: [1024n, 4n],
  tib: [1024n, 4n],
};

/** Bytes of a number with a unit. */
export function bytesOf(amount: number | bigint, unit: string): bigint {
  const known = EXPONENTS[unit.toLowerCase()];
  if (known === undefined) throw refusal("invalidArg", "none", `invalid argument: unknown suffix '${unit}'`);
  return BigInt(amount) * known[0] ** known[1];
}
