// One character, of all that Unicode has a place for: for texts that nobody would write.
import fc from "fast-check";

const [FIRST_SURROGATE, SURROGATES, LAST] = [0xd800, 0x800, 0x10ffff];

/** As fast-check's unit `binary`, which takes a second to be made. */
export const anyCodePoint: fc.Arbitrary<string> = fc
  .nat(LAST - SURROGATES)
  .map((place) => String.fromCodePoint(place < FIRST_SURROGATE ? place : place + SURROGATES));
