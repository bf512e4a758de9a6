/** Brings to its end what work on a guest's disks and memory has left: by whoever did it, or by the next process when that has died. */
import { rm } from "node:fs/promises";
import { Deadline, asError, traceMessage } from "../../../core/index.js";
import { HostIoError } from "../../../host/index.js";
import type { DiskSource } from "../../../storage/index.js";
import { DomainPausedReason, DomainState, isLibvirtError } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import { defineDomain } from "../lifecycle/define.js";
import { observe } from "../lifecycle/reconcile.js";
import { dropSecrets, secretUsesOf } from "../secrets.js";
import type { DiskMove, GuestWork } from "../state/guest-work.js";
import { withSource, withoutWork } from "./alter-source.js";
import { endBlockJob } from "./block-job.js";
import { forgetDisk, removeFromLibvirt } from "./checkpoints.js";
import { endDomainJob } from "./domain-job.js";
import { findInDomain, standsOn } from "./live-disk.js";
import { giveBackSize, growToOwnSize } from "./target-size.js";

/**
 * Undoes what work has left, or finishes it where the guest has gone over already: libvirt's domain tells which. Repeatable; without effect where there is none.
 * @throws LibvirtError, HostIoError; then the record of it stays
 */
export async function settleWork(core: GuestCore): Promise<void> {
  const { work } = core.state;
  if (work === undefined) return;
  if (core.inMemory) await endJobs(core, work);
  const source = work.move === undefined ? undefined : await settleMove(core, work.move);
  if (work.checkpoint !== undefined && core.inMemory) await removeFromLibvirt(core, work.checkpoint);
  await removeFiles(work.files);
  await core.update((state) => {
    const rest = withoutWork(state);
    return work.move === undefined || source === undefined ? rest : withSource(rest, work.move.diskId, source);
  });
  if (work.move !== undefined) await dropUnused(core, work.move);
}

/** {@link settleWork} of what an earlier process, or this one while the daemon was away, has left. Never rejects: what can't be settled is tried again with the next work and the next adoption. */
export async function settleLeftWork(core: GuestCore): Promise<void> {
  if (core.state.work === undefined || core.workTurn.isTaken || core.released) return;
  await core.workTurn
    .settle("disks", () => settleWork(core))
    .catch((error: unknown) => {
      traceMessage("hypervise:libvirt:background-failure", () => ({
        instance: core.instance,
        error: asError(error).message,
      }));
    });
}

async function endJobs(core: GuestCore, work: GuestWork): Promise<void> {
  for (const target of work.targets) await endBlockJob(core, target);
  if (work.kind === "backup" || work.kind === "dump") await endDomainJob(core, work.kind);
  if (work.resume === true) await letRun(core);
}

/**
 * A daemon that has died in the middle of a dump does not let the guest go on; nor does QEMU for as long as it writes, and libvirt does not tell when it is done.
 * @throws DeadlineExceededError after `memoryMs`, LibvirtError
 */
async function letRun(core: GuestCore): Promise<void> {
  const { clock, timeouts } = core.host;
  const limit = Deadline.after(timeouts.memoryMs, { operation: "letting the guest go on", clock });
  try {
    while (!(await goesOn(core))) await limit.race(clock.sleep(timeouts.progressMs, { signal: limit.signal }));
  } finally {
    limit.dispose();
  }
  await observe(core);
}

/** Why a guest stands that work has stopped; unknown to a daemon that was restarted. */
const BY_WORK: readonly number[] = [DomainPausedReason.dump, DomainPausedReason.user, DomainPausedReason.unknown];

/** Lets a guest go on that the work has stopped. False while QEMU refuses that. */
async function goesOn({ domain, host }: GuestCore): Promise<boolean> {
  const limits = { deadlineMs: host.timeouts.callMs };
  const { state, reason } = await domain.getState(limits);
  if (state !== DomainState.paused || !BY_WORK.includes(reason)) return true;
  try {
    await domain.resume(limits);
    return true;
  } catch (error) {
    if (isLibvirtError(error, "internal") || isLibvirtError(error, "timeout")) return false;
    throw error;
  }
}

/** The source that the disk has now; undefined where it has neither: somebody has given it another one since. */
async function settleMove(core: GuestCore, move: DiskMove): Promise<DiskSource | undefined> {
  const { diskId, from, to } = move;
  const found = await findInDomain(core, diskId).catch((error: unknown) => {
    if (!isLibvirtError(error, "domainNotFound")) throw error;
  });
  const source = found === undefined ? from : [to, from].find((each) => standsOn(core, diskId, found, each));
  if (found === undefined || source !== to) await giveBackSize(move);
  else {
    if (core.inMemory) await growToOwnSize(core, found.target, move);
    if (to.format !== "qcow2") await forgetDisk(core, diskId);
  }
  if (found !== undefined && source !== undefined) await alignConfiguration(core, diskId, source);
  return source;
}

/** libvirt keeps what the guest starts with the next time in step; should it not have, it is defined anew. */
async function alignConfiguration(core: GuestCore, diskId: string, source: DiskSource): Promise<void> {
  const configured = await findInDomain(core, diskId, "configured");
  if (configured === undefined || standsOn(core, diskId, configured, source)) return;
  await core.update((state) => withSource(state, diskId, source));
  await defineDomain(core);
}

/** The secrets of the source that the disk does not have. */
async function dropUnused(core: GuestCore, { from, to }: DiskMove): Promise<void> {
  const { host, definition, instance } = core;
  const used = new Set(secretUsesOf(definition.disks.map(({ source }) => source)).map(({ secretId }) => secretId));
  const unused = secretUsesOf([from, to]).filter(({ secretId }) => !used.has(secretId));
  await dropSecrets(host, instance.uuid, unused);
}

async function removeFiles(files: readonly string[]): Promise<void> {
  for (const path of files) {
    await rm(path, { force: true }).catch((cause: unknown) => {
      throw new HostIoError({ operation: "removing a file", path, cause });
    });
  }
}
