/** Copies of a running guest's disks to the destination, which receives every write too, until the guest goes over. */
import { MigrationError } from "../../driver/index.js";
import { QmpCommandError, toNumber } from "../../qmp/index.js";
import type { Qapi, QmpArguments } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";
import { nbdServer } from "./addresses.js";
import type { DirectAddress } from "./addresses.js";
import type { CopiedDisks } from "./progress.js";
import { TLS_CREDENTIALS } from "./tls.js";
import { follow } from "./watch.js";
import type { Nudge } from "./watch.js";

export interface MirrorTarget {
  readonly address: DirectAddress;
  /** Name that the destination's certificate bears; absent without TLS. */
  readonly tlsHostname?: string;
  /** 0: unlimited. */
  readonly bytesPerSecond: number;
}

/** Id of the job and of the block node that stands for a disk on the destination. */
function awayOf(handle: string): string {
  return `${handle}-away`;
}

/** Begins to copy a disk. @throws QmpCommandError, GuestCrashedError */
export async function startMirror(
  session: GuestSession,
  handle: string,
  { address, tlsHostname, bytesPerSecond }: MirrorTarget,
  signal: AbortSignal,
): Promise<void> {
  const away = awayOf(handle);
  const node = {
    driver: "nbd",
    "node-name": away,
    server: nbdServer(address),
    export: handle,
    discard: "unmap",
    "detect-zeroes": "unmap",
    ...(tlsHostname === undefined ? {} : { "tls-creds": TLS_CREDENTIALS, "tls-hostname": tlsHostname }),
  };
  await session.execute("blockdev-add", node as unknown as QmpArguments<"blockdev-add">, { signal });
  await session.execute(
    "blockdev-mirror",
    {
      "job-id": away,
      device: await topNode(session, handle),
      target: away,
      sync: "full",
      "copy-mode": "write-blocking",
      "auto-dismiss": false,
      ...(bytesPerSecond === 0 ? {} : { speed: bytesPerSecond }),
    },
    { signal },
  );
}

/** The block node that a disk's device stands on now. @throws MigrationError when it has none */
async function topNode(session: GuestSession, handle: string): Promise<string> {
  const drives = await session.execute("query-block");
  const drive = drives.find(({ qdev }) => qdev === handle || qdev?.split("/").includes(handle) === true);
  const node = drive?.inserted?.["node-name"];
  if (node === undefined) throw new MigrationError("a disk that is to be copied has no medium", { device: handle });
  return node;
}

/** How far the copies are. @throws MigrationError when one has failed */
export function copiedDisks(
  jobs: readonly Qapi.JobInfo[],
  handles: readonly string[],
): CopiedDisks & { ready: boolean } {
  const ours = handles.map((handle) => jobs.find(({ id }) => id === awayOf(handle)));
  const failed = ours.find((job) => job === undefined || job.error !== undefined || ENDED.has(job.status));
  if (failed !== undefined || ours.includes(undefined))
    throw new MigrationError("a disk could not be copied to the destination", {
      ...(failed?.error === undefined ? {} : { detail: failed.error }),
    });
  const sum = (figure: "current-progress" | "total-progress"): number =>
    ours.reduce((total, job) => total + (job === undefined ? 0 : toNumber(job[figure])), 0);
  return {
    totalBytes: sum("total-progress"),
    doneBytes: sum("current-progress"),
    ready: ours.every((job) => job?.status === "ready"),
  };
}

const ENDED: ReadonlySet<string> = new Set(["aborting", "concluded", "null"]);

/** The guest stands still: lets the copies become whole, and ends them. @throws MigrationError when one does not */
export async function finishMirrors(
  core: GuestCore,
  session: GuestSession,
  handles: readonly string[],
  options: { readonly limitMs: number; readonly signal?: AbortSignal; readonly nudge?: Nudge },
): Promise<void> {
  if (handles.length === 0) return;
  for (const handle of handles) await session.execute("block-job-cancel", { device: awayOf(handle) }, options);
  const jobs = await untilConcluded(core, session, handles, "ending the copies of disks", options);
  const failed = jobs.find(({ error }) => error !== undefined);
  if (failed?.error !== undefined)
    throw new MigrationError("a disk could not be copied to the destination", { detail: failed.error });
  await removeMirrors(core, session, handles);
}

/** Ends the copies at once, whatever they are, and removes what they stood on. Success when there are none. */
export async function removeMirrors(core: GuestCore, session: GuestSession, handles: readonly string[]): Promise<void> {
  if (handles.length === 0) return;
  const known = new Set((await session.execute("query-jobs")).map(({ id }) => id));
  for (const handle of handles) if (known.has(awayOf(handle))) await cancel(session, awayOf(handle));
  const { cancelMs } = core.host.timeouts;
  const over = await untilConcluded(core, session, handles, "ending the copies of disks", { limitMs: cancelMs });
  for (const { id } of over) await session.execute("job-dismiss", { id });
  const nodes = new Set((await session.execute("query-named-block-nodes", { flat: true })).map((n) => n["node-name"]));
  for (const handle of handles)
    if (nodes.has(awayOf(handle))) await session.execute("blockdev-del", { "node-name": awayOf(handle) });
}

/** One that has ended in this moment can't be cancelled. */
async function cancel(session: GuestSession, id: string): Promise<void> {
  await session.execute("block-job-cancel", { device: id, force: true }).catch((error: unknown) => {
    if (!(error instanceof QmpCommandError)) throw error;
  });
}

function untilConcluded(
  core: GuestCore,
  session: GuestSession,
  handles: readonly string[],
  what: string,
  options: { readonly limitMs: number; readonly signal?: AbortSignal; readonly nudge?: Nudge },
): Promise<readonly Qapi.JobInfo[]> {
  const ids = new Set(handles.map(awayOf));
  return follow(
    core,
    session,
    (signal) => session.execute("query-jobs", {}, { signal }),
    (jobs) => {
      const ours = jobs.filter(({ id }) => ids.has(id));
      return ours.every(({ status }) => status === "concluded") ? ours : undefined;
    },
    { what, ...options },
  );
}
