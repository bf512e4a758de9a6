// Assembles src/kvm/probe/probe-guest.S into src/kvm/probe/probe-guest.ts. Needs binutils (as, ld).
// Run after a change of the source: node scripts/assemble-probe-guest.mjs. With --check it only compares.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const SIZE = 512;
const source = fileURLToPath(new URL("../src/kvm/probe/probe-guest.S", import.meta.url));
const target = fileURLToPath(new URL("../src/kvm/probe/probe-guest.ts", import.meta.url));

/** The last 512 bytes of a 64 KiB firmware image. */
function assemble() {
  const directory = mkdtempSync(join(tmpdir(), "hypervise-probe-guest-"));
  try {
    const [object, script, binary] = ["guest.o", "guest.ld", "guest.bin"].map((name) => join(directory, name));
    writeFileSync(script, `SECTIONS { . = ${0x10000 - SIZE}; .text : { *(.text) } }\n`);
    execFileSync("as", ["-o", object, source]);
    execFileSync("ld", ["-T", script, "--oformat", "binary", "-o", binary, object]);
    const bytes = readFileSync(binary);
    if (bytes.length !== SIZE) throw new Error(`the probe guest has ${bytes.length} bytes, not ${SIZE}`);
    return bytes;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function moduleText(bytes) {
  const lines = bytes.toString("base64").match(/.{1,100}/g);
  return [
    "/** The guest of the accelerator probe as machine code; made from probe-guest.S by scripts/assemble-probe-guest.mjs. */",
    "",
    "/** The last 512 bytes of the firmware image; the CPU begins 16 bytes before its end. */",
    "const CODE =",
    ...lines.map((line, i) => `  ${JSON.stringify(line)}${i < lines.length - 1 ? " +" : ";"}`),
    "",
    "/** QEMU's exit status when the guest has found everything to work, and when an instruction gave a wrong result. */",
    "export const PROBE_EXIT = { works: 0x21, wrong: 0x23 } as const;",
    "",
    "/** A firmware image of 64 KiB, to be started by `-bios`. */",
    "export function probeFirmware(): Buffer {",
    '  const code = Buffer.from(CODE, "base64");',
    "  return Buffer.concat([Buffer.alloc(65_536 - code.length), code]);",
    "}",
    "",
  ].join("\n");
}

const text = moduleText(assemble());
if (!process.argv.includes("--check")) {
  writeFileSync(target, text);
} else if (readFileSync(target, "utf8") !== text) {
  console.error("src/kvm/probe/probe-guest.ts is not what probe-guest.S assembles to");
  process.exitCode = 1;
}
