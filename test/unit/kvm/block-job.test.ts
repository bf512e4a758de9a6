import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Deadline, systemClock } from "../../../src/core/index.js";
import type { GuestCore } from "../../../src/kvm/guest-core.js";
import { endJob, jobProgress, reach } from "../../../src/kvm/block/job.js";
import { DEFAULT_KVM_TIMEOUTS } from "../../../src/kvm/timeouts.js";
import { waitFor } from "../../lab/wait-for.js";
import { fakeGuest } from "./fake-session.js";
import type { FakeGuest } from "./fake-session.js";

/** One job of a fake QEMU. */
interface Job {
  status: string;
  error?: string;
  ioStatus: string;
}

let guest: FakeGuest;
let job: Job | undefined;
let asked: string[];

function move(status: string): void {
  if (job !== undefined) job.status = status;
  guest.server.emit("JOB_STATUS_CHANGE", { id: "copy", status });
}

beforeEach(async () => {
  guest = await fakeGuest();
  job = { status: "running", ioStatus: "ok" };
  asked = [];
  const { server } = guest;
  server.on("query-jobs", () =>
    job === undefined
      ? []
      : [
          {
            id: "copy",
            type: "backup",
            status: job.status,
            "current-progress": 3,
            "total-progress": 7,
            ...(job.error === undefined ? {} : { error: job.error }),
          },
        ],
  );
  server.on("query-block-jobs", () => [{ device: "copy", "io-status": job?.ioStatus }]);
  for (const verb of ["cancel", "finalize", "complete"] as const)
    server.on(`job-${verb}`, () => {
      asked.push(verb);
      if (verb === "cancel" && job !== undefined) job.error = "Operation canceled";
      setImmediate(() => move("concluded"));
      return {};
    });
  server.on("job-dismiss", () => {
    asked.push("dismiss");
    job = undefined;
    return {};
  });
});
afterEach(() => guest[Symbol.asyncDispose]());

const queries = (): number => guest.server.received.filter(({ name }) => name === "query-jobs").length;
const within = (signal?: AbortSignal) =>
  Deadline.after(5_000, { operation: "a job", clock: systemClock, ...(signal === undefined ? {} : { signal }) });

describe("following a job", () => {
  it("sees the milestones that it is asked for, and dismisses it at its end", async () => {
    const ready = reach(guest.session, "copy", "ready", within());
    move("ready");
    await ready;
    const pending = reach(guest.session, "copy", "pending", within());
    move("waiting");
    move("pending");
    await pending;
    const end = reach(guest.session, "copy", "concluded", within());
    move("concluded");
    await end;
    expect(asked).toEqual(["dismiss"]);
  });

  it("goes on over moments in which the job is held", async () => {
    const end = reach(guest.session, "copy", "concluded", within());
    move("paused");
    move("running");
    move("paused");
    await new Promise((resolve) => setImmediate(resolve));
    move("running");
    move("concluded");
    await end;
  });

  it("tells a job that stopped for want of space from one that is held", async () => {
    const end = reach(guest.session, "copy", "concluded", within());
    if (job !== undefined) job.ioStatus = "nospace";
    move("paused");
    await expect(end).rejects.toMatchObject({ code: "DISK_FULL" });
    expect(asked).toEqual([]);
  });

  it("gives QEMU's reason when the job fails, also before the milestone", async () => {
    if (job !== undefined) job.error = "Input/output error";
    const ready = reach(guest.session, "copy", "ready", within());
    move("concluded");
    await expect(ready).rejects.toMatchObject({ code: "QMP_JOB_FAILED", detail: "Input/output error" });
    expect(asked).toEqual(["dismiss"]);
    await expect(reach(guest.session, "copy", "ready", within())).rejects.toMatchObject({ code: "CONFLICT" });
  });

  it("that ended well but too early is a failure too", async () => {
    const ready = reach(guest.session, "copy", "ready", within());
    move("concluded");
    await expect(ready).rejects.toMatchObject({ code: "QMP_JOB_FAILED" });
  });

  it("goes on over the loss of the monitor", async () => {
    const end = reach(guest.session, "copy", "concluded", within());
    await waitFor(() => queries() > 0);
    guest.server.hangUp();
    await waitFor(() => queries() > 1);
    move("concluded");
    await end;
    expect(asked).toEqual(["dismiss"]);
  });

  it("ends with QEMU", async () => {
    const end = reach(guest.session, "copy", "concluded", within());
    await waitFor(() => queries() > 0);
    guest.process.end({ signal: "SIGKILL" });
    guest.server.hangUp();
    await expect(end).rejects.toMatchObject({ code: "GUEST_CRASHED" });
  });

  it("is given up at once, and the job goes on", async () => {
    const abort = new AbortController();
    const end = reach(guest.session, "copy", "concluded", within(abort.signal));
    await waitFor(() => queries() > 0);
    abort.abort();
    await expect(end).rejects.toMatchObject({ code: "ABORTED" });
    expect(asked).toEqual([]);
  });
});

describe("ending a job", () => {
  const core = { host: { clock: systemClock, timeouts: DEFAULT_KVM_TIMEOUTS } } as unknown as GuestCore;

  it.each(["created", "running", "paused", "ready", "standby"])("cancels one that is %s", async (status) => {
    if (job !== undefined) job.status = status;
    await endJob(core, guest.session, "copy", true);
    expect(asked).toEqual(["cancel", "dismiss"]);
  });

  it("gives one that waits for its last word the one that is wanted", async () => {
    if (job !== undefined) job.status = "pending";
    await endJob(core, guest.session, "copy", true);
    expect(asked).toEqual(["finalize", "dismiss"]);
    job = { status: "pending", ioStatus: "ok" };
    await endJob(core, guest.session, "copy", false);
    expect(asked).toEqual(["finalize", "dismiss", "cancel", "dismiss"]);
  });

  it("succeeds when there is none", async () => {
    job = undefined;
    await endJob(core, guest.session, "copy", true);
    expect(asked).toEqual([]);
  });
});

describe("the progress of work", () => {
  it("is that of its jobs together, and none when there are none", async () => {
    expect(await jobProgress(guest.session, ["copy", "other"])).toEqual({ doneBytes: 3, totalBytes: 7 });
    expect(await jobProgress(guest.session, ["other"])).toBeUndefined();
  });
});
