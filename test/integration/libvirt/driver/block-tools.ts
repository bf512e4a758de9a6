// Disks for tests of block jobs on libvirt: patterns written and read as the guest's own device does, disks that are slow, and file systems that are full.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, readdir } from "node:fs/promises";
import type { GuestDisk } from "../../../../src/driver/index.js";
import type { DiskSource } from "../../../../src/storage/index.js";
import { parseDomainXml } from "../../../../src/libvirt/index.js";
import { run, temporaryDirectory, waitFor } from "../../../lab/index.js";
import { disk } from "./hypervisor-lab.js";
import type { HypervisorLab } from "./hypervisor-lab.js";

export const MIB = 1_048_576;

/** A qcow2 image with nothing in it, or an overlay. */
export async function qcow2(
  lab: HypervisorLab,
  name: string,
  sizeMiB = 16,
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

/** Writes, or `flush`es, through the guest's device. QEMU says nothing of how it went. */
export async function io(lab: HypervisorLab, uuid: string, diskId: string, command: string): Promise<void> {
  const domain = await (await lab.client()).lookupDomainByUuid(uuid);
  const line = `qemu-io -d /machine/peripheral/ua-disk-${diskId}/virtio-backend "${command}"`;
  await domain.qemuMonitorCommand(line, { flags: ["hmp"] });
}

/** Writes a pattern to a MiB of the disk, and so that it is in the file. */
export async function write(
  lab: HypervisorLab,
  uuid: string,
  diskId: string,
  pattern: number,
  offsetMiB: number,
): Promise<void> {
  await io(lab, uuid, diskId, `write -P ${pattern} ${offsetMiB}M 1M`);
  await io(lab, uuid, diskId, "flush");
}

/** Whether an image has the pattern in that MiB. */
export async function hasPattern(path: string, format: string, pattern: number, offsetMiB: number): Promise<boolean> {
  const read = ["qemu-io", "-U", "-r", "-f", format, "-c", `read -P ${pattern} ${offsetMiB}M 1M`, path];
  return run(read).then(
    (said) => !said.includes("verification failed"),
    (error: unknown) => {
      if ((error as { readonly stdout?: string }).stdout?.includes("verification failed") === true) return false;
      throw error;
    },
  );
}

/** What libvirt has of a disk: the file that it stands on, now and at the next start, and whether a job is on it. */
export async function standing(
  lab: HypervisorLab,
  uuid: string,
  target: string,
): Promise<{ readonly live: string | undefined; readonly configured: string | undefined; readonly job: boolean }> {
  const domain = await (await lab.client()).lookupDomainByUuid(uuid);
  const look = async (flags: readonly "inactive"[]): Promise<string | undefined> => {
    const { devices } = parseDomainXml(await domain.getXmlDesc({ flags }));
    const source = devices?.disk?.find((each) => each.target?.dev === target)?.source;
    return source?.file ?? source?.name;
  };
  const { found } = await domain.getBlockJobInfo(target);
  return { live: await look([]), configured: await look(["inactive"]), job: found !== 0 };
}

export function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

const SLOW_MIB = 64;
/** Copying takes some seconds, and so does no request that is under way when a copy is ended. */
const REQUESTS_PER_SECOND = 16;

/** A raw disk over NBD, of 64 MiB and full of pattern 8 unless it is `empty`, that answers no more than some requests a second. */
export async function slowDisk(
  lab: HypervisorLab,
  name: string,
  content: "full" | "empty" = "full",
): Promise<AsyncDisposable & { readonly source: DiskSource; readonly path: string }> {
  const path = await lab.image(`${name}-file`, SLOW_MIB);
  if (content === "full") await run(["qemu-io", "-f", "raw", "-c", `write -P 8 0 ${SLOW_MIB}M`, path]);
  const socket = lab.directory.file(`${name}.sock`);
  const group = `throttle-group,id=slow,x-iops-total=${REQUESTS_PER_SECOND}`;
  const image = `driver=throttle,throttle-group=slow,file.driver=raw,file.file.driver=file,file.file.filename=${path}`;
  const words = ["--object", group, "-k", socket, "-x", name, "-t", "-e", "8", "--image-opts", image];
  const server = spawn("qemu-nbd", words, { stdio: "ignore" });
  const over = once(server, "exit");
  await waitFor(() => exists(socket), { timeoutMs: 60_000, what: "the socket of qemu-nbd" });
  return {
    source: { type: "nbd", server: { type: "unix", path: socket }, exportName: name, format: "raw" },
    path,
    async [Symbol.asyncDispose]() {
      server.kill("SIGKILL");
      await over;
    },
  };
}

/** A file system of a few MiB, with next to no space left. A daemon sees it that is started afterwards. */
export async function fullFileSystem(): Promise<
  AsyncDisposable & { file(name: string): string; list(): Promise<string[]> }
> {
  const directory = await temporaryDirectory("small-");
  await run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0755", "tmpfs", directory.path]);
  await run(["dd", "if=/dev/zero", `of=${directory.file("ballast")}`, "bs=64K", "count=56", "status=none"]);
  return {
    file: (name) => directory.file(name),
    list: async () => (await readdir(directory.path)).filter((name) => name !== "ballast"),
    async [Symbol.asyncDispose]() {
      await run(["umount", "--lazy", directory.path]);
      await directory.remove();
    },
  };
}
