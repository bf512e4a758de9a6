import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { InvalidArgumentError } from "../../../src/core/index.js";
import {
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_ONE_QUEUE,
  IFF_TAP,
  IFF_TUN_EXCL,
  IFF_VNET_HDR,
  NativeModuleMissingError,
  TUNGETFEATURES,
  TUNSETIFF,
  defaultIoctl,
  getTunFeatures,
  openTap,
  probeTapVnetHdr,
} from "../../../src/host/index.js";
import type { Ioctl } from "../../../src/host/index.js";

const hasTun = existsSync("/dev/net/tun");
const ALL = IFF_TAP | IFF_MULTI_QUEUE | IFF_VNET_HDR | IFF_NO_PI | IFF_ONE_QUEUE;

function openTuns(): number {
  const links = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return links.filter((link) => link === "/dev/net/tun").length;
}

/** A kernel that gives TAPs the names it is asked for, and remembers the requests. */
function kernel(options: { readonly features?: number; readonly failAt?: number; readonly errno?: string } = {}): {
  readonly ioctl: Ioctl;
  readonly requests: { readonly name: string; readonly flags: number }[];
} {
  const requests: { name: string; flags: number }[] = [];
  const ioctl: Ioctl = (fd, request, arg) => {
    expect(fd).toBeGreaterThan(0);
    if (request === TUNGETFEATURES) {
      if (options.features === undefined) throw Object.assign(new Error("no"), { code: "25" });
      return void arg.writeUInt32LE(options.features);
    }
    expect(request).toBe(TUNSETIFF);
    expect(arg).toHaveLength(40);
    const name = arg.toString("latin1", 0, arg.indexOf(0));
    requests.push({ name, flags: arg.readUInt16LE(16) });
    if (requests.length === options.failAt) throw Object.assign(new Error("failed"), { code: options.errno });
    arg.fill(0, 0, 16).write(name === "" ? "tap3" : name.replace("%d", "7"), "latin1");
  };
  return { ioctl, requests };
}

describe.runIf(hasTun)("openTap", () => {
  it("lets the kernel choose a name, and asks for headers when they are to be had", () => {
    const { ioctl, requests } = kernel({ features: ALL });
    const tap = openTap({ ioctl });
    expect(tap).toMatchObject({ name: "tap3", vnetHdr: true });
    expect(tap.fds).toHaveLength(1);
    expect(requests).toEqual([{ name: "", flags: IFF_TAP | IFF_NO_PI | IFF_ONE_QUEUE | IFF_VNET_HDR | IFF_TUN_EXCL }]);
    tap.close();
    tap.close();
  });

  it("asks for no headers from a kernel without them, or one that does not answer, or when told so", () => {
    for (const options of [{ features: ALL & ~IFF_VNET_HDR }, {}]) {
      const { ioctl, requests } = kernel(options);
      openTap({ ioctl, name: "t0" }).close();
      expect(requests[0]?.flags).toBe(IFF_TAP | IFF_NO_PI | IFF_ONE_QUEUE | IFF_TUN_EXCL);
    }
    const { ioctl, requests } = kernel({ features: ALL });
    openTap({ ioctl, vnetHdr: false, exclusive: false }).close();
    expect(requests[0]?.flags).toBe(IFF_TAP | IFF_NO_PI | IFF_ONE_QUEUE);
  });

  it("opens each queue under the name that the first one got", () => {
    const before = openTuns();
    const { ioctl, requests } = kernel({ features: ALL });
    const tap = openTap({ ioctl, name: "web%d", queues: 3 });
    expect(tap.name).toBe("web7");
    expect(tap.fds).toHaveLength(3);
    expect(requests.map((r) => r.name)).toEqual(["web%d", "web7", "web7"]);
    expect(requests.map((r) => (r.flags & IFF_TUN_EXCL) !== 0)).toEqual([true, false, false]);
    expect(requests.every((r) => (r.flags & IFF_MULTI_QUEUE) !== 0 && (r.flags & IFF_ONE_QUEUE) === 0)).toBe(true);
    tap[Symbol.dispose]();
    expect(openTuns()).toBe(before);
  });

  it("leaves nothing open when any queue fails, and says which error it was", () => {
    const before = openTuns();
    for (const [errno, name] of [
      ["16", "EBUSY"],
      ["22", "EINVAL"],
      ["1", "EPERM"],
      ["EBUSY", "EBUSY"],
    ] as const) {
      const { ioctl } = kernel({ features: ALL, failAt: 2, errno });
      try {
        openTap({ ioctl, name: "web0", queues: 3 });
        expect.fail("opened");
      } catch (error) {
        expect(error).toMatchObject({ code: "TAP_FAILED", errno: name, device: "web0", retryable: name === "EBUSY" });
      }
    }
    expect(openTuns()).toBe(before);
  });

  it("refuses several queues where the kernel has only one", () => {
    const before = openTuns();
    const { ioctl } = kernel({ features: ALL & ~IFF_MULTI_QUEUE });
    expect(() => openTap({ ioctl, queues: 2 })).toThrow(
      expect.objectContaining({ code: "NOT_SUPPORTED", capability: "multiQueueTap" }) as Error,
    );
    expect(openTuns()).toBe(before);
  });
});

