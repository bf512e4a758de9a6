import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FrameDecoder, MAX_FRAME_BYTES, encodeFrame } from "../../../src/libvirt/rpc/frame.js";
import type { Frame } from "../../../src/libvirt/rpc/frame.js";

const HEADER = { program: 0x20008086, version: 1, procedure: 16, type: 1, serial: 7, status: 0 };

function decodeAll(bytes: Buffer, cuts: readonly number[]): Frame[] {
  const frames: Frame[] = [];
  const decoder = new FrameDecoder((frame) => frames.push(frame));
  let from = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    decoder.push(bytes.subarray(from, Math.max(from, cut)));
    from = Math.max(from, cut);
  }
  decoder.push(bytes.subarray(from));
  return frames;
}

describe("frames", () => {
  it("come out as they went in, wherever the bytes between are cut", () => {
    const frame = fc.record({
      program: fc.nat({ max: 0xffff_ffff }),
      version: fc.nat({ max: 3 }),
      procedure: fc.integer({ min: -1, max: 500 }),
      type: fc.constantFrom(0, 1, 2, 3, 5, 6),
      serial: fc.nat({ max: 0xffff_ffff }),
      status: fc.integer({ min: 0, max: 2 }),
      payload: fc.uint8Array({ maxLength: 200 }),
      fds: fc.nat({ max: 32 }),
    });
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 8 }),
        fc.array(fc.nat({ max: 2000 }), { maxLength: 20 }),
        (sent, cuts) => {
          const bytes = Buffer.concat(
            sent.flatMap(({ payload, fds, ...header }) =>
              header.type === 5
                ? [encodeFrame(header, payload, fds), Buffer.alloc(fds)]
                : [encodeFrame(header, payload)],
            ),
          );
          const got = decodeAll(
            bytes,
            cuts.filter((cut) => cut <= bytes.length),
          );
          expect(got).toEqual(
            sent.map(({ payload, fds, ...header }) => ({
              ...header,
              payload: Buffer.from(payload),
              fdCount: header.type === 5 ? fds : 0,
            })),
          );
        },
      ),
    );
  });

  it("carry libvirt's longest payload, whose memory is taken as it comes", () => {
    const payload = Buffer.alloc(MAX_FRAME_BYTES - 28, 3);
    const frames: Frame[] = [];
    const decoder = new FrameDecoder((frame) => frames.push(frame));
    const bytes = encodeFrame(HEADER, payload);
    for (let i = 0; i < bytes.length; i += 65_536) {
      decoder.push(bytes.subarray(i, i + 65_536));
      expect(decoder.buffered).toBeLessThanOrEqual(i + 65_536);
    }
    expect(frames[0]?.payload.equals(payload)).toBe(true);
    expect(decoder.buffered).toBe(0);
  });

  it.each([0, 1, 27, MAX_FRAME_BYTES + 1, 0x7fff_ffff, 0xffff_ffff])(
    "of %i bytes are refused before anything is kept",
    (length) => {
      const decoder = new FrameDecoder(() => expect.unreachable());
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(length);
      decoder.push(bytes.subarray(0, 3));
      expect(() => decoder.push(bytes.subarray(3))).toThrow(expect.objectContaining({ code: "LIBVIRT_PROTOCOL" }));
      decoder.push(Buffer.alloc(100));
      expect(decoder.buffered).toBe(0);
    },
  );
});
