/** What guests write to their serial consoles, kept by QEMU in a file of its own and held short by us. */
import { constants } from "node:fs";
import { lstat, open, rename, rm, writeFile } from "node:fs/promises";
import type { ConsoleLog } from "../../driver/index.js";
import { HostIoError, errnoName } from "../../host/index.js";
import type { GuestCore } from "../guest-core.js";

/** The last bytes of a guest's console, whether it is in memory or not; empty when it never was. @throws HostIoError */
export async function readConsoleLog(core: GuestCore, maxBytes: number): Promise<ConsoleLog> {
  const path = core.files.consoleLog;
  const older = `${path}.1`;
  const current = await tail(path, maxBytes);
  if (current.bytes.length === maxBytes)
    return { bytes: current.bytes, truncated: current.truncated || (await sizeOf(older)) > 0 };
  const earlier = await tail(older, maxBytes - current.bytes.length);
  return { bytes: Buffer.concat([earlier.bytes, current.bytes]), truncated: earlier.truncated };
}

/**
 * Holds a console's log short: beyond half of `consoleLogBytes` its content becomes the older half, in place of the one before. QEMU appends to
 * the same file on and on; what it writes in the moment between may be lost.
 */
export async function trimConsoleLog(core: GuestCore): Promise<void> {
  const path = core.files.consoleLog;
  const half = Math.floor(core.host.consoleLogBytes / 2);
  if ((await sizeOf(path)) <= half) return;
  try {
    const { bytes } = await tail(path, half);
    await rm(`${path}.tmp`, { force: true });
    await writeFile(`${path}.tmp`, bytes, { mode: 0o600, flag: "wx" });
    await truncateFile(path);
    await rename(`${path}.tmp`, `${path}.1`);
  } catch (error) {
    throw new HostIoError({ operation: "shortening a console log", path, cause: error });
  }
}

/** A QEMU that runs as another user may put what it likes in the place of its files: no link is followed. */
const AS_IT_IS = constants.O_NOFOLLOW | constants.O_NONBLOCK;

async function truncateFile(path: string): Promise<void> {
  const file = await open(path, constants.O_WRONLY | AS_IT_IS);
  try {
    await file.truncate(0);
  } finally {
    await file.close();
  }
}

async function sizeOf(path: string): Promise<number> {
  return lstat(path).then(
    (stats) => (stats.isFile() ? stats.size : 0),
    () => 0,
  );
}

async function tail(path: string, maxBytes: number): Promise<{ readonly bytes: Buffer; readonly truncated: boolean }> {
  try {
    const file = await open(path, constants.O_RDONLY | AS_IT_IS);
    try {
      const { size } = await file.stat();
      const length = Math.min(size, maxBytes);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
      return { bytes: buffer.subarray(0, bytesRead), truncated: size > length };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errnoName(error) === "ENOENT") return { bytes: Buffer.alloc(0), truncated: false };
    throw new HostIoError({ operation: "reading a console log", path, cause: error });
  }
}
