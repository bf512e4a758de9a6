/**
 * Writes `test/fixtures/libvirt/wire-vectors.json`: a message of every procedure as bytes, each of which the C codec that
 * rpcgen makes of libvirt's protocol files has read to its end and written again the same.
 *
 *     node --import tsx scripts/generate-libvirt/wire-vectors.ts [FOLDER]     libvirt's sources, default: Debian trixie's
 *
 * Needs gcc, pkg-config and the packages rpcsvc-proto and libtirpc-dev.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { encodeArguments, encodeResult } from "../../src/libvirt/rpc/codec.js";
import type { ProgramName } from "../../src/libvirt/rpc/procedure.js";
import { proceduresOf } from "../../src/libvirt/rpc/protocol/schema.js";
import { SampleValues } from "../../test/unit/libvirt/sample-value.js";
import { cacheDirectory } from "../lib/cache-directory.mjs";
import { fetchLibvirtProtocol } from "../lib/libvirt-source.mjs";
import { parseProtocol } from "./protocol-parser.js";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const TARGET = join(ROOT, "test", "fixtures", "libvirt", "wire-vectors.json");
/** Constants that the protocol files take from libvirt's headers. */
const HEADER_CONSTANTS = `
  const VIR_UUID_BUFLEN = 16; const VIR_SECURITY_MODEL_BUFLEN = 257; const VIR_SECURITY_LABEL_BUFLEN = 4097;
  const VIR_SECURITY_DOI_BUFLEN = 257; const VIR_TYPED_PARAM_INT = 1; const VIR_TYPED_PARAM_UINT = 2;
  const VIR_TYPED_PARAM_LLONG = 3; const VIR_TYPED_PARAM_ULLONG = 4; const VIR_TYPED_PARAM_DOUBLE = 5;
  const VIR_TYPED_PARAM_BOOLEAN = 6; const VIR_TYPED_PARAM_STRING = 7;
`;

interface Message {
  readonly name: string;
  readonly struct: string;
  readonly bytes: Buffer;
}

function messages(program: ProgramName, source: string): Message[] {
  const { enums, structs } = parseProtocol(source, program);
  const samples = new SampleValues();
  return (enums.get(`${program}_procedure`) ?? []).flatMap((item): Message[] => {
    const procedure = proceduresOf(program)[item.value - 1];
    if (procedure === undefined) throw new Error(`${item.name} is not in the tables`);
    const base = item.name.toLowerCase().replace("_proc_", "_");
    if (procedure.kind === "event") {
      const bytes = encodeResult(procedure, samples.of(procedure.arguments));
      return [{ name: `${program}.${procedure.name}`, struct: `${base}_msg`, bytes }];
    }
    const args = encodeArguments(procedure, samples.of(procedure.arguments));
    const result = encodeResult(procedure, samples.of(procedure.result));
    const parts = [
      { name: `${program}.${procedure.name}.arguments`, struct: `${base}_args`, bytes: args },
      { name: `${program}.${procedure.name}.result`, struct: `${base}_ret`, bytes: result },
    ];
    return parts.filter((part) => {
      if (!structs.has(part.struct) && part.bytes.length > 0) throw new Error(`${part.name} is void in C`);
      return structs.has(part.struct);
    });
  });
}

const PROGRAM = (structs: readonly string[]): string => `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "all.h"
static struct { const char *name; xdrproc_t codec; size_t size; } types[] = {
${structs.map((name) => `  { "${name}", (xdrproc_t)xdr_${name}, sizeof(${name}) },`).join("\n")}
};
static char line[1 << 22];
int main(void) {
  char name[256];
  while (scanf("%255s %4194303s", name, line) == 2) {
    size_t i, length = strlen(line) / 2;
    unsigned char *in = malloc(length), *out = calloc(1, length + 64);
    for (i = 0; i < length; i++) sscanf(line + 2 * i, "%2hhx", &in[i]);
    for (i = 0; strcmp(types[i].name, name) != 0; i++);
    void *value = calloc(1, types[i].size);
    XDR reader, writer;
    xdrmem_create(&reader, (char *)in, length, XDR_DECODE);
    xdrmem_create(&writer, (char *)out, length + 64, XDR_ENCODE);
    int ok = types[i].codec(&reader, value) && xdr_getpos(&reader) == length && types[i].codec(&writer, value);
    printf("%s ", ok ? "ok" : "refused");
    for (size_t j = 0; j < xdr_getpos(&writer); j++) printf("%02x", out[j]);
    printf("\\n");
  }
  return 0;
}
`;

/** What C makes of each message: its bytes, or nothing when it refused them. */
function throughC(sources: readonly string[], all: readonly Message[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), "hypervise-rpcgen-"));
  try {
    const text = HEADER_CONSTANTS + sources.join("\n").replace(/^%.*$/gm, "");
    writeFileSync(join(folder, "all.x"), text);
    const run = (command: string, ...args: string[]): string =>
      execFileSync(command, args, { cwd: folder, encoding: "utf8", maxBuffer: 2 ** 28 });
    run("rpcgen", "-h", "-o", "all.h", "all.x");
    run("rpcgen", "-c", "-o", "codec.c", "all.x");
    writeFileSync(join(folder, "main.c"), PROGRAM([...new Set(all.map((message) => message.struct))]));
    const flags = run("pkg-config", "--cflags", "--libs", "libtirpc").trim().split(/\s+/);
    run("gcc", "-w", "-O1", "-o", "vectors", "main.c", "codec.c", ...flags);
    const input = all.map(({ struct, bytes }) => `${struct} ${bytes.toString("hex")}\n`).join("");
    const output = execFileSync(join(folder, "vectors"), { input, encoding: "utf8", maxBuffer: 2 ** 28 });
    return output.trim().split("\n");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const folder = process.argv[2] ?? (await fetchLibvirtProtocol("trixie", cacheDirectory()));
const programs: readonly ProgramName[] = ["remote", "qemu", "lxc"];
const sources = programs.map((name) => readFileSync(join(folder, "src", "remote", `${name}_protocol.x`), "utf8"));
const all = programs.flatMap((program, i) => messages(program, sources[i] ?? ""));
const answers = throughC(sources, all);
all.forEach(({ name, bytes }, i) => {
  const expected = `ok ${bytes.toString("hex")}`;
  if (answers[i] !== expected) throw new Error(`${name}: C says "${answers[i]}" of\n${bytes.toString("hex")}`);
});
const vectors = all.map(({ name, bytes }) => `${JSON.stringify(name)}: ${JSON.stringify(bytes.toString("base64"))}`);
mkdirSync(dirname(TARGET), { recursive: true });
writeFileSync(TARGET, `{\n${vectors.join(",\n")}\n}\n`);
console.log(`${all.length} messages, read and written by C as by us`);
