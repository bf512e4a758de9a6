// The QEMU process of a guest, found by its arguments.
import { readFile, readdir } from "node:fs/promises";

export async function qemuProcess(uuid: string): Promise<number> {
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (command.includes(uuid) && /qemu-system/.test(command.split("\0")[0] ?? "") && (await isAlive(Number(pid))))
      return Number(pid);
  }
  throw new Error(`no QEMU runs ${uuid}`);
}

export async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return stat !== "" && !/\) [ZX] /.test(stat);
}
