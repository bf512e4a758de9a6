// Disks for tests of block jobs: patterns written and read as the guest's own device does, and what QEMU has of nodes, jobs and bitmaps.
import { mkdir } from "node:fs/promises";
import type { GuestDisk } from "../../../src/driver/index.js";
import { QmpClient } from "../../../src/qmp/index.js";
import type { QmpCommandName } from "../../../src/qmp/index.js";
import { run } from "../../lab/index.js";
import { disk } from "./lab.js";
import type { KvmLab } from "./lab.js";
import { slowNextJob } from "./slow-job.js";

export const MIB = 1_048_576;

/** A qcow2 image with nothing in it, or an overlay. */
export async function qcow2(
  lab: KvmLab,
  name: string,
  sizeMiB = 512,
  backing?: { readonly path: string; readonly format: string },
): Promise<string> {
  const path = lab.directory.file(name);
  const on = backing === undefined ? [] : ["-b", backing.path, "-F", backing.format];
  await run(["qemu-img", "create", "-q", "-f", "qcow2", ...on, path, `${sizeMiB}M`]);
  return path;
}

export function qcow2Disk(id: string, deviceName: string, path: string, overrides: Partial<GuestDisk> = {}): GuestDisk {
  return disk(id, deviceName, path, { source: { type: "file", path, format: "qcow2" }, ...overrides });
}

/** A second monitor of a guest, for what the driver does not do. */
export class Tools implements AsyncDisposable {
  readonly qmp: QmpClient;

  private constructor(qmp: QmpClient) {
    this.qmp = qmp;
  }

  static async open(lab: KvmLab, uuid: string): Promise<Tools> {
    return new Tools(await QmpClient.open({ path: lab.file(uuid, "tools.sock") }));
  }

  /** Path or id by which QEMU knows the drive of the n-th disk of the guest. */
  async qdev(index: number): Promise<string> {
    const drives = await this.qmp.execute("query-block");
    const found = drives.find(({ qdev }) => qdev !== undefined && qdev.split("/").includes(`disk${index}`));
    return found?.qdev ?? "";
  }

  /** The node that the drive stands on; undefined without a medium. */
  async top(index: number): Promise<string | undefined> {
    const drives = await this.qmp.execute("query-block");
    const found = drives.find(({ qdev }) => qdev !== undefined && qdev.split("/").includes(`disk${index}`));
    return found?.inserted?.["node-name"];
  }

  /** Writes, or `flush`es, through the guest's device. QEMU says nothing of how it went. */
  async io(index: number, command: string): Promise<void> {
    const line = `qemu-io -d ${await this.qdev(index)} "${command}"`;
    await this.qmp.execute("human-monitor-command", { "command-line": line });
  }

  write(index: number, pattern: number, offset: string, length: string): Promise<void> {
    return this.io(index, `write -P ${pattern} ${offset} ${length}`);
  }

  /** Whether the file that the guest's device stands on, with all that is below it, has the pattern there. */
  async has(index: number, pattern: number, offset: string, length: string): Promise<boolean> {
    await this.io(index, "flush");
    const node = await this.top(index);
    const nodes = await this.qmp.execute("query-named-block-nodes", { flat: true });
    const info = nodes.find((one) => one["node-name"] === node);
    return info !== undefined && hasPattern(info.file, info.drv, pattern, offset, length);
  }

  /** Lets the next job of the name go at a snail's pace from its beginning. Call before that. */
  async slow(job: string): Promise<void> {
    slowNextJob(job, 65_536);
    await this.qmp.waitFor("JOB_STATUS_CHANGE", ({ data }) => data.id === job && data.status === "running");
  }

  async speed(job: string, bytesPerSecond: number): Promise<void> {
    await this.qmp.execute("block-job-set-speed", { device: job, speed: bytesPerSecond });
  }

  /** Jobs, nodes of disks, and bitmaps that there are. */
  async inventory(): Promise<{ readonly jobs: string[]; readonly nodes: string[]; readonly bitmaps: string[] }> {
    const jobs = await this.qmp.execute("query-jobs");
    const nodes = await this.qmp.execute("query-named-block-nodes", { flat: true });
    return {
      jobs: jobs.map(({ id }) => id),
      nodes: nodes.map((node) => String(node["node-name"])).sort(),
      bitmaps: nodes.flatMap((node) => (node["dirty-bitmaps"] ?? []).map(({ name = "" }) => name)).sort(),
    };
  }

  execute(command: QmpCommandName, args: object = {}): Promise<unknown> {
    return this.qmp.executeUntyped(command, args);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.qmp.close();
  }
}

/** Whether an image has the pattern there. */
export async function hasPattern(
  path: string,
  format: string,
  pattern: number,
  offset: string,
  length: string,
): Promise<boolean> {
  const read = ["qemu-io", "-U", "-r", "-f", format, "-c", `read -P ${pattern} ${offset} ${length}`, path];
  return run(read).then(
    (said) => !said.includes("verification failed"),
    (error: unknown) => {
      if ((error as { readonly stdout?: string }).stdout?.includes("verification failed") === true) return false;
      throw error;
    },
  );
}

/** A directory whose file system takes a few MiB, for as long as it is used. */
export async function smallDirectory(
  lab: KvmLab,
  name: string,
  sizeMiB: number,
): Promise<AsyncDisposable & { readonly path: string }> {
  const path = lab.directory.file(name);
  await mkdir(path);
  await run(["mount", "-t", "tmpfs", "-o", `size=${sizeMiB}m`, "tmpfs", path]);
  return { path, [Symbol.asyncDispose]: async () => void (await run(["umount", "-l", path])) };
}

/** Whether two images read the same. */
export async function same(one: string, oneFormat: string, other: string, otherFormat: string): Promise<boolean> {
  return run(["qemu-img", "compare", "-U", "-q", "-f", oneFormat, "-F", otherFormat, one, other]).then(
    () => true,
    () => false,
  );
}
