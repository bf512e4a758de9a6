/** What the host is and what it has left, read from /proc and /sys. */
import { readFile, readdir } from "node:fs/promises";
import { arch, hostname } from "node:os";
import type { CpuModel, HostCpuStatistics, HostFacts, NumaCell } from "../driver/index.js";
import { hostAddress } from "../host/index.js";
import { versionNumber } from "./plan/capabilities.js";
import type { QemuCapabilities } from "./plan/capabilities.js";

/** Clock ticks a second in which the kernel tells times to programs; the same on every Linux. */
const TICKS_PER_SECOND = 100n;
export const NS_PER_TICK = 1_000_000_000n / TICKS_PER_SECOND;

const ARCHES: { readonly [node: string]: string } = { x64: "x86_64", arm64: "aarch64", ia32: "i686" };

export async function readHostFacts(capabilities: QemuCapabilities, accelerator: "kvm" | "tcg"): Promise<HostFacts> {
  const [memory, cpuInfo, uptime, numa] = await Promise.all([
    readFile("/proc/meminfo", "utf8").then(parseMemory),
    readFile("/proc/cpuinfo", "utf8"),
    readFile("/proc/uptime", "utf8"),
    readNuma(),
  ]);
  const cpu = parseCpu(cpuInfo);
  return {
    hostname: hostname(),
    ipAddress: hostAddress(),
    hypervisorType: accelerator === "kvm" ? "kvm" : "qemu",
    hypervisorVersion: versionNumber(capabilities),
    cpu,
    vcpus: countProcessors(cpuInfo),
    memoryMiB: Math.floor(memory.totalKiB / 1024),
    memoryUsedMiB: Math.ceil((memory.totalKiB - memory.availableKiB) / 1024),
    uptimeMs: Math.round(Number(uptime.split(" ")[0]) * 1_000),
    ...(numa.length === 0 ? {} : { numa }),
  };
}

/** `MemTotal` and `MemAvailable` of /proc/meminfo. */
export function parseMemory(text: string): { readonly totalKiB: number; readonly availableKiB: number } {
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1] ?? 0);
  const totalKiB = field("MemTotal");
  return { totalKiB, availableKiB: Math.min(totalKiB, field("MemAvailable")) };
}

/** The first processor of /proc/cpuinfo, and how all of them are arranged. */
export function parseCpu(text: string): CpuModel {
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}\\s*:[ \\t]*(\\S.*)$`, "m").exec(text)?.[1]?.trim();
  const count = (name: string): number =>
    new Set([...text.matchAll(new RegExp(`^${name}\\s*:\\s*(\\d+)$`, "gm"))].map((match) => match[1])).size;
  const processors = countProcessors(text);
  const sockets = Math.max(1, count("physical id"));
  const cores = Math.max(1, Number(field("cpu cores") ?? Math.floor(processors / sockets)));
  const vendor = field("vendor_id");
  const model = field("model name");
  return {
    arch: ARCHES[arch()] ?? arch(),
    ...(vendor === undefined ? {} : { vendor }),
    ...(model === undefined ? {} : { model }),
    topology: { sockets, cores, threads: Math.max(1, Math.floor(processors / (sockets * cores))) },
    features: (field("flags") ?? field("Features") ?? "").split(/\s+/).filter((flag) => flag !== ""),
  };
}

/** Times of all CPUs together since the host booted. */
export async function readHostCpuStatistics(): Promise<HostCpuStatistics> {
  const [stat, cpuInfo] = await Promise.all([readFile("/proc/stat", "utf8"), readFile("/proc/cpuinfo", "utf8")]);
  return {
    ...parseCpuTimes(stat),
    frequencyMHz: Math.round(Number(/^cpu MHz\s*:\s*([\d.]+)$/m.exec(cpuInfo)?.[1] ?? 0)),
  };
}

/** The `cpu` line of /proc/stat: user nice system idle iowait irq softirq steal guest guest_nice. Guests' time is within the user's. */
export function parseCpuTimes(stat: string): Omit<HostCpuStatistics, "frequencyMHz"> {
  const ticks = (/^cpu +(.*)$/m.exec(stat)?.[1] ?? "")
    .split(" ")
    .map((field) => BigInt(/^\d+$/.test(field) ? field : 0));
  const [user = 0n, nice = 0n, system = 0n, idle = 0n, ioWait = 0n, irq = 0n, softIrq = 0n, steal = 0n] = ticks;
  return {
    userNs: (user + nice) * NS_PER_TICK,
    kernelNs: (system + irq + softIrq + steal) * NS_PER_TICK,
    idleNs: idle * NS_PER_TICK,
    ioWaitNs: ioWait * NS_PER_TICK,
  };
}

function countProcessors(cpuInfo: string): number {
  return Math.max(1, [...cpuInfo.matchAll(/^processor\s*:/gm)].length);
}

async function readNuma(): Promise<readonly NumaCell[]> {
  const root = "/sys/devices/system/node";
  const names = (await readdir(root).catch((): string[] => [])).filter((name) => /^node\d+$/.test(name));
  const cells = await Promise.all(
    names.map(async (name): Promise<NumaCell> => {
      const [cpus, memory] = await Promise.all([
        readFile(`${root}/${name}/cpulist`, "utf8"),
        readFile(`${root}/${name}/meminfo`, "utf8"),
      ]);
      const kiB = Number(/MemTotal:\s+(\d+) kB/.exec(memory)?.[1] ?? 0);
      return { id: Number(name.slice(4)), cpus: parseCpuList(cpus.trim()), memoryMiB: Math.floor(kiB / 1024) };
    }),
  );
  return cells.sort((a, b) => a.id - b.id);
}

/** A list of CPUs such as `0-3,8`. */
export function parseCpuList(text: string): number[] {
  if (text === "") return [];
  return text.split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i);
  });
}
