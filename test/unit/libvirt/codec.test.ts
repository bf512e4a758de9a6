import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InvalidArgumentError } from "../../../src/core/index.js";
import {
  decodeArguments,
  decodeError,
  decodeResult,
  encodeArguments,
  encodeError,
  encodeResult,
} from "../../../src/libvirt/rpc/codec.js";
import { LibvirtProtocolError } from "../../../src/libvirt/rpc/errors.js";
import { PROGRAMS, procedureNamed, procedureNumbered } from "../../../src/libvirt/rpc/procedures.js";
import { proceduresOf } from "../../../src/libvirt/rpc/protocol/schema.js";
import type { ProgramName } from "../../../src/libvirt/rpc/procedure.js";
import { structOf } from "./arbitraries.js";
import { SampleValues } from "./sample-value.js";

/** Made, and checked with C, by scripts/generate-libvirt/wire-vectors.ts. */
const vectorsFile = new URL("../../fixtures/libvirt/wire-vectors.json", import.meta.url);
const vectors = JSON.parse(readFileSync(vectorsFile, "utf8")) as Readonly<Record<string, string>>;

const everyProcedure = (["remote", "qemu", "lxc"] as const).flatMap((program) => proceduresOf(program));
const domain = { name: "vm", uuid: "6c8c9b0c-8d1e-4f5b-9a0f-0123456789ab", id: -1 };

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("the procedures of libvirt's protocol", () => {
  it("are all there, by name and by number", () => {
    expect(proceduresOf("remote")).toHaveLength(453);
    expect(proceduresOf("qemu")).toHaveLength(7);
    expect(proceduresOf("lxc")).toHaveLength(1);
    for (const procedure of everyProcedure) {
      const { program, name, number } = procedure;
      expect(procedureNamed(program, name)).toBe(procedure);
      expect(procedureNumbered(program, number)).toBe(procedure);
    }
    expect(procedureNumbered("remote", 0)).toBeUndefined();
    expect(procedureNumbered("remote", 454)).toBeUndefined();
    expect(() => procedureNamed("remote", "toString")).toThrow(InvalidArgumentError);
    expect(PROGRAMS.remote.number).toBe(0x20008086);
  });

  it("say which are events, which open streams, and which pass descriptors", () => {
    const names = (wanted: (procedure: (typeof everyProcedure)[number]) => boolean): string[] =>
      everyProcedure.filter(wanted).map((procedure) => procedure.name);
    expect(names((p) => p.kind === "event")).toHaveLength(54);
    expect(names((p) => p.stream === "both")).toEqual(["domainOpenConsole", "domainOpenChannel"]);
    expect(names((p) => p.stream === "read")).toEqual(["storageVolDownload", "domainScreenshot"]);
    expect(names((p) => p.stream === "write")).toEqual([
      "domainMigratePrepareTunnel",
      "storageVolUpload",
      "domainMigratePrepareTunnel3",
      "domainMigratePrepareTunnel3Params",
    ]);
    expect(names((p) => p.sparseFlag === true)).toEqual(["storageVolUpload", "storageVolDownload"]);
    expect(names((p) => p.passesFds === true)).toHaveLength(7);
    expect(procedureNamed("remote", "domainGetXmlDesc")).toMatchObject({ number: 14, priority: "low" });
    expect(procedureNamed("remote", "domainDestroy")).toMatchObject({ number: 12, priority: "high" });
  });
});

