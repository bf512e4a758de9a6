/** The C library through `koffi`, an optional package that is loaded on first use. */
import { createRequire } from "node:module";
import { NativeModuleMissingError, errnoError } from "./errors.js";

/** Loads an optional package; tests replace it. */
export type LoadPackage = (specifier: string) => unknown;

/** A function of the C library; `async` runs it on another thread and calls back with its result. */
export interface NativeFunction {
  (...args: unknown[]): number | bigint;
  async(...args: unknown[]): void;
}

/** What this package uses of `koffi`. */
export interface Koffi {
  load(path: null): { func(definition: string): unknown };
  errno(): number;
}

/** From where this package is installed. */
export const loadPackage: LoadPackage = createRequire(import.meta.url);

/** @throws NativeModuleMissingError when `koffi` is not installed or not built for this platform. */
export function loadKoffi(purpose: string, load: LoadPackage = loadPackage): Koffi {
  try {
    return load("koffi") as Koffi;
  } catch (error) {
    throw new NativeModuleMissingError(purpose, ["koffi"], { cause: error });
  }
}

/** Declares a function of the C library that this process runs on, whichever it is. */
export function declareFunction(koffi: Koffi, definition: string): NativeFunction {
  return koffi.load(null).func(definition) as NativeFunction;
}

/** The error of the call that has just failed on this thread. */
export function lastError(koffi: Koffi, call: string): NodeJS.ErrnoException {
  return errnoError(call, koffi.errno());
}
