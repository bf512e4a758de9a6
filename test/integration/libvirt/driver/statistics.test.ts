/** Counters of guests and of their host, on a real libvirtd. */
import { randomUUID } from "node:crypto";
import { expect, it } from "vitest";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { systemClock } from "../../../../src/core/index.js";
import { waitFor } from "../../../lab/index.js";
import { startLibvirtHost } from "../../../lab/libvirt-host.js";
import { qemuProcess } from "../../contract/qemu-process.js";
import type { CpuModel } from "../../../../src/driver/index.js";
import { DEFAULT_LIBVIRT_HYPERVISOR_TIMEOUTS } from "../../../../src/libvirt/driver/index.js";
import type { LibvirtHost } from "../../../../src/libvirt/driver/host.js";
import { compareCpu } from "../../../../src/libvirt/driver/migration/compare-cpu.js";
import { HypervisorLab, disk } from "./hypervisor-lab.js";

/** Names of the calls that a piece of work makes. */
async function callsOf(work: () => Promise<unknown>): Promise<readonly string[]> {
  const calls: string[] = [];
  const channel = "tracing:hypervise:libvirt:call:start";
  const hear = (message: unknown): void => void calls.push((message as { procedure: string }).procedure);
  subscribe(channel, hear);
  try {
    await work();
  } finally {
    unsubscribe(channel, hear);
  }
  return calls;
}

it("counts all guests by one call, those that hang left out", { timeout: 240_000 }, async () => {
  await using lab = await HypervisorLab.open({ timeouts: { queryMs: 4_000 } });
  const data = disk("data", "sdb", await lab.image("data.img"), { bus: "scsi" });
  const boots = await lab.define();
  const { disks } = await boots.definition();
  const first = await lab.define({ vcpus: 2, disks: [...disks, data] });
  const second = await lab.define();
  for (const guest of [first, second]) await guest.start();

  let all = await lab.hypervisor.allStatistics();
  const once = async (): Promise<boolean> =>
    (await callsOf(async () => (all = await lab.hypervisor.allStatistics()))).join(" ") === "connectGetAllDomainStats";
  // A guest on which libvirt is doing something at the moment is asked for itself.
  await waitFor(once, { timeoutMs: 30_000, what: "an answer by one call" });
  expect([...all.keys()].sort()).toEqual([first.uuid, second.uuid].sort());
  const counted = all.get(first.uuid)!;
  expect(counted).toMatchObject({ state: "running", memory: { maximumMiB: 32, currentMiB: 32 }, interfaces: [] });
  expect(counted.vcpus.map(({ id }) => id)).toEqual([0, 1]);
  expect(counted.disks.map(({ id }) => id).sort()).toEqual(["data", "root"]);
  await waitFor(async () => (await first.diskStatistics("root")).readBytes > 0n, {
    timeoutMs: 60_000,
    what: "the boot sector's reading",
  });
  await expect(first.diskStatistics("other")).rejects.toMatchObject({ code: "DISK_NOT_FOUND" });
  await expect(first.interfaceStatistics("other")).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });
  await expect(boots.diskStatistics("root")).rejects.toMatchObject({ code: "INVALID_STATE" });
  expect(await boots.statistics()).toMatchObject({ state: "shutdown", disks: [], vcpus: [] });

  let infos = await lab.hypervisor.allInfos();
  expect(await callsOf(async () => (infos = await lab.hypervisor.allInfos()))).toEqual(["connectGetAllDomainStats"]);
  expect([first, second, boots].map(({ uuid }) => infos.get(uuid)?.state)).toEqual(["running", "running", "shutdown"]);
  expect(infos.get(first.uuid)?.cpuTimeNs).toBeGreaterThan(0n);

  const pid = await qemuProcess(second.uuid);
  process.kill(pid, "SIGSTOP");
  try {
    for (const _again of [1, 2]) expect([...(await lab.hypervisor.allStatistics()).keys()]).toEqual([first.uuid]);
    expect((await lab.hypervisor.allInfos()).get(second.uuid)?.state).toBe("running");
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await waitFor(async () => (await lab.hypervisor.allStatistics()).size === 2, {
    timeoutMs: 60_000,
    what: "the counters of a guest that goes on",
  });
  for (const guest of [first, second]) await guest.kill();
  expect((await lab.hypervisor.allStatistics()).size).toBe(0);
});

it("tells of all instances, and of the host, in a handful of calls", { timeout: 120_000 }, async () => {
  await using host = await startLibvirtHost();
  await using driver = host.open({ clock: systemClock });
  await driver.initHost();
  const flavor = { vcpus: 1, memoryMiB: 64, rootGiB: 1 };
  const instances = ["one", "two"].map((name) => ({ uuid: randomUUID(), name }));
  for (const instance of instances) await driver.spawn({ ...instance, flavor, imageId: "guest", vifs: [] });
  const look = (): Promise<readonly string[]> =>
    callsOf(async () => {
      expect(await driver.listInstanceUuids()).toHaveLength(2);
      const { diagnostics, unanswered } = await driver.getAllDiagnostics();
      expect(unanswered).toEqual([]);
      const states = diagnostics.map(({ instance, state }) => `${instance.name} ${state}`);
      expect(states.sort()).toEqual(["one running", "two running"]);
    });
  // A guest on which libvirt is doing something at the moment is asked for itself.
  await waitFor(async () => (await look()).join(" ") === "connectGetAllDomainStats", {
    timeoutMs: 30_000,
    what: "an answer by one call",
  });
  const resource = await driver.getAvailableResource();
  expect(resource).toMatchObject({ runningGuests: 2, vcpusUsed: 2 });
  expect(resource.libraryVersion).toBeGreaterThanOrEqual(9_000_000);
  const { kernelNs, idleNs, userNs, frequencyMHz } = await driver.getHostCpuStats();
  expect(kernelNs > 0n && idleNs > 0n && userNs > 0n && frequencyMHz >= 0).toBe(true);
  for (const instance of instances) await driver.destroy(instance);
});

it("compares the CPUs of other hosts with this one's, as far as guests have them", { timeout: 120_000 }, async () => {
  await using lab = await HypervisorLab.open();
  const { cpu } = await lab.hypervisor.hostFacts();
  const elsewhere = { ...cpu, arch: "aarch64" };
  // Emulation needs nothing of the host's CPU but its architecture.
  expect(await lab.hypervisor.compareCpu({ ...cpu, features: ["no-such-feature"] })).toBe("identical");
  expect(await lab.hypervisor.compareCpu(elsewhere)).toBe("incompatible");
  const client = await lab.client();
  const facts = { virtType: "kvm", arch: cpu.arch };
  const asKvm = { client, facts, timeouts: DEFAULT_LIBVIRT_HYPERVISOR_TIMEOUTS } as unknown as LibvirtHost;
  const compare = (other: CpuModel): Promise<string> => compareCpu(asKvm, other, {});
  expect(await compare(cpu)).toBe("identical");
  expect(await compare({ ...cpu, features: [...cpu.features, ...cpu.features] })).toBe("identical");
  expect(await compare({ ...cpu, features: [] })).toBe("superset");
  // No CPU has both.
  expect(await compare({ ...cpu, features: ["3dnow", "avx512-4fmaps"] })).toBe("incompatible");
  expect(await compare({ ...cpu, model: "no-such-model" })).toBe("incompatible");
  expect(await compare({ ...cpu, features: ["no-such-feature"] })).toBe("incompatible");
  expect(await compare({ ...cpu, vendor: cpu.vendor === "Intel" ? "AMD" : "Intel" })).toBe("incompatible");
  expect(await compare(elsewhere)).toBe("incompatible");
});
