import { readFile, readdir } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { onlineCpus } from "../../../src/host/index.js";
import type { KvmHypervisor } from "../../../src/kvm/index.js";
import { QmpClient } from "../../../src/qmp/index.js";
import { requirePackages, waitFor } from "../../lab/index.js";
import { KvmLab } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

const koffi = await import("koffi").then(
  () => true,
  () => false,
);
const [first = 0, second = first] = onlineCpus();

beforeAll(() => requirePackages("qemu-system-x86_64"));

async function allowed(pid: number, thread: number): Promise<string> {
  const status = await readFile(`/proc/${pid}/task/${thread}/status`, "utf8");
  return /^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? "";
}

/** On which CPUs the threads of a guest may run. */
async function threadsOf(lab: KvmLab, guest: Guest): Promise<{ vcpus: string[]; ioThreads: string[]; main: string }> {
  const pid = (await lab.pid(guest.uuid)) as number;
  await using monitor = await QmpClient.open({ path: lab.file(guest.uuid, "tools.sock") });
  const cpus = await monitor.execute("query-cpus-fast");
  const ioThreads = await monitor.execute("query-iothreads");
  const sorted = [...cpus].sort((one, other) => Number(one["cpu-index"]) - Number(other["cpu-index"]));
  return {
    vcpus: await Promise.all(sorted.map((cpu) => allowed(pid, Number(cpu["thread-id"])))),
    ioThreads: await Promise.all(ioThreads.map((thread) => allowed(pid, Number(thread["thread-id"])))),
    main: await allowed(pid, pid),
  };
}

describe.runIf(koffi)("a guest whose threads have CPUs of their own", () => {
  const pinning = { vcpus: [[first], [second]], emulator: [second], ioThreads: [[first]] };

  it("has them from its start, after a vCPU was plugged, and with the next driver", async () => {
    await using lab = await KvmLab.open();
    const guest = await lab.define({ hardware: { cpu: { maxVcpus: 3, pinning }, ioThreads: 2 } });
    await guest.start({ paused: true });
    const all = (await readFile("/sys/devices/system/cpu/online", "utf8")).trim();
    expect(await threadsOf(lab, guest)).toEqual({
      vcpus: [String(first)],
      ioThreads: [String(first), all],
      main: String(second),
    });
    await guest.setVcpus(3);
    expect((await threadsOf(lab, guest)).vcpus).toEqual([String(first), String(second), all]);
    await lab.hypervisor.close();
    const pid = (await lab.pid(guest.uuid)) as number;
    const { setThreadAffinity } = await import("../../../src/host/index.js");
    for (const task of await readdir(`/proc/${pid}/task`)) setThreadAffinity(Number(task), "all");
    await lab.reopen();
    await waitFor(async () => (await threadsOf(lab, guest)).main === String(second), { what: "the binding" });
    expect((await threadsOf(lab, guest)).vcpus).toEqual([String(first), String(second), all]);
  });

  it("is refused for CPUs that the host does not have, and leaves nothing", async () => {
    await using lab = await KvmLab.open();
    await expect(lab.define({ hardware: { cpu: { pinning: { vcpus: [[9_999]] } } } })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(lab.define({ hardware: { cpu: { pinning: { emulator: [4_000] } } } })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      field: expect.stringContaining("pinning.emulator") as string,
    });
    expect(await lab.hypervisor.list()).toEqual([]);
  });
});
