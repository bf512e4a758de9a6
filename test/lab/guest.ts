// The Linux guest and the boot-sector guest that scripts/guest builds, once per test process.
import { readFile, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { ensureBootDisk } from "../../scripts/guest/boot-disk.mjs";
import { ensureBootSector } from "../../scripts/guest/boot-sector.mjs";
import { cpioArchive } from "../../scripts/guest/cpio.mjs";
import { silentLog } from "../../scripts/lib/progress.mjs";

export interface LabGuest {
  readonly directory: string;
  /** For a direct kernel boot. */
  readonly kernel: string;
  readonly initrd: string;
  readonly kernelArguments: string;
  readonly kernelVersion: string;
  /** A qcow2 image that boots the same guest by BIOS. Shared: start from an overlay or a copy. */
  readonly disk: string;
  /** A static busybox, the userland of a container. */
  readonly busybox: string;
  /** The guest agent, as a program of this host: what QEMU needs here it needs, too. */
  readonly guestAgent: string;
  /** What the guest needs to boot, from kernel or disk. */
  readonly memoryMiB: number;
}

let guest: Promise<LabGuest> | undefined;

/** Builds the guest if the cache has none, which needs the network; scripts/setup.mjs does it before the tests start. */
export function testGuest(): Promise<LabGuest> {
  guest ??= ensureBootDisk({ log: silentLog });
  return guest;
}

/** Path of a raw disk image whose boot sector says HV-BOOT on COM1 (see scripts/guest/boot-sector.mjs). Shared. */
export function bootSector(): string {
  return ensureBootSector();
}

/**
 * Writes to `target` an initramfs that has these files too: with an executable /etc/hypervise/run, the guest runs it when it
 * is ready, says `HV-RUN-EXIT <code>`, and powers off if the kernel's arguments hold hv.poweroff.
 *
 * @param files Path in the guest to content; all are executable.
 */
export async function writeGuestOverlay(
  guest: LabGuest,
  files: Readonly<Record<string, string>>,
  target: string,
): Promise<void> {
  const entries = Object.entries(files).map(([path, content]) => ({
    path,
    type: "file" as const,
    content,
    mode: 0o755,
  }));
  await writeFile(target, Buffer.concat([await readFile(guest.initrd), gzipSync(cpioArchive(entries))]));
}
