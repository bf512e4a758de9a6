// Guests for tests of block jobs on libvirt: one disk to work on, and where it is to stand afterwards.
import { expect } from "vitest";
import type { LibvirtHypervisor } from "../../../../src/libvirt/driver/index.js";
import type { DiskSource } from "../../../../src/storage/index.js";
import { bootSector, run } from "../../../lab/index.js";
import { qcow2, qcow2Disk, standing } from "./block-tools.js";
import { disk } from "./hypervisor-lab.js";
import type { HypervisorLab } from "./hypervisor-lab.js";

export type Guest = Awaited<ReturnType<LibvirtHypervisor["define"]>>;

let count = 0;

export function file(path: string, format: "raw" | "qcow2" = "qcow2"): DiskSource {
  return { type: "file", path, format };
}

/** A running guest whose disk `data` has pattern 1 in its first MiB. */
export async function withGuest(
  lab: HypervisorLab,
  test: (guest: Guest, data: string, name: (what: string) => string) => Promise<void>,
  { memoryMiB = 32, sizeMiB = 16 }: { readonly memoryMiB?: number; readonly sizeMiB?: number } = {},
): Promise<void> {
  const prefix = `t${++count}-`;
  const data = await qcow2(lab, `${prefix}data`, sizeMiB);
  await run(["qemu-io", "-f", "qcow2", "-c", `write -P 1 0 ${sizeMiB === 16 ? 1 : sizeMiB}M`, data]);
  const boots = disk("root", "vda", bootSector(), { readOnly: true, bootIndex: 0 });
  const guest = await lab.define({ disks: [boots, qcow2Disk("data", "vdb", data)], memoryMiB });
  try {
    await guest.start();
    await test(guest, data, (what) => `${prefix}${what}`);
  } finally {
    // By the hypervisor that there is by now.
    await (await lab.hypervisor.find(guest.uuid))?.kill();
    await lab.hypervisor.undefine(guest.uuid);
  }
}

export async function sourceOf(guest: Guest): Promise<DiskSource | undefined> {
  return (await guest.definition()).disks.find(({ id }) => id === "data")?.source;
}

/** The guest stands on the file, now, at its next start, and by what we say of it; nothing is at work. */
export async function expectOn(lab: HypervisorLab, guest: Guest, path: string): Promise<void> {
  expect(await standing(lab, guest.uuid, "vdb")).toEqual({ live: path, configured: path, job: false });
  expect(await sourceOf(guest)).toMatchObject({ path });
}
