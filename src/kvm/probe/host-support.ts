/** What a host has for guests beside QEMU itself: firmware, programs, devices, large pages. */
import { constants } from "node:fs";
import { access, readdir } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";
import { findVirtiofsd, readFirmwareDescriptors } from "../firmware/read-descriptors.js";
import type { FirmwareDescriptor } from "../firmware/firmware-descriptor.js";
import type { CpuCapabilities } from "../plan/cpu.js";
import type { HelperBinaries } from "../plan/helper-plan.js";

export interface HostSupport {
  readonly cpu: CpuCapabilities;
  /** Best first. */
  readonly firmware: readonly FirmwareDescriptor[];
  readonly helpers: HelperBinaries;
  /** True where guests can have sockets of their own. */
  readonly vsock: boolean;
  /** Sizes of large pages. */
  readonly hugepagesKiB: readonly number[];
}

const VSOCK_DEVICE = "/dev/vhost-vsock";
const HUGEPAGES = "/sys/kernel/mm/hugepages";

/** Reads it anew each time: packages come and go, and it costs little. */
export async function probeHostSupport(cpu: CpuCapabilities): Promise<HostSupport> {
  const [firmware, virtiofsd, swtpm, vsock, hugepagesKiB] = await Promise.all([
    readFirmwareDescriptors(),
    findVirtiofsd(),
    findProgram("swtpm"),
    isOpen(VSOCK_DEVICE),
    readHugepages(),
  ]);
  const helpers = { ...(virtiofsd === undefined ? {} : { virtiofsd }), ...(swtpm === undefined ? {} : { swtpm }) };
  return { cpu, firmware, helpers, vsock, hugepagesKiB };
}

async function findProgram(name: string): Promise<string | undefined> {
  const directories = (process.env["PATH"] ?? "").split(delimiter).filter(isAbsolute);
  for (const directory of directories) {
    const path = join(directory, name);
    if (await may(path, constants.X_OK)) return path;
  }
  return undefined;
}

function isOpen(path: string): Promise<boolean> {
  return may(path, constants.R_OK | constants.W_OK);
}

function may(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

async function readHugepages(): Promise<readonly number[]> {
  const names = await readdir(HUGEPAGES).catch((): string[] => []);
  return names.flatMap((name) => {
    const size = /^hugepages-(\d+)kB$/.exec(name)?.[1];
    return size === undefined ? [] : [Number(size)];
  });
}