describe("openTap's arguments", () => {
  const ioctl: Ioctl = () => expect.fail("called");

  it.each(["a".repeat(16), "../x", "a b", "-x", "a/b", "a,b=c", "x\0", "tap%d%d", "tap%s", "%", "ä", "a\n"])(
    "refuses the name %j",
    (name) => {
      expect(() => openTap({ ioctl, name })).toThrow(InvalidArgumentError);
    },
  );

  it.each([0, -1, 1.5, 257, NaN])("refuses %d queues", (queues) => {
    expect(() => openTap({ ioctl, queues })).toThrow(InvalidArgumentError);
  });
});

describe("the features of the kernel", () => {
  it("are unknown when it does not answer", () => {
    const { ioctl } = kernel();
    expect(getTunFeatures(9, ioctl)).toBeUndefined();
    expect(probeTapVnetHdr(9, () => undefined)).toBe(false);
  });

  it("say whether there are virtio-net headers", () => {
    const { ioctl } = kernel({ features: 0x7173 });
    expect(getTunFeatures(9, ioctl)).toBe(0x7173);
    expect(probeTapVnetHdr(9, () => 0x7173)).toBe(true);
    expect(probeTapVnetHdr(9, () => 0x3173)).toBe(false);
  });
});

describe("defaultIoctl", () => {
  const missing = (): never => {
    throw Object.assign(new Error("not found"), { code: "MODULE_NOT_FOUND" });
  };

  it("names both packages when neither can be loaded, and how to install one", () => {
    try {
      defaultIoctl(undefined, missing);
      expect.fail("loaded");
    } catch (error) {
      expect(error).toBeInstanceOf(NativeModuleMissingError);
      expect(error).toMatchObject({
        code: "NATIVE_MODULE_MISSING",
        packages: ["ioctl-napi", "koffi"],
        remedy: "Run: npm install koffi",
      });
    }
  });

  it("names the one that was asked for", () => {
    expect(() => defaultIoctl("ioctl-napi", missing)).toThrow(/needs ioctl-napi/);
    expect(() => defaultIoctl("koffi", missing)).toThrow(/needs koffi/);
    expect(() => defaultIoctl("ioctl-napi", () => ({}))).toThrow(/needs ioctl-napi/);
  });

  it("falls back to koffi where the addon of ioctl-napi was not built", () => {
    const loaded: string[] = [];
    const calls: unknown[][] = [];
    const koffi = {
      load: () => ({
        func:
          () =>
          (...args: unknown[]) => (calls.push(args), calls.length > 1 ? -1 : 0),
      }),
      errno: () => 16,
    };
    const load = (name: string): unknown => {
      loaded.push(name);
      return name === "koffi" ? koffi : missing();
    };
    const ioctl = defaultIoctl(undefined, load);
    const arg = Buffer.alloc(4);
    ioctl(5, TUNSETIFF, arg);
    expect(loaded).toEqual(["ioctl-napi/build/Release/ioctl.node", "koffi"]);
    expect(calls).toEqual([[5, TUNSETIFF, "void *", arg]]);
    expect(() => ioctl(5, TUNSETIFF, arg)).toThrow(
      expect.objectContaining({ code: "EBUSY", syscall: "ioctl" }) as Error,
    );
  });
});
