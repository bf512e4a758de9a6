/** Dumps of a guest's memory, for debuggers. */
import { open } from "node:fs/promises";
import { BusyError, Deadline, NotSupportedError, check, isHyperviseError } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import type { CopyProgress, MemoryDumpFormat } from "../../driver/index.js";
import { withCopyProgress } from "../../hypervisor/index.js";
import { DiskFullError, StorageError } from "../../storage/index.js";
import { toNumber } from "../../qmp/index.js";
import type { Qapi } from "../../qmp/index.js";
import { grantAccess } from "../access/grant-access.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";
import { isFull, makeFile, refuseTaken } from "./target-file.js";
import { FILE_PURPOSE, withWork } from "./work.js";

export interface DumpOptions extends CommonOptions {
  readonly onCopyProgress?: (progress: CopyProgress) => void;
}

const FORMATS = ["elf", "kdump-zlib", "kdump-lzo", "kdump-snappy"] as const satisfies readonly MemoryDumpFormat[];
/** Name of the file's descriptor in QEMU. */
const DESCRIPTOR = "memory-dump";

/**
 * Writes the memory of a guest to a new file; the guest stands still meanwhile. QEMU can't be stopped in it: an abort waits for its end, for `cancelMs` at most,
 * after which the guest goes on by itself when QEMU is done.
 * @throws NotSupportedError for a format that this QEMU lacks; ConflictError when something is at the path; BusyError while another dump is under way; DiskFullError,
 * StorageError, HostIoError, InvalidStateError, AbortedError. Then no file is left.
 */
export async function dumpMemory(
  core: GuestCore,
  path: string,
  format: MemoryDumpFormat,
  options: DumpOptions,
): Promise<void> {
  check.absolutePath()(path, "path");
  check.oneOf(FORMATS)(format, "format");
  await withWork(
    core,
    "dumpMemory",
    options,
    async ({ session }) => {
      const { formats } = await session.execute("query-dump-guest-memory-capability");
      if (!formats.includes(format)) throw new NotSupportedError({ capability: `memory dumps of format ${format}` });
      if ((await session.execute("query-dump")).status === "active")
        throw new BusyError("a dump of the guest's memory is under way");
      await refuseTaken([path]);
      return { diskIds: [], jobs: [], files: [path], bitmaps: [] };
    },
    async ({ session, deadline }) => {
      await makeFile(core, path, 0);
      deadline.throwIfExpired();
      // It stops the vCPUs, and has them run again, which is what was asked for.
      session.note("stop", true);
      session.note("cont", true);
      try {
        await write(core, session, path, format, deadline, options.onCopyProgress);
      } finally {
        session.note("stop", false);
        session.note("cont", false);
      }
      return (state) => state;
    },
  );
}

async function write(
  core: GuestCore,
  session: GuestSession,
  path: string,
  format: MemoryDumpFormat,
  deadline: Deadline,
  onCopyProgress: DumpOptions["onCopyProgress"],
): Promise<void> {
  await begin(core, session, path, format);
  const result = await withCopyProgress(
    core.host,
    () => progress(session),
    onCopyProgress,
    () => untilOver(session, deadline),
  ).catch(async (error: unknown) => {
    const { clock, timeouts } = core.host;
    const limit = Deadline.after(timeouts.cancelMs, { operation: "the end of the dump", clock });
    await untilOver(session, limit)
      .catch(() => undefined)
      .finally(() => limit.dispose());
    throw error;
  });
  if (result.status === "completed") return;
  if (await isFull(path)) throw new DiskFullError("there is no space for the dump");
  throw new StorageError("QEMU could not dump the guest's memory");
}

/** QEMU gets the file as a descriptor where that can be passed, for it need not be able to go to its directory, and opens it where not. */
async function begin(core: GuestCore, session: GuestSession, path: string, format: MemoryDumpFormat): Promise<void> {
  const passed = await passFile(session, path);
  if (!passed) await grantAccess(core, path, "write", FILE_PURPOSE);
  const protocol = passed ? `fd:${DESCRIPTOR}` : `file:${path}`;
  try {
    await session.execute("dump-guest-memory", { paging: false, protocol, detach: true, format });
  } catch (error) {
    if (passed) await session.execute("closefd", { fdname: DESCRIPTOR }).catch(() => undefined);
    throw error;
  }
}

async function passFile(session: GuestSession, path: string): Promise<boolean> {
  const file = await open(path, "r+");
  try {
    await session.execute("getfd", { fdname: DESCRIPTOR }, { fds: [file.fd] });
    return true;
  } catch (error) {
    if (isHyperviseError(error, "NATIVE_MODULE_MISSING") || isHyperviseError(error, "NOT_SUPPORTED")) return false;
    throw error;
  } finally {
    await file.close();
  }
}

/** Waits until QEMU is at no dump, and tells how the last one ended. */
async function untilOver(session: GuestSession, deadline: Deadline): Promise<Qapi.DumpQueryResult> {
  for (;;) {
    // From before the question, so that no end is missed.
    const news = newsOf(session);
    try {
      const result = await session.execute("query-dump");
      if (result.status !== "active") return result;
      await deadline.race(news.arrived);
    } finally {
      news.stop();
    }
  }
}

/** The end of a dump, or that events may have been missed. */
function newsOf(session: GuestSession): { readonly arrived: Promise<void>; readonly stop: () => void } {
  let settle: () => void = () => undefined;
  const arrived = new Promise<void>((resolve) => (settle = resolve));
  const stop = session.watch((event) => {
    if (event === undefined || event.event === "DUMP_COMPLETED") settle();
  });
  return { arrived, stop };
}

async function progress(session: GuestSession): Promise<CopyProgress | undefined> {
  const result = await session.execute("query-dump").catch(() => undefined);
  if (result === undefined) return undefined;
  return { doneBytes: toNumber(result.completed), totalBytes: toNumber(result.total) };
}
