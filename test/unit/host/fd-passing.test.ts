import { closeSync, openSync } from "node:fs";
import { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { VirtualClock } from "../../../src/core/index.js";
import { defaultFdSender, sendWithFds, socketFd } from "../../../src/host/index.js";
import type { FdSender } from "../../../src/host/index.js";

let fd: number;
beforeEach(() => {
  fd = openSync("/dev/null", "r");
});
afterEach(() => {
  closeSync(fd);
});

const failure = (code: string): Error => Object.assign(new Error(code), { code });

/** A socket that takes what the script says: so many bytes, or an error. */
function scripted(script: readonly (number | string)[]): { readonly sender: FdSender; readonly log: unknown[] } {
  const log: unknown[] = [];
  let step = 0;
  const sender: FdSender = {
    send: (_, data, fds) => {
      const next = script[Math.min(step++, script.length - 1)] ?? 0;
      if (typeof next === "string") throw failure(next);
      log.push([data.subarray(0, next).toString(), ...fds]);
      return Math.min(next, data.length);
    },
    writable: async () => void log.push("wait"),
    duplicate: () => openSync("/dev/null", "r"),
  };
  return { sender, log };
}

describe("sendWithFds", () => {
  it("sends the descriptors with the first byte", async () => {
    const { sender, log } = scripted([100]);
    await sendWithFds(fd, Buffer.from("hello"), [7, 8], { sender });
    expect(log).toEqual([["hello", 7, 8]]);
  });

  it("sends the rest without them when only a part went", async () => {
    const { sender, log } = scripted([2, 2, 100]);
    await sendWithFds(fd, Buffer.from("hello"), [7], { sender });
    expect(log).toEqual([["he", 7], "wait", ["ll"], "wait", ["o"]]);
  });

  it("sends the descriptors once when the socket was full at first", async () => {
    const { sender, log } = scripted(["EAGAIN", 2, 100]);
    await sendWithFds(fd, Buffer.from("hello"), [7], { sender });
    expect(log).toEqual(["wait", ["he", 7], "wait", ["llo"]]);
  });

  it("waits for a full socket, and is not disturbed by signals", async () => {
    const { sender, log } = scripted(["EAGAIN", "EINTR", "EAGAIN", 100]);
    await sendWithFds(fd, Buffer.from("x"), [7], { sender });
    expect(log).toEqual(["wait", "wait", "wait", ["x", 7]]);
  });

  it("gives up on a socket that stays full, and when aborted", async () => {
    const clock = new VirtualClock();
    const { sender } = scripted(["EAGAIN"]);
    const slow: FdSender = { ...sender, writable: (_, ms) => clock.sleep(ms) };
    const late = clock.runUntil(sendWithFds(fd, Buffer.from("x"), [7], { sender: slow, clock, timeoutMs: 1_000 }));
    await expect(late).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect(clock.monotonic()).toBe(1_000);
    await expect(sendWithFds(fd, Buffer.from("x"), [7], { sender, signal: AbortSignal.abort() })).rejects.toMatchObject(
      { code: "ABORTED" },
    );
  });

  it("says what went wrong", async () => {
    const { sender } = scripted(["EPIPE"]);
    await expect(sendWithFds(fd, Buffer.from("x"), [7], { sender })).rejects.toMatchObject({
      code: "FD_PASSING_FAILED",
      errno: "EPIPE",
    });
  });

  it("refuses what can't be sent", async () => {
    const { sender, log } = scripted([1]);
    const bad: [number, Buffer, number[]][] = [
      [-1, Buffer.from("x"), []],
      [fd, Buffer.alloc(0), [7]],
      [fd, Buffer.from("x"), [-1]],
      [fd, Buffer.from("x"), [1.5]],
      [fd, Buffer.from("x"), new Array<number>(254).fill(7)],
    ];
    for (const [socket, data, fds] of bad)
      await expect(sendWithFds(socket, data, fds, { sender })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(log).toEqual([]);
  });

  it("names koffi when it is missing", () => {
    const missing = (): never => {
      throw failure("MODULE_NOT_FOUND");
    };
    expect(() => defaultFdSender(missing)).toThrow(
      expect.objectContaining({ code: "NATIVE_MODULE_MISSING", packages: ["koffi"] }) as Error,
    );
  });
});

describe("socketFd", () => {
  it("is that of a connected socket only", () => {
    const socket = new Socket();
    expect(() => socketFd(socket)).toThrow(
      expect.objectContaining({ code: "FD_PASSING_FAILED", errno: "EBADF" }) as Error,
    );
  });
});
