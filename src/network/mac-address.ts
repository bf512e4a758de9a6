/** MAC addresses for guests: generated ones, and those of the host's ends of their links. */
import { createHash, randomBytes } from "node:crypto";
import { InvalidArgumentError } from "../core/index.js";

/** The prefix that OpenStack gives its ports: unicast, locally administered. */
export const DEFAULT_MAC_PREFIX = "fa:16:3e";

const PREFIX = /^[0-9a-f]{2}(?::[0-9a-f]{2}){2}$/;

export interface MacGeneratorOptions {
  /** First three bytes, lower case, unicast and locally administered. Default {@link DEFAULT_MAC_PREFIX}. */
  readonly prefix?: string;
  /** The same seed gives the same addresses in the same order; default: random ones. */
  readonly seed?: string;
}

/**
 * A generator of MAC addresses. Random ones may repeat (24 bits): check those in use before taking one.
 * @throws InvalidArgumentError when the prefix is not of three bytes, multicast, or one that manufacturers assign.
 */
export function createMacGenerator(options: MacGeneratorOptions = {}): () => string {
  const { prefix = DEFAULT_MAC_PREFIX, seed } = options;
  const first = PREFIX.test(prefix) ? parseInt(prefix.slice(0, 2), 16) : 0;
  if ((first & 0b11) !== 0b10) {
    const expected = "three bytes such as fa:16:3e, unicast and locally administered";
    throw new InvalidArgumentError({ field: "prefix", value: prefix, expected });
  }
  let count = 0;
  const next = (): Buffer =>
    seed === undefined ? randomBytes(3) : createHash("sha256").update(`${seed}\n${count++}`).digest().subarray(0, 3);
  return () => `${prefix}:${[...next()].map((byte) => byte.toString(16).padStart(2, "0")).join(":")}`;
}

/**
 * The address of the host's end of a guest's TAP: the guest's with `fe` as its first byte. A bridge takes the lowest
 * address of its ports for its own: one with an uplink keeps its address when guests come and go.
 */
export function tapMacOf(guestMac: string): string {
  return `${guestMac.startsWith("fe:") ? "fa" : "fe"}${guestMac.slice(2)}`;
}
