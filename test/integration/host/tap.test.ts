import { execFile, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import {
  defaultIoctl,
  getTunFeatures,
  linkExists,
  openTap,
  probeTapVnetHdr,
  systemCommandRunner,
} from "../../../src/host/index.js";
import type { IoctlBackend, OpenTapOptions, Tap } from "../../../src/host/index.js";

const isRoot = process.getuid?.() === 0;
const usable = isRoot && existsSync("/dev/net/tun");
const prefix = `hv${process.pid % 100_000}`;
const run = promisify(execFile);

const open: Tap[] = [];
const links: string[] = [];
afterEach(async () => {
  for (const tap of open.splice(0)) tap.close();
  for (const link of links.splice(0)) if (await linkExists(link)) await ip("link", "delete", "dev", link);
});

const ip = (...words: readonly string[]): Promise<unknown> => systemCommandRunner.run(["ip", ...words]);

function tapOf(options: OpenTapOptions): Tap {
  const tap = openTap(options);
  open.push(tap);
  return tap;
}

interface LinkDetails {
  readonly linkinfo: {
    readonly info_data: { readonly multi_queue: boolean; readonly vnet_hdr: boolean; readonly numqueues?: number };
  };
  readonly master?: string;
  readonly flags: readonly string[];
}

async function detailsOf(name: string): Promise<LinkDetails> {
  const { stdout } = await systemCommandRunner.run(["ip", "-json", "-details", "link", "show", "dev", name]);
  return (JSON.parse(stdout) as [LinkDetails])[0];
}

describe.runIf(usable).each<IoctlBackend>(["ioctl-napi", "koffi"])("TAPs by %s", (backend) => {
  const ioctl = defaultIoctl(backend);

  it("are there while they are open, and vanish with their last descriptor", async () => {
    const tap = tapOf({ ioctl, name: `${prefix}a` });
    expect(tap).toMatchObject({ name: `${prefix}a`, vnetHdr: true });
    expect(await linkExists(tap.name)).toBe(true);
    expect((await detailsOf(tap.name)).linkinfo.info_data).toMatchObject({ multi_queue: false, vnet_hdr: true });
    tap.close();
    expect(await linkExists(tap.name)).toBe(false);
  });

  it("get a number of the kernel's, after a pattern of ours or its own", async () => {
    const [a, b] = [tapOf({ ioctl, name: `${prefix}-%d` }), tapOf({ ioctl, name: `${prefix}-%d` })];
    expect([a.name, b.name]).toEqual([`${prefix}-0`, `${prefix}-1`]);
    expect(tapOf({ ioctl }).name).toMatch(/^tap\d+$/);
  });

  it("have as many queues as asked for, and no headers when none are wanted", async () => {
    const tap = tapOf({ ioctl, name: `${prefix}q`, queues: 4, vnetHdr: false });
    expect(new Set(tap.fds).size).toBe(4);
    expect((await detailsOf(tap.name)).linkinfo.info_data).toMatchObject({
      multi_queue: true,
      vnet_hdr: false,
      numqueues: 4,
    });
  });

  it("are refused with the errno: a taken name, one of another kind, one of another interface", async () => {
    tapOf({ ioctl, name: `${prefix}b` });
    tapOf({ ioctl, name: `${prefix}m`, queues: 2 });
    const failing = (options: OpenTapOptions): unknown => {
      try {
        return tapOf({ ioctl, ...options });
      } catch (error) {
        return error;
      }
    };
    expect(failing({ name: `${prefix}b` })).toMatchObject({ code: "TAP_FAILED", errno: "EBUSY", device: `${prefix}b` });
    expect(failing({ name: `${prefix}b`, exclusive: false })).toMatchObject({ errno: "EBUSY" });
    expect(failing({ name: `${prefix}m`, exclusive: false })).toMatchObject({ errno: "EINVAL" });
    expect(failing({ name: "lo", exclusive: false })).toMatchObject({ errno: "EINVAL" });
    expect(failing({ name: `${prefix}m` })).toMatchObject({ code: "TAP_FAILED", errno: "EBUSY" });
  });

  it("attach to a persistent one when told to, which then stays", async () => {
    const name = `${prefix}p`;
    links.push(name);
    await systemCommandRunner.run(["ip", "tuntap", "add", "dev", name, "mode", "tap", "multi_queue", "vnet_hdr"]);
    expect(() => tapOf({ ioctl, name, queues: 2 })).toThrow(expect.objectContaining({ errno: "EBUSY" }) as Error);
    const tap = tapOf({ ioctl, name, queues: 2, exclusive: false });
    expect(tap.fds).toHaveLength(2);
    tap.close();
    expect(await linkExists(name)).toBe(true);
  });

  it("carry packets once they are up, and can be ports of a bridge", async () => {
    const bridge = `${prefix}br`;
    links.push(bridge);
    await systemCommandRunner.run(["ip", "link", "add", "name", bridge, "type", "bridge"]);
    const tap = tapOf({ ioctl, name: `${prefix}c` });
    await ip("link", "set", "dev", tap.name, "master", bridge, "up");
    await ip("link", "set", "dev", bridge, "up");
    expect(await detailsOf(tap.name)).toMatchObject({ master: bridge });
    const header = Buffer.alloc(10);
    const frame = Buffer.concat([Buffer.from("ffffffffffff52540012345608064141", "hex"), Buffer.alloc(46)]);
    expect(writeSync(tap.fds[0] ?? -1, Buffer.concat([header, frame]))).toBe(header.length + frame.length);
    const received = readFileSync("/proc/net/dev", "utf8")
      .split("\n")
      .find((line) => line.trim().startsWith(`${tap.name}:`));
    expect(received?.split(":")[1]?.trim().split(/\s+/)[1]).toBe("1");
    await ip("link", "set", "dev", tap.name, "nomaster");
    expect((await detailsOf(tap.name)).master).toBeUndefined();
  });

  it("outlive us in a process that they were handed to", async () => {
    const tap = tapOf({ ioctl, name: `${prefix}h` });
    const child = spawn("sleep", ["100"], { stdio: ["ignore", "ignore", "ignore", tap.fds[0]] });
    const exited = new Promise((resolve) => child.once("exit", resolve));
    try {
      await new Promise((resolve) => child.once("spawn", resolve));
      tap.close();
      expect(await linkExists(tap.name)).toBe(true);
    } finally {
      child.kill("SIGKILL");
      await exited;
    }
    await expect.poll(() => linkExists(tap.name), { timeout: 5_000 }).toBe(false);
  });

  it("are not inherited by commands that run meanwhile", async () => {
    const tap = tapOf({ ioctl, name: `${prefix}i` });
    const { stdout } = await systemCommandRunner.run(["sh", "-c", "ls -l /proc/self/fd"]);
    expect(stdout).not.toContain("tun");
    tap.close();
  });

  it("are described by the kernel's features", () => {
    const fd = openSync("/dev/net/tun", "r+");
    try {
      expect(getTunFeatures(fd, ioctl)).toBeGreaterThan(0);
      expect(probeTapVnetHdr(fd, (tun) => getTunFeatures(tun, ioctl))).toBe(true);
      const nothing = openSync("/dev/null", "r");
      expect(getTunFeatures(nothing, ioctl)).toBeUndefined();
      closeSync(nothing);
    } finally {
      closeSync(fd);
    }
  });
});

describe.runIf(usable)("opening a TAP", () => {
  it("does not change what Buffer is", () => {
    tapOf({ name: `${prefix}x` }).close();
    expect(Object.keys(Object.getPrototypeOf(Buffer.alloc(0)) as object)).not.toContain("memAddress");
  });

  it("fails without the right to, and says what to do", async () => {
    const module = new URL("../../../src/host/index.ts", import.meta.url).href;
    const script = `process.setgid(65534); process.setuid(65534);
      try { openTap({ name: "hvdenied" }); } catch (e) { console.log(JSON.stringify({ code: e.code, errno: e.errno, remedy: e.remedy })); }`;
    const { stdout } = await run(process.execPath, [
      "--import",
      "tsx",
      "--input-type=module",
      "-e",
      `import { openTap } from ${JSON.stringify(module)}; import { defaultIoctl } from ${JSON.stringify(module)}; defaultIoctl(); ${script}`,
    ]);
    expect(JSON.parse(stdout)).toMatchObject({ code: "TAP_FAILED", remedy: expect.any(String) as string });
    expect(["EPERM", "EACCES"]).toContain((JSON.parse(stdout) as { errno: string }).errno);
  });
});
