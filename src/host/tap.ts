/** TAP interfaces: opened here, handed to a guest by descriptor, gone when the last descriptor is closed. */
import { closeSync, openSync } from "node:fs";
import { InvalidArgumentError, NotSupportedError } from "../core/index.js";
import { TapError } from "./errors.js";
import { defaultIoctl } from "./ioctl.js";
import type { Ioctl } from "./ioctl.js";
import { MAX_LINK_NAME } from "./link-name.js";

/** Requests to `/dev/net/tun`, from linux/if_tun.h (those of x86 and ARM). */
export const TUNSETIFF = 0x400454ca;
export const TUNGETIFF = 0x800454d2;
export const TUNGETFEATURES = 0x800454cf;

/** Flags of a TAP, and bits of {@link getTunFeatures}. */
export const IFF_TAP = 0x0002;
export const IFF_MULTI_QUEUE = 0x0100;
export const IFF_NO_PI = 0x1000;
export const IFF_ONE_QUEUE = 0x2000;
export const IFF_VNET_HDR = 0x4000;
export const IFF_TUN_EXCL = 0x8000;

/** The most queues that the kernel gives one TAP. */
export const MAX_TAP_QUEUES = 256;

const TUN_DEVICE = "/dev/net/tun";
/** struct ifreq on 64-bit systems: a name of 16 bytes, then a union that begins with the flags. */
const IFREQ_SIZE = 40;
const IFREQ_NAME_SIZE = 16;
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*(?:%d)?[A-Za-z0-9._-]*)$/;

/** How a TAP is opened. */
export interface OpenTapOptions {
  /** 1 to 15 bytes; `%d` in it becomes the first free number. Default: the kernel's choice, `tap0` and so on. */
  readonly name?: string | undefined;
  /** Ask for virtio-net headers, if the kernel has them; they save copying and checksums. Default: true. */
  readonly vnetHdr?: boolean | undefined;
  /** From 1 (default) to 256; each is one descriptor. */
  readonly queues?: number | undefined;
  /**
   * False: attach to a persistent TAP of this name when there is one, which must be of the same kind. Default: true, an
   * interface of that name is an error.
   */
  readonly exclusive?: boolean | undefined;
  /** Default: that of `ioctl-napi` or `koffi`. */
  readonly ioctl?: Ioctl | undefined;
}

/** An open TAP. It lives as long as any descriptor of it, in this process or in one that it was handed to. */
export interface Tap extends Disposable {
  /** What the kernel calls it. */
  readonly name: string;
  /** One a queue. Close-on-exec: a child gets them only through its `stdio`. */
  readonly fds: readonly number[];
  /** Whether packets carry virtio-net headers. */
  readonly vnetHdr: boolean;
  /** Closes this process's descriptors; a second call does nothing. */
  close(): void;
}

/** The features of the kernel's TUN driver, as `IFF_` bits; undefined when it does not say. */
export function getTunFeatures(fd: number, ioctl: Ioctl = defaultIoctl()): number | undefined {
  const features = Buffer.alloc(4);
  try {
    ioctl(fd, TUNGETFEATURES, features);
  } catch {
    return undefined;
  }
  return features.readUInt32LE(0);
}

/** Whether TAPs of this kernel can carry virtio-net headers. @param fd of `/dev/net/tun`. */
export function probeTapVnetHdr(fd: number, features: (fd: number) => number | undefined = getTunFeatures): boolean {
  return ((features(fd) ?? 0) & IFF_VNET_HDR) !== 0;
}

/**
 * Opens a TAP, with a descriptor for each queue. It is down, and a port of no bridge.
 * @throws InvalidArgumentError for a bad name or number of queues; TapError with `errno` (`EBUSY`: the name is taken;
 * `EINVAL`: what is there is of another kind; `EPERM`); NotSupportedError when the kernel has no multi-queue TAPs;
 * NativeModuleMissingError. Nothing stays open then.
 */
export function openTap(options: OpenTapOptions = {}): Tap {
  const { name = "", queues = 1, exclusive = true, vnetHdr = true } = options;
  checkTapName(name);
  if (!Number.isInteger(queues) || queues < 1 || queues > MAX_TAP_QUEUES) {
    throw new InvalidArgumentError({
      field: "queues",
      value: queues,
      expected: `an integer from 1 to ${MAX_TAP_QUEUES}`,
    });
  }
  const ioctl = options.ioctl ?? defaultIoctl();
  const fds: number[] = [];
  try {
    const first = openTun(fds, name);
    const flags = planFlags(getTunFeatures(first, ioctl), { queues, vnetHdr });
    const actual = attach(first, name, exclusive ? flags | IFF_TUN_EXCL : flags, ioctl);
    while (fds.length < queues) attach(openTun(fds, actual), actual, flags, ioctl);
    return new OpenTap(actual, fds, (flags & IFF_VNET_HDR) !== 0);
  } catch (error) {
    closeAll(fds);
    throw error;
  }
}

class OpenTap implements Tap {
  readonly name: string;
  readonly vnetHdr: boolean;
  readonly fds: readonly number[];
  readonly #open: number[];

  constructor(name: string, fds: readonly number[], vnetHdr: boolean) {
    this.name = name;
    this.fds = Object.freeze([...fds]);
    this.vnetHdr = vnetHdr;
    this.#open = [...fds];
  }

  close(): void {
    closeAll(this.#open.splice(0));
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function checkTapName(name: string): void {
  if (name === "") return;
  if (typeof name === "string" && name.length <= MAX_LINK_NAME && NAME.test(name)) return;
  const expected = "1 to 15 letters, digits, '.', '_' and '-', beginning with a letter or digit, with at most one %d";
  throw new InvalidArgumentError({ field: "name", value: name, expected });
}

/** Without an answer about features the kernel is taken to be old: one queue, no headers. */
function planFlags(features: number | undefined, wish: { readonly queues: number; readonly vnetHdr: boolean }): number {
  const has = (flag: number): boolean => ((features ?? 0) & flag) !== 0;
  if (wish.queues > 1 && !has(IFF_MULTI_QUEUE)) {
    throw new NotSupportedError({
      capability: "multiQueueTap",
      message: "the kernel of this host has no TAPs with several queues",
    });
  }
  const queueing = wish.queues > 1 ? IFF_MULTI_QUEUE : IFF_ONE_QUEUE;
  return IFF_TAP | IFF_NO_PI | queueing | (wish.vnetHdr && has(IFF_VNET_HDR) ? IFF_VNET_HDR : 0);
}

function openTun(fds: number[], tap: string): number {
  try {
    const fd = openSync(TUN_DEVICE, "r+");
    fds.push(fd);
    return fd;
  } catch (error) {
    throw new TapError({ operation: `opening ${TUN_DEVICE}`, tap: tap === "" ? undefined : tap, cause: error });
  }
}

function attach(fd: number, name: string, flags: number, ioctl: Ioctl): string {
  const ifreq = Buffer.alloc(IFREQ_SIZE);
  ifreq.write(name, 0, MAX_LINK_NAME, "latin1");
  ifreq.writeUInt16LE(flags, IFREQ_NAME_SIZE);
  try {
    ioctl(fd, TUNSETIFF, ifreq);
  } catch (error) {
    throw new TapError({ operation: "opening a TAP", tap: name === "" ? undefined : name, cause: error });
  }
  const end = ifreq.indexOf(0);
  return ifreq.toString("latin1", 0, end < 0 ? IFREQ_NAME_SIZE : Math.min(end, IFREQ_NAME_SIZE));
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) closeSync(fd);
}
