/** The one system call that Node lacks for TAPs. */
import { NativeModuleMissingError } from "./errors.js";
import { declareFunction, lastError, loadKoffi, loadPackage } from "./koffi.js";
import type { LoadPackage } from "./koffi.js";

/** `ioctl(2)`: reads and writes `arg`; throws an error with the error number in `code` or `errno`. */
export type Ioctl = (fd: number, request: number, arg: Buffer) => void;

/** Which package does it. */
export type IoctlBackend = "ioctl-napi" | "koffi";

const PURPOSE = "opening a TAP";

/** The addon itself: the package's own entry adds methods to `Buffer.prototype`, which is not ours to change. */
const ADDON = "ioctl-napi/build/Release/ioctl.node";

let chosen: Ioctl | undefined;

/**
 * The `ioctl` of the package `ioctl-napi`, or of `koffi` where npm has not built that one's addon. Loaded on the first call and
 * kept.
 * @param backend only this one.
 * @throws NativeModuleMissingError naming both packages, or the one that was asked for.
 */
export function defaultIoctl(backend?: IoctlBackend, load: LoadPackage = loadPackage): Ioctl {
  if (backend === "ioctl-napi") return loadIoctlNapi(load);
  if (backend === "koffi") return loadKoffiIoctl(load);
  if (load !== loadPackage) return loadEither(load);
  return (chosen ??= loadEither(load));
}

function loadEither(load: LoadPackage): Ioctl {
  try {
    return loadIoctlNapi(load);
  } catch (first) {
    try {
      return loadKoffiIoctl(load);
    } catch (second) {
      const cause = new AggregateError([first, second], "neither package could be loaded");
      throw new NativeModuleMissingError(PURPOSE, ["ioctl-napi", "koffi"], { cause });
    }
  }
}

function loadIoctlNapi(load: LoadPackage): Ioctl {
  try {
    const { ioctl } = load(ADDON) as { ioctl?: unknown };
    if (typeof ioctl !== "function") throw new TypeError("the addon has no function ioctl");
    return ioctl as Ioctl;
  } catch (error) {
    throw new NativeModuleMissingError(PURPOSE, ["ioctl-napi"], { cause: error });
  }
}

function loadKoffiIoctl(load: LoadPackage): Ioctl {
  const koffi = loadKoffi(PURPOSE, load);
  const ioctl = declareFunction(koffi, "int ioctl(int fd, unsigned long request, ...)");
  return (fd, request, arg) => {
    if (Number(ioctl(fd, request, "void *", arg)) < 0) throw lastError(koffi, "ioctl");
  };
}
