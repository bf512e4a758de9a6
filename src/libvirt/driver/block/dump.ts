/** Dumps of a guest's memory, for debuggers. */
import { NotSupportedError, check } from "../../../core/index.js";
import type { CommonOptions, Deadline } from "../../../core/index.js";
import type { CopyProgress, MemoryDumpFormat } from "../../../driver/index.js";
import { withCopyProgress } from "../../../hypervisor/index.js";
import { DiskFullError, StorageError } from "../../../storage/index.js";
import { DomainCoreDumpFormat, LibvirtError, isLibvirtError } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import { observe } from "../lifecycle/reconcile.js";
import { jobProgress } from "./domain-job.js";
import { isFull, makeFile, refuseTaken } from "./target-file.js";
import { waitAtMost } from "./wait-at-most.js";
import { withWork } from "./work.js";

export interface DumpOptions extends CommonOptions {
  readonly onCopyProgress?: (progress: CopyProgress) => void;
}

const FORMATS = {
  elf: DomainCoreDumpFormat.raw,
  "kdump-zlib": DomainCoreDumpFormat.kdumpZlib,
  "kdump-lzo": DomainCoreDumpFormat.kdumpLzo,
  "kdump-snappy": DomainCoreDumpFormat.kdumpSnappy,
} as const satisfies Record<MemoryDumpFormat, number>;

/**
 * Writes the memory of a guest to a new file; the guest stands still meanwhile. QEMU can't be stopped in it: an abort waits for its end, for `cancelMs` at most, after which
 * the guest goes on by itself when QEMU is done. So it does when the daemon has died meanwhile and is back. `virDomainCoreDumpWithFormat`.
 * @throws NotSupportedError for a format that this QEMU lacks; ConflictError when something is at the path; BusyError; DiskFullError, StorageError, HostIoError,
 * InvalidStateError, AbortedError. Then no file is left.
 */
export async function dumpMemory(
  core: GuestCore,
  path: string,
  format: MemoryDumpFormat,
  options: DumpOptions,
): Promise<void> {
  check.absolutePath()(path, "path");
  check.oneOf(Object.keys(FORMATS) as MemoryDumpFormat[])(format, "format");
  await withWork(
    core,
    "dumpMemory",
    options,
    async () => {
      await observe(core);
      await refuseTaken([path]);
      return { kind: "dump", targets: [], files: [path], resume: core.powerState === "running" };
    },
    async ({ deadline }) => {
      await makeFile(core, path, Buffer.alloc(0), 0);
      deadline.throwIfExpired();
      core.see({ moving: true });
      try {
        await withCopyProgress(
          core.host,
          () => jobProgress(core),
          options.onCopyProgress,
          () => write(core, path, format, deadline),
        );
        await observe(core);
      } finally {
        core.see({ moving: false });
      }
      return (state) => state;
    },
  );
}

async function write(core: GuestCore, path: string, format: MemoryDumpFormat, deadline: Deadline): Promise<void> {
  const { domain, host } = core;
  const { jobMs, cancelMs } = host.timeouts;
  const dumping = domain.coreDumpWithFormat(path, FORMATS[format], {
    flags: ["memoryOnly"],
    deadlineMs: jobMs,
    dedicated: true,
  });
  try {
    await deadline.race(dumping);
  } catch (error) {
    if (deadline.expired) {
      await domain.abortJob({ deadlineMs: cancelMs }).catch(() => undefined);
      await waitAtMost(host, cancelMs, dumping);
      throw error;
    }
    // Nothing else of what was asked for is an argument that one libvirt takes and another does not.
    if (isLibvirtError(error, "invalidArgument"))
      throw new NotSupportedError({ capability: `memory dumps of format ${format}`, cause: error });
    if (!(error instanceof LibvirtError)) throw error;
    if (await isFull(path)) throw new DiskFullError("there is no space for the dump", { cause: error });
    throw new StorageError("libvirt could not dump the guest's memory", { cause: error });
  }
}
