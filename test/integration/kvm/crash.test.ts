import { readdir } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import type { KvmHypervisor } from "../../../src/kvm/index.js";
import { QmpClient } from "../../../src/qmp/index.js";
import { requirePackages, waitFor } from "../../lab/index.js";
import { crashDriver } from "./crash-driver.js";
import type { CrashPoint, CrashRequest, CrashStep } from "./driver-child.js";
import { KvmLab, disk, isDead, nic } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

beforeAll(() => requirePackages("qemu-system-x86_64"));

/** Runs the steps in a process that is killed at the point; true when it came past it. */
async function crash(
  lab: KvmLab,
  before: readonly CrashStep[],
  step: CrashStep,
  point: CrashPoint,
): Promise<{ readonly request: CrashRequest; readonly survived: boolean }> {
  const definition = await lab.definition({ hardware: { cpu: { maxVcpus: 2 }, memory: { maxMiB: 512 } } });
  lab.note(definition.uuid);
  const request: CrashRequest = {
    stateDirectory: lab.stateDirectory,
    definition,
    disk: disk("data", "vdb", await lab.image("data.img", 1)),
    nic: nic("port", 1),
    before,
    step,
    point,
  };
  return { request, survived: await crashDriver(lab, request) };
}

/** What QEMU has of plugged devices is what the definition says, once nothing is under way. */
async function expectConsistent(lab: KvmLab, guest: Guest): Promise<void> {
  const { disks, nics } = await guest.definition();
  const { state } = await guest.info();
  if (state === "shutdown" || state === "crashed") {
    expect(await lab.pid(guest.uuid)).toBeUndefined();
    return;
  }
  await using monitor = await QmpClient.open({ path: lab.file(guest.uuid, "tools.sock") });
  const devices = (await monitor.execute("qom-list", { path: "/machine/peripheral" })).map(({ name }) => name);
  const nodes = (await monitor.execute("query-named-block-nodes", { flat: true })).map((node) =>
    String(node["node-name"]),
  );
  expect(devices.filter((name) => /^disk\d/.test(name))).toHaveLength(disks.length);
  expect(devices.filter((name) => /^nic\d/.test(name))).toHaveLength(nics.length);
  expect(nodes.filter((name) => /^disk\d+-format$/.test(name))).toHaveLength(disks.length);
  const { vcpus, memoryMiB } = await guest.definition();
  expect(await monitor.execute("query-cpus-fast")).toHaveLength(vcpus);
  const memory = await monitor.execute("query-memory-size-summary");
  expect((Number(memory["base-memory"]) + Number(memory["plugged-memory"])) / 1_048_576).toBe(memoryMiB);
  const objects = (await monitor.execute("qom-list", { path: "/objects" })).map(({ name }) => name);
  expect(objects.filter((name) => /^memory\d+-ram$/.test(name))).toHaveLength(memoryMiB > 32 ? 1 : 0);
}

/** Nothing stands in the way of the next calls, and nothing is left after them. */
async function expectUsable(lab: KvmLab, uuid: string): Promise<void> {
  const guest = await lab.hypervisor.find(uuid);
  if (guest !== undefined) {
    const { state } = await guest.info();
    if (state === "shutdown" || state === "crashed") await guest.start();
    await guest.resume();
    await guest.attachNic(nic("another", 9));
    await expectConsistent(lab, guest);
    await guest.kill();
  }
  const pid = await lab.pid(uuid);
  expect(pid === undefined || (await isDead(pid))).toBe(true);
  await lab.hypervisor.undefine(uuid);
  expect(await readdir(`${lab.stateDirectory}/guests`)).toEqual([]);
}

const points = (what: string, count = 1): CrashPoint[] =>
  Array.from({ length: count }, (_, i) => i + 1).flatMap((nth) => [
    { what, nth, when: "before" } as const,
    { what, nth, when: "after" } as const,
  ]);

