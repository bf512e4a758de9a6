/** `sendmsg(2)` with descriptors, `poll(2)` and `dup(2)`, through `koffi`. */
import { endianness } from "node:os";
import { NotSupportedError } from "../core/index.js";
import { declareFunction, lastError, loadKoffi, loadPackage } from "./koffi.js";
import type { Koffi, LoadPackage } from "./koffi.js";

/** The system calls that descriptor passing is made of; each throws an error with `code`. Tests replace it. */
export interface FdSender {
  /** Sends what fits without waiting, the descriptors with its first byte; returns how many bytes went. */
  send(socketFd: number, data: Buffer, fds: readonly number[]): number;
  /** Resolves when the socket takes data again or has failed, at the latest after `ms` milliseconds. */
  writable(socketFd: number, ms: number): Promise<void>;
  /** Another descriptor of the same socket, closed on exec. */
  duplicate(socketFd: number): number;
}

const PURPOSE = "passing descriptors to another process";

/** Where struct msghdr, struct iovec and struct cmsghdr look as written below: 64-bit Linux, little-endian. */
const ARCHITECTURES: ReadonlySet<string> = new Set(["x64", "arm64", "riscv64", "loong64"]);

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const POLLOUT = 4;
const F_DUPFD_CLOEXEC = 1030;
const CMSG_HEADER_SIZE = 16;

let chosen: FdSender | undefined;

/**
 * The sender of this platform, loaded on the first call.
 * @throws NativeModuleMissingError when `koffi` can't be loaded; NotSupportedError on other platforms.
 */
export function defaultFdSender(load: LoadPackage = loadPackage): FdSender {
  if (load !== loadPackage) return makeFdSender(load);
  return (chosen ??= makeFdSender(load));
}

function makeFdSender(load: LoadPackage): FdSender {
  if (process.platform !== "linux" || endianness() !== "LE" || !ARCHITECTURES.has(process.arch)) {
    throw new NotSupportedError({ capability: "fdPassing", message: `${PURPOSE} works on 64-bit Linux only` });
  }
  const koffi = loadKoffi(PURPOSE, load);
  const sendmsg = declareSendmsg(koffi);
  const poll = declareFunction(koffi, "int poll(void *fds, unsigned long count, int timeout)");
  const fcntl = declareFunction(koffi, "int fcntl(int fd, int command, ...)");
  return {
    send: (socketFd, data, fds) => {
      const sent = sendmsg(socketFd, data, fds.length === 0 ? undefined : controlMessage(fds));
      if (sent < 0) throw lastError(koffi, "sendmsg");
      return sent;
    },
    writable: (socketFd, ms) =>
      new Promise((resolve) => {
        // struct pollfd: a descriptor, then two shorts, of which the first says what to wait for.
        poll.async(new Int32Array([socketFd, POLLOUT]), 1, Math.ceil(ms), () => resolve());
      }),
    duplicate: (socketFd) => {
      const copy = Number(fcntl(socketFd, F_DUPFD_CLOEXEC, "int", 0));
      if (copy < 0) throw lastError(koffi, "fcntl");
      return copy;
    },
  };
}

type Sendmsg = (socketFd: number, data: Buffer, control: Buffer | undefined) => number;

interface StructTypes {
  struct(members: { readonly [name: string]: unknown }): unknown;
  pointer(type: unknown): unknown;
  load(path: null): { func(name: string, result: string, parameters: readonly unknown[]): unknown };
}

function declareSendmsg(koffi: Koffi): Sendmsg {
  const types = koffi as unknown as StructTypes;
  const iovec = types.struct({ iov_base: "void *", iov_len: "size_t" });
  const msghdr = types.struct({
    msg_name: "void *",
    msg_namelen: "uint32_t",
    msg_iov: types.pointer(iovec),
    msg_iovlen: "size_t",
    msg_control: "void *",
    msg_controllen: "size_t",
    msg_flags: "int",
  });
  const call = types.load(null).func("sendmsg", "long", ["int", types.pointer(msghdr), "int"]) as (
    socketFd: number,
    message: object,
    flags: number,
  ) => number | bigint;
  return (socketFd, data, control) => {
    const message = {
      msg_name: null,
      msg_namelen: 0,
      msg_iov: [{ iov_base: data, iov_len: data.length }],
      msg_iovlen: 1,
      msg_control: control ?? null,
      msg_controllen: control?.length ?? 0,
      msg_flags: 0,
    };
    return Number(call(socketFd, message, MSG_DONTWAIT | MSG_NOSIGNAL));
  };
}

function controlMessage(fds: readonly number[]): Buffer {
  const length = CMSG_HEADER_SIZE + 4 * fds.length;
  const control = Buffer.alloc(Math.ceil(length / 8) * 8);
  control.writeBigUInt64LE(BigInt(length), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  fds.forEach((fd, i) => control.writeInt32LE(fd, CMSG_HEADER_SIZE + 4 * i));
  return control;
}
