/** libvirt's jobs of a whole domain: backups and dumps. */
import type { Deadline } from "../../../core/index.js";
import type { CopyProgress } from "../../../driver/index.js";
import { DiskFullError, StorageError } from "../../../storage/index.js";
import { DomainJobOperation, DomainJobType, isLibvirtError } from "../../rpc/index.js";
import type { TypedParameter } from "../../rpc/index.js";
import type { GuestCore, GuestListener } from "../guest-core.js";
import { requireStillThere } from "./guest-gone.js";
import { unlessAway } from "./reach-daemon.js";
import { isFull } from "./target-file.js";

type Operation = "backup" | "dump";
type Outcome = "succeeded" | "failed";

/**
 * Waits for the end of the backup that has begun.
 * @param listener from before it began
 * @param paths what it writes to
 * @throws DiskFullError, StorageError when it failed, or nobody knows how it ended; GuestCrashedError, InvalidStateError, AbortedError, DeadlineExceededError
 */
export async function waitForBackup(
  core: GuestCore,
  listener: GuestListener,
  paths: readonly string[],
  deadline: Deadline,
): Promise<void> {
  const outcome = await listener.until<Outcome>(
    async (signal) => {
      requireStillThere(core, deadline.operation);
      const told = signal?.type === "jobCompleted" ? outcomeOf(signal.parameters) : undefined;
      if (told === undefined && signal !== undefined && signal.type !== "gap") return undefined;
      return unlessAway(async () => {
        // What an event says may still be about a backup before this one.
        if (await isUnderWay(core, "backup")) return undefined;
        return told ?? lastOutcome(core);
      });
    },
    { operation: deadline.operation, deadlineMs: deadline.remainingMs + 1, signal: deadline.signal },
  );
  if (outcome === "succeeded") return;
  for (const path of paths) if (await isFull(path)) throw new DiskFullError("the storage that is copied to is full");
  throw new StorageError("libvirt could not copy the disks");
}

/** Ends the domain's job of the kind and waits until it has; one that can't be ended goes on to its end, for `cancelMs` at most. Success when there is none. */
export async function endDomainJob(core: GuestCore, operation: Operation): Promise<void> {
  const { domain, host } = core;
  const { callMs, cancelMs } = host.timeouts;
  const listener = core.listen();
  try {
    if (!(await isUnderWay(core, operation))) return;
    await domain.abortJob({ deadlineMs: callMs }).catch((error: unknown) => {
      if (!isLibvirtError(error, "invalidState") && !isLibvirtError(error, "notSupported")) throw error;
    });
    await listener.until(
      async (signal) => {
        if (!core.inMemory) return true;
        // A dump has no event of its own; that the guest runs on is one.
        const telling = signal === undefined || ["jobCompleted", "gap", "view"].includes(signal.type);
        return telling && !(await isUnderWay(core, operation)) ? true : undefined;
      },
      { operation: `waiting for the end of the ${operation}`, deadlineMs: cancelMs },
    );
  } finally {
    listener.close();
  }
}

/** How far the domain's job is; undefined where libvirt does not say. */
export async function jobProgress({ domain, host }: GuestCore): Promise<CopyProgress | undefined> {
  const said = await domain.getJobStats({ deadlineMs: host.timeouts.queryMs }).catch(() => undefined);
  if (said === undefined || said.type === DomainJobType.none) return undefined;
  const { params } = said;
  const total = params["disk_total"] ?? params["memory_total"];
  const done = params["disk_processed"] ?? params["memory_processed"];
  if (typeof total !== "bigint" || typeof done !== "bigint") return undefined;
  return { doneBytes: Number(done), totalBytes: Number(total) };
}

async function isUnderWay({ domain, host }: GuestCore, operation: Operation): Promise<boolean> {
  const { type, params } = await domain.getJobStats({ deadlineMs: host.timeouts.callMs });
  return type !== DomainJobType.none && params["operation"] === DomainJobOperation[operation];
}

/** How the last job ended; what nobody knows counts as failed. */
async function lastOutcome({ domain, host }: GuestCore): Promise<Outcome> {
  const { type, params } = await domain.getJobStats({
    flags: ["completed", "keepCompleted"],
    deadlineMs: host.timeouts.callMs,
  });
  const ours = params["operation"] === DomainJobOperation.backup;
  return ours && type === DomainJobType.completed && params["success"] !== false ? "succeeded" : "failed";
}

function outcomeOf(parameters: readonly TypedParameter[]): Outcome | undefined {
  const value = (name: string): unknown => parameters.find(({ field }) => field === name)?.value;
  if (value("operation") !== DomainJobOperation.backup) return undefined;
  return value("success") === false ? "failed" : "succeeded";
}