const scenarios: readonly {
  readonly step: CrashStep;
  readonly before: readonly CrashStep[];
  readonly points: readonly CrashPoint[];
}[] = [
  { step: "define", before: [], points: points("write") },
  {
    step: "start",
    before: ["define"],
    points: [...points("write"), ...points("spawn"), ...points("qmp_capabilities"), ...points("cont")],
  },
  {
    step: "attachDisk",
    before: ["define", "start"],
    points: [...points("write", 2), ...points("blockdev-add"), ...points("device_add")],
  },
  { step: "attachNic", before: ["define", "start"], points: [...points("netdev_add"), ...points("device_add")] },
  {
    step: "detachNic",
    before: ["define", "start", "attachNic"],
    points: [...points("write"), ...points("device_del")],
  },
  {
    step: "setMemory",
    before: ["define", "start"],
    points: [...points("write"), ...points("object-add"), ...points("device_add")],
  },
  { step: "setVcpus", before: ["define", "start"], points: [...points("device_add"), ...points("write")] },
  { step: "kill", before: ["define", "start"], points: [...points("quit"), ...points("write")] },
  { step: "undefine", before: ["define"], points: points("write") },
];

describe.each(scenarios)("a driver process that dies in the middle of $step", ({ step, before, points }) => {
  it.each(points)("$when $what ($nth) leaves what the next one can go on with", async (point) => {
    await using lab = await KvmLab.open();
    const { request, survived } = await crash(lab, before, step, point);
    expect(survived).toBe(false);
    const { uuid } = request.definition;
    const guest = await lab.hypervisor.find(uuid);
    if (guest !== undefined) {
      if (step === "detachNic") {
        // Its guest answers no request to let go, but a reset does, once QEMU has the request.
        expect(await guest.detachNic("port", { timeoutMs: 1 })).toBe("pending");
        const going = guest.detachNic("port", { timeoutMs: 30_000 });
        await guest.reset();
        expect(await going).toBe("detached");
      }
      await expectConsistent(lab, guest);
    }
    await expectUsable(lab, uuid);
  });
});

describe("a guest whose driver process was killed", () => {
  it("runs on and is found again, with what it had", async () => {
    await using lab = await KvmLab.open();
    const { request, survived } = await crash(lab, ["define", "start", "attachDisk"], "pause", {
      what: "none",
      nth: 1,
      when: "after",
    });
    expect(survived).toBe(true);
    const guest = (await lab.hypervisor.find(request.definition.uuid))!;
    expect(await guest.info()).toMatchObject({
      state: "paused",
      stale: false,
      startedAt: expect.any(Number) as number,
    });
    expect((await guest.definition()).disks.map(({ id }) => id)).toEqual(["root", "data"]);
    await guest.resume();
    expect(await guest.info()).toMatchObject({ state: "running" });
    expect(lab.lifecycle(guest.uuid)).toEqual(["resumed self"]);
    await expectUsable(lab, guest.uuid);
  });

  it("that ended meanwhile is known to have, and how", async () => {
    await using lab = await KvmLab.open();
    const [orderly, killed] = [await lab.define(), await lab.define()];
    for (const guest of [orderly, killed]) await guest.start();
    const pid = (await lab.pid(killed.uuid)) as number;
    const pids = [pid, (await lab.pid(orderly.uuid)) as number];
    await lab.hypervisor.close();
    {
      const monitor = await QmpClient.open({ path: lab.file(orderly.uuid, "tools.sock") });
      await monitor.quit();
    }
    process.kill(pid, "SIGKILL");
    await waitFor(async () => (await Promise.all(pids.map(isDead))).every(Boolean), { timeoutMs: 60_000 });
    await lab.reopen();
    expect(await (await lab.hypervisor.find(orderly.uuid))!.info()).toMatchObject({ state: "shutdown" });
    expect(await (await lab.hypervisor.find(killed.uuid))!.info()).toMatchObject({ state: "crashed" });
  });
});
