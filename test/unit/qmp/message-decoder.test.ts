import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { QmpProtocolError } from "../../../src/qmp/errors.js";
import { LineSplitter } from "../../../src/qmp/line-splitter.js";
import { MessageDecoder } from "../../../src/qmp/message-decoder.js";
import type { MessageDecoderOptions } from "../../../src/qmp/message-decoder.js";
import type { QmpObject } from "../../../src/qmp/qmp-value.js";

/** Cuts bytes at the given places, in any order and number. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...sorted, bytes.length].map((end, i) => bytes.subarray(i === 0 ? 0 : sorted[i - 1], end));
}

function decode(chunks: readonly Buffer[], options: MessageDecoderOptions = {}): (QmpObject | "marker")[] {
  const messages: (QmpObject | "marker")[] = [];
  const decoder = new MessageDecoder(
    { message: (message) => messages.push(message), marker: () => messages.push("marker") },
    options,
  );
  for (const chunk of chunks) decoder.push(chunk);
  return messages;
}

function faultOf(fn: () => unknown): string | undefined {
  try {
    fn();
  } catch (error) {
    expect(error).toBeInstanceOf(QmpProtocolError);
    return (error as QmpProtocolError).fault;
  }
  return undefined;
}

describe("MessageDecoder", () => {
  it("gives the same messages however the bytes are split", () => {
    const text = fc.string({ unit: "grapheme" });
    const message = fc.record({ id: fc.integer(), return: fc.dictionary(text, text) });
    fc.assert(
      fc.property(fc.array(message), fc.array(fc.nat()), fc.constantFrom("\n", "\r\n"), (messages, places, ending) => {
        const bytes = Buffer.from(messages.map((m) => JSON.stringify(m) + ending).join(""));
        expect(decode(cut(bytes, places))).toEqual(messages.map((m) => JSON.parse(JSON.stringify(m)) as unknown));
      }),
    );
  });

  it("keeps 64-bit integers wherever they stand in a message", () => {
    fc.assert(
      fc.property(
        fc.string({ maxLength: 40 }),
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
        (padding, value) => {
          const bytes = Buffer.from(`{"p":${JSON.stringify(padding)},"v":${value}}\n`);
          const [message] = decode([bytes]);
          expect(BigInt((message as QmpObject)["v"] as bigint)).toBe(value);
        },
      ),
    );
  });

  it("skips blank lines", () => {
    expect(decode([Buffer.from('\r\n\n  \n{"a":1}\r\n\r\n')])).toEqual([{ a: 1 }]);
  });

  it("reads a message of megabytes that comes in small pieces", () => {
    const long = "x".repeat(3 * 1024 * 1024);
    const bytes = Buffer.from(`{"return":"${long}"}\n`);
    const chunks: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += 100) chunks.push(bytes.subarray(at, at + 100));
    expect(decode(chunks)).toEqual([{ return: long }]);
  });

  it.each<[string, string, string]>([
    ["text", "hello\n", "not-json"],
    ["half an object", '{"a":\n', "not-json"],
    ["an array", "[1]\n", "not-a-message"],
    ["a number", "7\n", "not-a-message"],
    ["binary data", "\u0000\u0001\u0002\n", "not-json"],
  ])("refuses %s", (_, text, fault) => {
    expect(faultOf(() => decode([Buffer.from(text)]))).toBe(fault);
  });

  it("refuses a line as soon as it is longer than the bound, whether it ends or not", () => {
    expect(faultOf(() => decode([Buffer.alloc(60, 0x20), Buffer.alloc(60, 0x20)], { maxMessageBytes: 100 }))).toBe(
      "too-long",
    );
    expect(faultOf(() => decode([Buffer.from(`${" ".repeat(101)}\n`)], { maxMessageBytes: 100 }))).toBe("too-long");
  });

  it("refuses great messages of too many parts before building them", () => {
    expect(faultOf(() => decode([Buffer.from(`${"[".repeat(2 * 1024 * 1024)}\n`)]))).toBe("too-complex");
    expect(faultOf(() => decode([Buffer.from(`{"a":[${"0,".repeat(2.2e6)}0]}\n`)]))).toBe("too-complex");
  });

  it("refuses deep nesting from a guest at once", () => {
    const deep = `{"a":${"[".repeat(1100)}${"]".repeat(1100)}}\n`;
    expect(faultOf(() => decode([Buffer.from(deep)], { guestAgent: true }))).toBe("too-complex");
  });

  it("does not take brackets inside strings for nesting", () => {
    const text = JSON.stringify({ a: `${'[\\"'.repeat(2000)}` });
    expect(decode([Buffer.from(`${text}\n`)], { guestAgent: true })).toEqual([JSON.parse(text)]);
  });

  it("drops what stands before the byte 0xFF of a guest agent, however it is split", () => {
    const bytes = Buffer.concat([Buffer.from('{"a":1}\n{"half'), Buffer.from([0xff]), Buffer.from('{"return":7}\n')]);
    fc.assert(
      fc.property(fc.array(fc.nat()), (places) => {
        expect(decode(cut(bytes, places), { guestAgent: true })).toEqual([{ a: 1 }, "marker", { return: 7 }]);
      }),
    );
  });
});

describe("LineSplitter", () => {
  it("holds no more than the line that has not ended", () => {
    const splitter = new LineSplitter({ line: () => undefined }, { maxLineBytes: 10_000_000 });
    splitter.push(Buffer.from("a".repeat(1000)));
    expect(splitter.pendingBytes).toBe(1000);
    splitter.push(Buffer.from("\nbc"));
    expect(splitter.pendingBytes).toBe(2);
  });
});
