// Makes a disk image that boots the test guest as an instance's image does: BIOS, syslinux on one FAT file system, qcow2.
import { existsSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";
import { withExclusiveLock } from "../lib/exclusive-lock.mjs";
import { createLog } from "../lib/progress.mjs";
import { runCommand } from "../lib/run-command.mjs";
import { findCommand } from "../lib/system-packages.mjs";
import { ensureTestGuest, guestCache, GuestUnavailable } from "./build.mjs";
import { DebianPackages, unpackPackages } from "./debian-packages.mjs";

/** The image's virtual size; a third of it is free for what tests write to the disk. */
export const BOOT_DISK_BYTES = 32 * 1024 * 1024;
/** The FAT label by which the guest knows its own disk. */
const LABEL = "HYPERVISE";

/**
 * The boot disk of the current test guest, made if the cache has none. It is shared: start guests from an overlay or a copy.
 *
 * @param {{ log?: import("../lib/progress.mjs").Log }} [options]
 * @returns {Promise<import("./build.mjs").TestGuest & { disk: string }>}
 * @throws {GuestUnavailable}
 */
export async function ensureBootDisk({ log = createLog() } = {}) {
  const guest = await ensureTestGuest({ log });
  const disk = join(guest.directory, "disk.qcow2");
  const result = { ...guest, disk };
  if (existsSync(disk)) return result;
  if (!findCommand("qemu-img")) throw new GuestUnavailable("the boot disk is made with qemu-img, which is missing");
  const places = guestCache();
  await withExclusiveLock(
    places.lock,
    async () => {
      if (!existsSync(disk)) await build(guest, disk, places, log);
    },
    { onWait: () => log("Waiting for another process that builds the boot disk") },
  );
  return result;
}

async function build(guest, disk, places, log) {
  log("Building the test guest's boot disk");
  const archive = new DebianPackages({
    directory: join(places.packages, "boot-disk"),
    state: places.aptState,
    log,
  });
  const records = [...(await archive.lookUp(["syslinux", "mtools"])).values()];
  if (records.length < 2) throw new GuestUnavailable("this system's archive lacks syslinux or mtools");
  const work = mkdtempSync(join(places.root, "build-"));
  try {
    const tools = join(work, "tools");
    await unpackPackages((await archive.download(records)).values(), tools);
    // syslinux runs mtools by name.
    const env = {
      ...process.env,
      PATH: [join(tools, "usr/bin"), process.env.PATH ?? "/usr/bin:/bin"].join(delimiter),
      TMPDIR: work,
      MTOOLS_SKIP_CHECK: "1",
    };
    const run = (argv) => runCommand(argv, { env, cwd: work });
    const raw = join(work, "disk.raw");
    const configuration = join(work, "syslinux.cfg");
    writeFileSync(configuration, syslinuxConfiguration(guest.kernelArguments));
    writeFileSync(raw, "");
    truncateSync(raw, BOOT_DISK_BYTES);
    await run(["mformat", "-i", raw, "-v", LABEL, "::"]);
    await run(["mcopy", "-i", raw, guest.kernel, "::/vmlinuz"]);
    await run(["mcopy", "-i", raw, guest.initrd, "::/initrd.gz"]);
    await run(["mcopy", "-i", raw, configuration, "::/syslinux.cfg"]);
    await run(["syslinux", "--install", raw]);
    const staged = join(work, "disk.qcow2");
    await run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, staged]);
    renameSync(staged, disk);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function syslinuxConfiguration(kernelArguments) {
  return [
    "DEFAULT guest",
    "PROMPT 0",
    "TIMEOUT 0",
    "SERIAL 0 115200",
    "LABEL guest",
    "  KERNEL vmlinuz",
    "  INITRD initrd.gz",
    `  APPEND ${kernelArguments}`,
    "",
  ].join("\n");
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.stdout.write(`${(await ensureBootDisk()).disk}\n`);
}
