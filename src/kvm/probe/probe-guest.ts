/** The guest of the accelerator probe as machine code; made from probe-guest.S by scripts/assemble-probe-guest.mjs. */

/** The last 512 bytes of the firmware image; the CPU begins 16 bytes before its end. */
const CODE =
  "+vwxwI7YLmYPARZg/2bHBgAQAyAAAGbHBgAgAzAAAGbHBgAwgwAAAGa4IAYAAA8i4Ga4ABAAAA8i2Ga5gAAAwA8yZg0AAQAADzBm" +
  "uBEAAIAPIsBm6lv+DwAIAGa4EACO2I7AjtC8AIAAAEiNBc8AAAC/MEAAAGaJB2bHRwIIAGbHRwQAjkjB6BCJRwYPAR3TAAAAuAEA" +
  "AAAPoonND7rlDXM4vwBQAADHBxEAAADHRwgiAAAAuBEAAAC6IgAAALszAAAAuUQAAADwSA/HD3Vngz8zdWKDfwhEdVwPuuUac0EP" +
  "IOANAAAEAA8i4DHJMdK4AwAAAA8B0btaAAAAZkgPbsu/AGAAAA+uJ2YP78m4AwAAADHSD64vZkgPfshIOdh1FTH2zIP+AXUNuYDw" +
  "+gL/yXX8sBDrArARZroBBe706/3/xkjPjbQAAAAAAAAAAAAAAAAAAACaIAAAAAAAAJIAABcASP8PAD8AAEAAAAAAAAAAAAAAAAAA" +
  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" +
  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAOoA/gDwAAAAAAAAAAAAAAA=";

/** QEMU's exit status when the guest has found everything to work, and when an instruction gave a wrong result. */
export const PROBE_EXIT = { works: 0x21, wrong: 0x23 } as const;

/** A firmware image of 64 KiB, to be started by `-bios`. */
export function probeFirmware(): Buffer {
  const code = Buffer.from(CODE, "base64");
  return Buffer.concat([Buffer.alloc(65_536 - code.length), code]);
}
