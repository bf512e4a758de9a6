import { readFile, stat } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { Secret } from "../../../src/core/index.js";
import type { KvmHypervisor } from "../../../src/kvm/index.js";
import { LuksFormat } from "../../../src/storage/index.js";
import type { EncryptedSource } from "../../../src/storage/index.js";
import { requirePackages, waitFor } from "../../lab/index.js";
import { MIB } from "./block-lab.js";
import { KvmLab, disk, inGuest, waitReady } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

const TEXT = "what the guest alone may read";
const SERIAL = "sealed";

beforeAll(() => requirePackages("qemu-system-x86_64", "qemu-img"));

/** The guest's name for the disk, once it has it. */
async function deviceIn(guest: Guest): Promise<string> {
  const look = 'for disk in /sys/block/vd*; do [ "$(cat $disk/serial)" = sealed ] && basename $disk; done; true';
  return waitFor(async () => (await inGuest(guest, look)) || undefined, { timeoutMs: 60_000, what: "the disk" });
}

/** Fills the disk from `firstKiB` on with 256 KiB of lines of the text and its number. */
async function write(guest: Guest, text: string, firstKiB: number): Promise<void> {
  const device = await deviceIn(guest);
  const fill = `yes "${text}" | head -c 262144 > /tmp/text && dd if=/tmp/text of=/dev/${device} bs=1024 seek=${firstKiB} conv=fsync`;
  expect(await inGuest(guest, `${fill} 2> /dev/null && sync && echo written`)).toBe("written");
}

/** How many lines of the text are there. */
async function linesIn(guest: Guest, text: string, firstKiB: number): Promise<number> {
  const device = await deviceIn(guest);
  const read = `echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/${device} bs=1024 skip=${firstKiB} count=256 2> /dev/null`;
  return Number(await inGuest(guest, `${read} | grep -c "^${text}$"`));
}

describe("a Linux guest with an encrypted volume", { timeout: 600_000 }, () => {
  it("finds what it wrote when it has it again, and when it is started again; on the host nobody can read it", async () => {
    await using lab = await KvmLab.open();
    await lab.secrets.put("key", Secret.of("a passphrase of the volume"));
    const path = lab.directory.file("volume.luks");
    const source: EncryptedSource = {
      type: "file",
      path,
      format: "raw",
      encryption: { format: "luks", secretId: "key" },
    };
    const luks = new LuksFormat({ secrets: lab.secrets });
    const guestBytes = await luks.format(source, { sizeBytes: 8 * MIB, iterationMs: 10 });
    const volume = disk("data", "vda", path, { source, serial: SERIAL });
    const lines = Math.floor(262_144 / (TEXT.length + 1));

    const guest = await lab.linux({ disks: [volume] });
    await guest.start();
    await waitReady(guest);
    expect(await inGuest(guest, `cat /sys/block/${await deviceIn(guest)}/size`)).toBe(String(guestBytes / 512));
    await write(guest, TEXT, 0);
    expect(await guest.detachDisk("data", { timeoutMs: 60_000 })).toBe("detached");
    await guest.attachDisk(volume);
    expect(await linesIn(guest, TEXT, 0)).toBe(lines);
    await write(guest, `${TEXT}, twice`, 1024);
    await guest.kill();

    const sealed = await readFile(path);
    expect((await stat(path)).size).toBe(8 * MIB);
    expect(sealed.subarray(0, 4).toString("latin1")).toBe("LUKS");
    expect(sealed.includes(TEXT)).toBe(false);
    expect(sealed.includes("passphrase")).toBe(false);

    await lab.reopen();
    const again = (await lab.hypervisor.find(guest.uuid))!;
    await again.start();
    await waitReady(again);
    expect(await linesIn(again, TEXT, 0)).toBe(lines);
    expect(await linesIn(again, `${TEXT}, twice`, 1024)).toBeGreaterThan(5_000);
    await again.kill();
  });
});
