import { access, readdir } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import type { KvmHypervisor } from "../../../src/kvm/index.js";
import { requirePackages, run, waitFor } from "../../lab/index.js";
import { Tools, hasPattern, qcow2, qcow2Disk } from "./block-lab.js";
import { crashDriver } from "./crash-driver.js";
import type { CrashPoint, CrashRequest, CrashStep } from "./driver-child.js";
import { KvmLab, disk, nic } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;
type Format = "raw" | "qcow2";

beforeAll(() => requirePackages("qemu-system-x86_64", "qemu-img"));

interface Scene {
  readonly lab: KvmLab;
  readonly request: Omit<CrashRequest, "before" | "step" | "point">;
  /** The disk's first file, which holds pattern 1, and what the step is done with. */
  readonly data: string;
  readonly target: { readonly path: string; readonly format: Format };
}

const point = (what: string, when: CrashPoint["when"], nth = 1): CrashPoint => ({ what, nth, when });
const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** A guest with a disk, or a drive, `data`. */
async function prepare(lab: KvmLab, step: CrashStep): Promise<Scene> {
  const removable = step === "changeMedium";
  const format: Format = removable ? "raw" : "qcow2";
  const data = lab.directory.file("data");
  await run(["qemu-img", "create", "-q", "-f", format, data, "16M"]);
  await run(["qemu-io", "-f", format, "-c", "write -P 1 0 4M", data]);
  const overlay = lab.directory.file("overlay");
  if (step === "commitDisk" || step === "snapshotDisk")
    await qcow2(lab, "overlay", 16, { path: data, format: "qcow2" });
  if (step === "commitDisk") await run(["qemu-io", "-f", "qcow2", "-c", "write -P 2 1M 1M", overlay]);
  if (step === "mirrorDisk") await qcow2(lab, "target", 16);
  if (removable) await run(["truncate", "-s", "1M", lab.directory.file("target")]);
  const target = {
    path: step === "commitDisk" ? data : step === "snapshotDisk" ? overlay : lab.directory.file("target"),
    format,
  };
  const first = step === "commitDisk" ? overlay : data;
  const drive = disk("data", "sda", data, { bus: "sata", deviceType: "cdrom" });
  const base = await lab.definition();
  const definition = { ...base, disks: [...base.disks, removable ? drive : qcow2Disk("data", "vdb", first)] };
  lab.note(definition.uuid);
  const request = { stateDirectory: lab.stateDirectory, definition, disk: drive, nic: nic("port", 1), target };
  return { lab, request, data: first, target };
}

/** The definition names what QEMU reads and writes, and nothing else of the work is left. */
async function expectSettled(guest: Guest, { lab, target }: Scene, step: CrashStep): Promise<void> {
  await using tools = await Tools.open(lab, guest.uuid);
  const { jobs, bitmaps } = await tools.inventory();
  expect(jobs).toEqual([]);
  const source = (await guest.definition()).disks[1]?.source;
  const path = source?.type === "file" ? source.path : undefined;
  const open = await tools.qmp.execute("query-named-block-nodes", { flat: true });
  const top = await tools.top(1);
  expect(open.find((node) => node["node-name"] === top)?.file).toBe(path);
  const files = open.filter((node) => !node["node-name"]?.startsWith("disk0-")).map((node) => node.file);
  expect([...new Set(files)].sort()).toEqual(path === undefined ? [] : (await chainOf(path)).sort());
  const set = (await guest.checkpoints()).length;
  expect(bitmaps).toHaveLength(set);
  if (step === "backup") expect(await exists(target.path)).toBe(set === 1);
}

async function chainOf(path: string): Promise<string[]> {
  const info = await run(["qemu-img", "info", "-U", "--backing-chain", "--output=json", path]);
  return (JSON.parse(info) as { filename: string }[]).map(({ filename }) => filename);
}

/** What stood on the disk stands on it, before and after a restart. */
async function expectWhole(guest: Guest, { lab }: Scene, step: CrashStep): Promise<void> {
  if (step === "changeMedium") return;
  const has = async (): Promise<boolean> => {
    await using tools = await Tools.open(lab, guest.uuid);
    const second = step !== "commitDisk" || (await tools.has(1, 2, "1M", "1M"));
    return (
      second &&
      (await tools.has(1, 1, "0", "1M")) &&
      (await tools.has(1, 1, "2M", "2M")) &&
      (await tools.has(1, 7, "8M", "1M"))
    );
  };
  {
    await using tools = await Tools.open(lab, guest.uuid);
    await tools.write(1, 7, "8M", "1M");
  }
  expect(await has()).toBe(true);
  await guest.kill();
  await guest.start();
  expect(await has()).toBe(true);
}

const scenarios: readonly { readonly step: CrashStep; readonly points: readonly CrashPoint[] }[] = [
  {
    step: "mirrorDisk",
    points: [
      ...[point("blockdev-add", "after"), point("blockdev-mirror", "after"), point("job-complete", "after")],
      ...[point("write", "after", 2), point("job-finalize", "after"), point("blockdev-del", "after")],
    ],
  },
  {
    step: "commitDisk",
    points: [point("job-complete", "after"), point("write", "after", 2), point("job-finalize", "after")],
  },
  { step: "snapshotDisk", points: [point("write", "after", 2), point("transaction", "after")] },
  {
    step: "backup",
    points: [point("blockdev-create", "after"), point("transaction", "after"), point("write", "before", 2)],
  },
  {
    step: "changeMedium",
    points: [point("blockdev-remove-medium", "after"), point("blockdev-insert-medium", "after")],
  },
];

describe.each(scenarios)("a driver process that dies in the middle of $step", ({ step, points }) => {
  it.each(points)("$when $what ($nth) leaves a disk that is whole", async (at) => {
    await using lab = await KvmLab.open();
    const scene = await prepare(lab, step);
    const request = { ...scene.request, before: ["define", "start"] as const, step, point: at };
    expect(await crashDriver(lab, request)).toBe(false);
    const guest = (await lab.hypervisor.find(request.definition.uuid))!;
    await expectSettled(guest, scene, step);
    await expectWhole(guest, scene, step);
    await expectSettled(guest, scene, step);
    await guest.kill();
    await lab.hypervisor.undefine(guest.uuid);
    expect(await readdir(`${lab.stateDirectory}/guests`)).toEqual([]);
  });

  it("and whose QEMU dies with it loses nothing", async () => {
    await using lab = await KvmLab.open();
    const scene = await prepare(lab, step);
    const at =
      points.find(({ what, nth }) => what === "write" && nth === 2) ?? point("blockdev-insert-medium", "after");
    const request = { ...scene.request, before: ["define", "start"] as const, step, point: at };
    const kill = async (): Promise<void> => {
      const pid = (await lab.pid(request.definition.uuid)) as number;
      process.kill(pid, "SIGKILL");
      // Its threads hold its files until the last of them is gone.
      await waitFor(async () => !(await exists(`/proc/${pid}`)), { timeoutMs: 30_000 });
    };
    expect(await crashDriver(lab, request, kill)).toBe(false);
    const guest = (await lab.hypervisor.find(request.definition.uuid))!;
    expect(await guest.info()).toMatchObject({ state: "crashed" });
    const source = (await guest.definition()).disks[1]?.source;
    if (step !== "changeMedium" && source?.type === "file")
      expect(await hasPattern(source.path, "qcow2", 1, "2M", "2M")).toBe(true);
    if (step === "backup") expect(await exists(scene.target.path)).toBe((await guest.checkpoints()).length === 1);
    await guest.start();
    await expectSettled(guest, scene, step);
    await guest.kill();
  });
});