describe("the codec", () => {
  it("reads back whatever it writes, for the arguments and the result of every procedure", () => {
    for (const procedure of everyProcedure) {
      if (procedure.kind === "call") {
        const args = structOf(procedure.arguments);
        fc.assert(
          fc.property(args, (value) => {
            const bytes = encodeArguments(procedure, value);
            expect(bytes.length % 4).toBe(0);
            expect(decodeArguments(procedure, bytes)).toEqual(value);
          }),
          { numRuns: 4 },
        );
      }
      const result = structOf(procedure.kind === "event" ? procedure.arguments : procedure.result);
      fc.assert(
        fc.property(result, (value) => {
          expect(decodeResult(procedure, encodeResult(procedure, value))).toEqual(value);
        }),
        { numRuns: 4 },
      );
    }
  });

  it("refuses a message that ends early, wherever it ends", () => {
    for (const procedure of everyProcedure) {
      const shape = procedure.kind === "event" ? procedure.arguments : procedure.result;
      const [value] = fc.sample(structOf(shape), { numRuns: 1, seed: procedure.number });
      const bytes = encodeResult(procedure, value);
      for (let length = 0; length < bytes.length; length += 1) {
        const error = thrownBy(() => decodeResult(procedure, bytes.subarray(0, length)));
        expect(error).toBeInstanceOf(LibvirtProtocolError);
      }
    }
  });

  it("takes any bytes without another failure than the one it declares", () => {
    const program = fc.constantFrom<ProgramName>("remote", "qemu");
    const words = fc.array(fc.oneof(fc.constantFrom(0, 1, 2, 3, 7, 16), fc.integer({ min: 0, max: 0xffffffff })), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(program, fc.nat(), words, (name, pick, numbers) => {
        const all = proceduresOf(name);
        const procedure = all[pick % all.length];
        if (procedure === undefined) return;
        const bytes = Buffer.alloc(numbers.length * 4);
        numbers.forEach((number, i) => bytes.writeUInt32BE(number, i * 4));
        for (const decode of [decodeArguments, decodeResult]) {
          const error = thrownBy(() => decode(procedure, bytes));
          if (error !== undefined) expect(error).toBeInstanceOf(LibvirtProtocolError);
        }
      }),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const error = thrownBy(() => decodeError(bytes));
        if (error !== undefined) expect(error).toBeInstanceOf(LibvirtProtocolError);
      }),
    );
  });

  it("believes no length that the bytes or the protocol do not bear out", () => {
    const list = procedureNamed("remote", "connectListAllDomains");
    const xml = procedureNamed("remote", "domainGetXmlDesc");
    const peek = procedureNamed("remote", "domainBlockPeek");
    const label = procedureNamed("remote", "domainGetSecurityLabel");
    for (const [procedure, first] of [
      [list, 16_385],
      [list, 16_384],
      [list, 0xffffffff],
      [xml, 4_194_305],
      [xml, 4_194_304],
      [xml, 0x80000000],
      [xml, 0xffffffff],
      [peek, 4_194_305],
      [peek, 0xfffffffd],
      [label, 4_098],
      [label, 4_097],
    ] as const) {
      const bytes = Buffer.alloc(64);
      bytes.writeUInt32BE(first);
      expect(() => decodeResult(procedure, bytes)).toThrow(LibvirtProtocolError);
    }
  });

  it("ignores what a newer daemon says after the value", () => {
    const procedure = procedureNamed("remote", "domainGetState");
    const bytes = Buffer.concat([encodeResult(procedure, { state: 1, reason: 2 }), Buffer.alloc(8, 1)]);
    expect(decodeResult(procedure, bytes)).toEqual({ state: 1, reason: 2 });
  });

  it("refuses numbers that are not what C keeps there: booleans, characters, types", () => {
    const open = procedureNamed("remote", "connectOpen");
    const info = procedureNamed("remote", "storageVolGetInfo");
    const params = procedureNamed("remote", "domainGetJobStats");
    expect(() => decodeArguments(open, Buffer.from("0000000200000000", "hex"))).toThrow(LibvirtProtocolError);
    expect(() => decodeResult(info, Buffer.concat([Buffer.from("00000100", "hex"), Buffer.alloc(16)]))).toThrow(
      LibvirtProtocolError,
    );
    const unknownType = Buffer.from("00000000" + "00000001" + "00000001" + "61000000" + "00000008" + "00000000", "hex");
    expect(() => decodeResult(params, unknownType)).toThrow(LibvirtProtocolError);
  });

  it("names the path of what it can't send", () => {
    const info = procedureNamed("remote", "domainGetInfo");
    const memory = procedureNamed("remote", "domainSetMemory");
    const key = procedureNamed("remote", "domainSendKey");
    const cases: [ReturnType<typeof procedureNamed>, unknown, string][] = [
      [info, { dom: { ...domain, uuid: "no" } }, "arguments.dom.uuid"],
      [info, { dom: { ...domain, name: "a\0b" } }, "arguments.dom.name"],
      [info, { dom: { ...domain, name: "x".repeat(4_194_305) } }, "arguments.dom.name"],
      [info, { dom: { ...domain, name: "\ud800" } }, "arguments.dom.name"],
      [info, { dom: { ...domain, id: 2 ** 31 } }, "arguments.dom.id"],
      [info, { dom: { ...domain, id: 1.5 } }, "arguments.dom.id"],
      [info, { dom: undefined }, "arguments.dom"],
      [info, { dom: domain, flags: 1 }, "arguments.flags"],
      [info, "nothing", "arguments"],
      [memory, { dom: domain, memory: 5 }, "arguments.memory"],
      [memory, { dom: domain, memory: -1n }, "arguments.memory"],
      [memory, { dom: domain, memory: 2n ** 64n }, "arguments.memory"],
      [key, { dom: domain, codeset: 0, holdtime: 0, keycodes: [1, -1], flags: 0 }, "arguments.keycodes[1]"],
      [key, { dom: domain, codeset: 0, holdtime: 0, keycodes: Array(17).fill(1), flags: 0 }, "arguments.keycodes"],
    ];
    for (const [procedure, value, field] of cases) {
      const error = thrownBy(() => encodeArguments(procedure, value));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error).toMatchObject({ field });
    }
  });

  it("counts bytes, not characters, against the length of a text", () => {
    const lookup = procedureNamed("remote", "domainLookupByName");
    expect(encodeArguments(lookup, { name: "ä".repeat(2_097_152) })).toHaveLength(4_194_308);
    expect(() => encodeArguments(lookup, { name: "ä".repeat(2_097_153) })).toThrow(InvalidArgumentError);
  });

  it("keeps names that are no UTF-8, byte for byte", () => {
    const list = procedureNamed("remote", "storagePoolListVolumes");
    const raw = Buffer.from([0x61, 0xff, 0xc3, 0xa4, 0xed, 0xa0, 0x80, 0xc0, 0x80, 0xf4, 0x90, 0x80, 0x80, 0xe2, 0x82]);
    const bytes = Buffer.concat([Buffer.from([0, 0, 0, 1, 0, 0, 0, raw.length]), raw, Buffer.alloc(1)]);
    const result = decodeResult(list, bytes) as { names: string[] };
    expect(result.names[0]).toContain("ä");
    expect(encodeResult(list, result)).toEqual(bytes);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 24 }), (random) => {
        const name = Buffer.from(random.filter((byte) => byte !== 0));
        const padding = Buffer.alloc(-name.length & 3);
        const all = Buffer.concat([Buffer.from([0, 0, 0, 1, 0, 0, 0, name.length]), name, padding]);
        expect(encodeResult(list, decodeResult(list, all))).toEqual(all);
      }),
    );
  });

  it("refuses a text with a NUL, which libvirt would cut there", () => {
    const lookup = procedureNamed("remote", "domainLookupByName");
    const bytes = Buffer.from("00000004" + "61006200", "hex");
    expect(() => decodeArguments(lookup, bytes)).toThrow(LibvirtProtocolError);
  });

  it("takes a UUID with and without dashes, in either case", () => {
    const lookup = procedureNamed("remote", "domainLookupByUuid");
    const expected = Buffer.from(domain.uuid.replaceAll("-", ""), "hex");
    expect(encodeArguments(lookup, { uuid: domain.uuid.toUpperCase() })).toEqual(expected);
    expect(encodeArguments(lookup, { uuid: domain.uuid.replaceAll("-", "") })).toEqual(expected);
    expect(decodeArguments(lookup, expected)).toEqual({ uuid: domain.uuid });
  });

  it("reads errors, with what the daemon leaves out left out", () => {
    const error = { code: 42, domain: 10, level: 2, message: "Domain not found", str2: "vm", int1: -1, int2: 0 };
    expect(decodeError(encodeError(error))).toEqual(error);
    const bare = { code: 1, domain: 0, level: 2, int1: 0, int2: 0 };
    expect(decodeError(encodeError(bare))).toEqual(bare);
  });
});

describe("the wire", () => {
  it("is what the C codec of libvirt's own protocol files reads and writes, for every procedure", () => {
    let checked = 0;
    for (const program of ["remote", "qemu", "lxc"] as const) {
      const samples = new SampleValues();
      for (const procedure of proceduresOf(program)) {
        const name = `${program}.${procedure.name}`;
        const bytesOf = (key: string): Buffer => Buffer.from(vectors[key] ?? "", "base64");
        if (procedure.kind === "call") {
          const args = samples.of(procedure.arguments);
          expect(encodeArguments(procedure, args), name).toEqual(bytesOf(`${name}.arguments`));
          expect(decodeArguments(procedure, bytesOf(`${name}.arguments`)), name).toEqual(args);
        }
        const result = samples.of(procedure.kind === "event" ? procedure.arguments : procedure.result);
        const key = procedure.kind === "event" ? name : `${name}.result`;
        expect(encodeResult(procedure, result), name).toEqual(bytesOf(key));
        expect(decodeResult(procedure, bytesOf(key)), name).toEqual(result);
        checked += 1;
      }
    }
    expect(checked).toBe(461);
  });
});
