import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openTap, linkExists, sendWithFds, socketFd, writeWithFds } from "../../../src/host/index.js";

const python = existsSync("/usr/bin/python3") ? "/usr/bin/python3" : undefined;
const qemu = existsSync("/usr/bin/qemu-system-x86_64") ? "/usr/bin/qemu-system-x86_64" : undefined;

let dir: string;
const children: { readonly child: ChildProcess; readonly exited: Promise<unknown> }[] = [];
const sockets: Socket[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "hv-fd-"));
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const { child, exited } of children.splice(0)) {
    child.kill("SIGKILL");
    await exited;
  }
  rmSync(dir, { recursive: true, force: true });
});

function start(command: string, args: readonly string[]): ChildProcess {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  children.push({ child, exited: new Promise((resolve) => child.once("exit", resolve)) });
  return child;
}

async function connected(path: string): Promise<Socket> {
  for (;;) {
    const socket = connect({ path, allowHalfOpen: true });
    const error = await new Promise<Error | undefined>((resolve) =>
      socket.once("connect", () => resolve(undefined)).once("error", resolve),
    );
    if (error === undefined) {
      sockets.push(socket);
      return socket.on("error", () => undefined);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Reads whole JSON lines from a stream. */
function lines(stream: NodeJS.ReadableStream): () => Promise<Record<string, unknown>> {
  const queue: string[] = [];
  const waiting: ((line: string) => void)[] = [];
  let rest = "";
  stream.on("data", (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) {
      const next = waiting.shift();
      if (next === undefined) queue.push(part);
      else next(part);
    }
  });
  return async () => {
    const line = queue.shift() ?? (await new Promise<string>((resolve) => waiting.push(resolve)));
    return JSON.parse(line) as Record<string, unknown>;
  };
}

/** Takes messages with descriptors when told to by a line, and reports what it got; keeps its socket buffer small. */
const RECEIVER = `
import array, json, os, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.bind(sys.argv[1]); server.listen(1)
peer, _ = server.accept()
print(json.dumps({"accepted": True}), flush=True)
for line in sys.stdin:
    want = int(line)
    data, contents, count = b"", [], 0
    while len(data) < want:
        part, ancillary, flags, _ = peer.recvmsg(want - len(data), socket.CMSG_SPACE(253 * 4))
        if not part: break
        for level, kind, payload in ancillary:
            fds = array.array("i"); fds.frombytes(payload[:len(payload) - len(payload) % 4])
            for fd in fds:
                count += 1
                contents.append(os.pread(fd, 100, 0).decode()); os.close(fd)
        data += part
    print(json.dumps({"bytes": len(data), "first": data[:20].decode(), "last": data[-5:].decode(), "count": count, "contents": contents[:3]}), flush=True)
`;

describe.runIf(python !== undefined)("descriptors over a UNIX socket", () => {
  async function receiver(): Promise<{ socket: Socket; take: (bytes: number) => Promise<Record<string, unknown>> }> {
    const path = join(dir, "peer.sock");
    const child = start(python ?? "", ["-c", RECEIVER, path]);
    const next = lines(child.stdout as NodeJS.ReadableStream);
    const socket = await connected(path);
    expect(await next()).toEqual({ accepted: true });
    return {
      socket,
      take: (bytes) => {
        child.stdin?.write(`${bytes}\n`);
        return next();
      },
    };
  }

  function file(content: string): number {
    writeFileSync(join(dir, content), content);
    return openSync(join(dir, content), "r");
  }

  it("arrive with the data, in their order, and ours stay open", async () => {
    const { socket, take } = await receiver();
    const fds = [file("one"), file("two")];
    await sendWithFds(socketFd(socket), Buffer.from("hello"), fds);
    expect(await take(5)).toEqual({ bytes: 5, first: "hello", last: "hello", count: 2, contents: ["one", "two"] });
    for (const fd of fds) {
      expect(readFileSync(fd, "utf8")).not.toBe("");
      closeSync(fd);
    }
    await sendWithFds(socketFd(socket), Buffer.from("plain"), []);
    expect(await take(5)).toMatchObject({ first: "plain", count: 0 });
  });

  it("may be 253 at once", async () => {
    const { socket, take } = await receiver();
    const fd = file("x");
    await sendWithFds(socketFd(socket), Buffer.from("many!"), new Array<number>(253).fill(fd));
    expect(await take(5)).toMatchObject({ count: 253 });
    closeSync(fd);
  });

  it("wait for a peer that does not read yet, and are not torn by other writes", async () => {
    const { socket, take } = await receiver();
    const fd = file("x");
    const before = Buffer.alloc(3_000_000, "b");
    const data = Buffer.concat([Buffer.from("{fd}"), Buffer.alloc(2_000_000, "d"), Buffer.from("-end-")]);
    socket.write(before);
    const sending = writeWithFds(socket, data, [fd]);
    expect(await take(before.length)).toMatchObject({ count: 0 });
    while (socket.writableLength > 0) await new Promise((resolve) => setImmediate(resolve));
    socket.write("after");
    const taken = take(data.length);
    await sending;
    expect(await taken).toEqual({
      bytes: data.length,
      first: `{fd}${"d".repeat(16)}`,
      last: "-end-",
      count: 1,
      contents: ["x"],
    });
    expect(await take(5)).toMatchObject({ first: "after" });
    closeSync(fd);
  });

  it("are given up when the peer never reads", async () => {
    const { socket } = await receiver();
    const full = writeWithFds(socket, Buffer.alloc(5_000_000), [], { timeoutMs: 200 });
    await expect(full).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    const controller = new AbortController();
    const aborted = sendWithFds(socketFd(socket), Buffer.alloc(5_000_000), [], { signal: controller.signal });
    controller.abort();
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("fail when the peer is gone, the descriptor is none, or the socket is closed", async () => {
    const { socket } = await receiver();
    await expect(sendWithFds(socketFd(socket), Buffer.from("x"), [999_999])).rejects.toMatchObject({
      code: "FD_PASSING_FAILED",
      errno: "EBADF",
    });
    const gone = new Promise((resolve) => socket.once("close", resolve));
    const fd = socketFd(socket);
    for (const { child, exited } of children) {
      child.kill("SIGKILL");
      await exited;
    }
    await expect(sendWithFds(fd, Buffer.from("x"), [])).rejects.toMatchObject({
      code: "FD_PASSING_FAILED",
      errno: "EPIPE",
    });
    socket.destroy();
    await gone;
    await expect(writeWithFds(socket, Buffer.from("x"), [])).rejects.toMatchObject({
      code: "FD_PASSING_FAILED",
      errno: "EBADF",
    });
  });
});

describe.runIf(qemu !== undefined && process.getuid?.() === 0)("a TAP handed to a running QEMU", () => {
  it("is taken by getfd, outlives our copy and goes with its netdev", async () => {
    const path = join(dir, "qmp.sock");
    const machine = ["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S"];
    start(qemu ?? "", [...machine, "-qmp", `unix:${path},server=on,wait=off`]);
    const socket = await connected(path);
    const next = lines(socket);
    const execute = async (
      command: string,
      args?: object,
      fds: readonly number[] = [],
    ): Promise<Record<string, unknown>> => {
      await writeWithFds(socket, Buffer.from(JSON.stringify({ execute: command, arguments: args })), fds);
      for (;;) {
        const message = await next();
        if (!("event" in message)) return message;
      }
    };
    expect(await next()).toHaveProperty("QMP");
    expect(await execute("qmp_capabilities")).toEqual({ return: {} });
    const tap = openTap({ name: `hvf${process.pid % 100_000}` });
    try {
      expect(await execute("getfd", { fdname: "tap0" }, tap.fds)).toEqual({ return: {} });
      tap.close();
      expect(await linkExists(tap.name)).toBe(true);
      expect(await execute("netdev_add", { type: "tap", id: "net0", fd: "tap0" })).toEqual({ return: {} });
      expect(await execute("netdev_del", { id: "net0" })).toEqual({ return: {} });
      expect(await linkExists(tap.name)).toBe(false);
      expect(await execute("getfd", { fdname: "none" })).toHaveProperty("error");
    } finally {
      tap.close();
    }
  });
});
