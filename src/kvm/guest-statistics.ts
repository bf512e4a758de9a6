/** Counters of a guest in memory: of QEMU's process from /proc, of its TAPs from /sys, of its disks from QEMU. */
import { readFile, readdir } from "node:fs/promises";
import type { CommonOptions } from "../core/index.js";
import { DiskNotFoundError, InterfaceNotFoundError } from "../driver/index.js";
import type {
  DiskStatistics,
  GuestNic,
  GuestStatistics,
  InterfaceStatistics,
  VcpuStatistics,
} from "../driver/index.js";
import { toBigInt } from "../qmp/index.js";
import type { Qapi } from "../qmp/index.js";
import type { GuestCore } from "./guest-core.js";
import { balloonUsedMiB } from "./hotplug/balloon.js";
import { NS_PER_TICK } from "./host-facts.js";
import { diskNode } from "./plan/block-nodes.js";
import { bindingOf } from "./plan/hardware.js";
import { isQdevOf } from "./block/nodes.js";
import type { GuestSession } from "./session.js";

const BYTES_PER_MIB = 1_048_576;

export async function guestStatistics(core: GuestCore, options: CommonOptions): Promise<GuestStatistics> {
  const session = core.requireSession("statistics");
  const limits = { signal: options.signal, deadlineMs: options.deadline ?? core.host.timeouts.queryMs };
  const [disks, cpus, balloon, usedMiB, residentMiB, interfaces] = await Promise.all([
    session.execute("query-blockstats", {}, limits),
    session.execute("query-cpus-fast", {}, limits),
    session.execute("query-balloon", {}, limits).catch(() => undefined),
    balloonUsedMiB(core, session, limits).catch(() => undefined),
    residentMemory(session.process.identity.pid),
    Promise.all(core.definition.nics.map((nic) => readCounters(nic))),
  ]);
  const { memoryMiB } = core.definition;
  const startedAt = core.state.process?.startedAt;
  return {
    state: session.view.state,
    ...(startedAt === undefined ? {} : { uptimeMs: Math.max(0, core.host.clock.now() - startedAt) }),
    vcpus: await Promise.all(cpus.map((cpu) => vcpuTime(session, cpu))),
    memory: {
      maximumMiB: memoryMiB,
      currentMiB: balloon === undefined ? memoryMiB : Math.round(Number(balloon.actual) / BYTES_PER_MIB),
      ...(residentMiB === undefined ? {} : { residentMiB }),
      ...(usedMiB === undefined ? {} : { usedMiB }),
    },
    disks: core.definition.disks.flatMap((disk) => diskCounters(core, disk.id, disks) ?? []),
    interfaces: interfaces.filter((counters) => counters !== undefined),
  };
}

/** @throws DiskNotFoundError, InvalidStateError when the guest is not in memory */
export async function diskStatistics(core: GuestCore, diskId: string, options: CommonOptions): Promise<DiskStatistics> {
  const session = core.requireSession("diskStatistics");
  const limits = { signal: options.signal, deadlineMs: options.deadline ?? core.host.timeouts.queryMs };
  const counters = diskCounters(core, diskId, await session.execute("query-blockstats", {}, limits));
  if (counters === undefined)
    throw new DiskNotFoundError(`the guest has no disk ${diskId}`, { instance: core.instance, device: diskId });
  return counters;
}

/** @throws InterfaceNotFoundError also for a NIC that nobody counts; InvalidStateError when the guest is not in memory */
export async function interfaceStatistics(core: GuestCore, nicId: string): Promise<InterfaceStatistics> {
  core.requireSession("interfaceStatistics");
  const nic = core.definition.nics.find(({ id }) => id === nicId);
  const counters = nic === undefined ? undefined : await readCounters(nic);
  if (counters === undefined)
    throw new InterfaceNotFoundError(`the guest has no counted NIC ${nicId}`, {
      instance: core.instance,
      device: nicId,
    });
  return counters;
}

/** CPU time of a process, or of one of its threads; undefined when it is gone. */
export async function cpuTimeNs(pid: number, thread?: number): Promise<bigint | undefined> {
  const path = thread === undefined ? `/proc/${pid}/stat` : `/proc/${pid}/task/${thread}/stat`;
  const text = await readFile(path, "latin1").catch(() => undefined);
  if (text === undefined) return undefined;
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return BigInt(fields[11] ?? 0) * NS_PER_TICK + BigInt(fields[12] ?? 0) * NS_PER_TICK;
}

function diskCounters(core: GuestCore, id: string, answer: readonly Qapi.BlockStats[]): DiskStatistics | undefined {
  const binding = bindingOf(core.state.hardware, "disk", id);
  if (binding === undefined) return undefined;
  const node = diskNode(binding.handle);
  const found = answer.find((entry) => entry["node-name"] === node || isQdevOf(entry.qdev, binding.handle));
  if (found === undefined) return undefined;
  const { stats } = found;
  return {
    id,
    readRequests: toBigInt(stats.rd_operations),
    readBytes: toBigInt(stats.rd_bytes),
    writeRequests: toBigInt(stats.wr_operations),
    writeBytes: toBigInt(stats.wr_bytes),
    errors: toBigInt(stats.failed_rd_operations) + toBigInt(stats.failed_wr_operations),
  };
}

/** What the host receives from a TAP is what the guest has sent. Without a device on the host nobody counts. */
async function readCounters(nic: GuestNic): Promise<InterfaceStatistics | undefined> {
  if (nic.backend.type !== "tap" && nic.backend.type !== "macvtap") return undefined;
  const directory = `/sys/class/net/${nic.backend.deviceName}/statistics`;
  try {
    const names = await readdir(directory);
    const counters = new Map(
      await Promise.all(
        names.map(async (name) => [name, BigInt((await readFile(`${directory}/${name}`, "latin1")).trim())] as const),
      ),
    );
    const value = (name: string): bigint => counters.get(name) ?? 0n;
    return {
      id: nic.id,
      macAddress: nic.macAddress,
      rxBytes: value("tx_bytes"),
      rxPackets: value("tx_packets"),
      rxErrors: value("tx_errors"),
      rxDropped: value("tx_dropped"),
      txBytes: value("rx_bytes"),
      txPackets: value("rx_packets"),
      txErrors: value("rx_errors"),
      txDropped: value("rx_dropped"),
    };
  } catch {
    return undefined;
  }
}

async function vcpuTime(session: GuestSession, cpu: Qapi.CpuInfoFast): Promise<VcpuStatistics> {
  const timeNs = await cpuTimeNs(session.process.identity.pid, Number(cpu["thread-id"]));
  return { id: Number(cpu["cpu-index"]), timeNs: timeNs ?? 0n };
}

async function residentMemory(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/status`, "latin1").catch(() => "");
  const kiB = /^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1];
  return kiB === undefined ? undefined : Math.round(Number(kiB) / 1024);
}
