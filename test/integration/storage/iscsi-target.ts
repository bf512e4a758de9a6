// An iSCSI target of a test's own, without the kernel's help.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { run, waitFor } from "../../lab/index.js";

const MIB = 1_048_576;
export const CHAP = { username: "demo", password: "chap-secret-of-16" } as const;
export const ISCSI_TARGET = "iqn.2026-01.org.example:vol";

/** Kills the process when the work is done. */
export async function during<T>(process: ChildProcess, work: () => Promise<T>): Promise<T> {
  const ended = once(process, "exit");
  try {
    return await work();
  } finally {
    process.kill("SIGKILL");
    await ended;
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** A `tgtd` with one target of one unit of 8 MiB, which asks for CHAP. */
export async function withIscsiTarget(
  root: string,
  work: (port: number, grow: (bytes: number) => Promise<void>) => Promise<void>,
): Promise<void> {
  const port = await freePort();
  const control = String(port % 32_768);
  const disk = join(root, "unit.img");
  await writeFile(disk, "");
  await truncate(disk, 8 * MIB);
  const admin = (...words: string[]): Promise<string> => run(["tgtadm", "-C", control, "--lld", "iscsi", ...words]);
  const portal = `portal=127.0.0.1:${port}`;
  const daemon = spawn("tgtd", ["-f", "-C", control, "--iscsi", portal], { stdio: "ignore" });
  const unit = ["--tid", "1", "--lun", "1"];
  await during(daemon, async () => {
    await waitFor(
      () =>
        admin("--op", "show", "--mode", "sys").then(
          () => true,
          () => false,
        ),
      { timeoutMs: 60_000, what: "tgtd" },
    );
    await admin("--op", "new", "--mode", "target", "--tid", "1", "-T", ISCSI_TARGET);
    await admin("--op", "new", "--mode", "logicalunit", ...unit, "-b", disk);
    await admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL");
    await admin("--op", "new", "--mode", "account", "--user", CHAP.username, "--password", CHAP.password);
    await admin("--op", "bind", "--mode", "account", "--tid", "1", "--user", CHAP.username);
    await work(port, async (bytes) => {
      await admin("--op", "delete", "--mode", "logicalunit", ...unit);
      await truncate(disk, bytes);
      await admin("--op", "new", "--mode", "logicalunit", ...unit, "-b", disk);
    });
  });
}
