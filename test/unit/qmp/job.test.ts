import { afterEach, describe, expect, it } from "vitest";
import { QmpClient, QmpJob } from "../../../src/qmp/index.js";
import type { Qapi } from "../../../src/qmp/index.js";
import { NO_REPLY } from "../../../src/testing/fake-json-server.js";
import { FakeQmpServer } from "../../../src/testing/fake-qmp-server.js";

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const TIMESTAMP = { seconds: 1, microseconds: 0 };
const told = (status: Qapi.JobStatus): object => ({
  event: "JOB_STATUS_CHANGE",
  data: { id: "copy", status },
  timestamp: TIMESTAMP,
});
const listed = (status: Qapi.JobStatus): object[] => [
  { id: "copy", type: "mirror", status, "current-progress": 0, "total-progress": 1 },
];
const lines = (messages: readonly object[]): string =>
  messages.map((message) => `${JSON.stringify(message)}\r\n`).join("");

/** A QEMU that says these things of its job around its answer to `query-jobs`, all in one write. */
async function telling(before: Qapi.JobStatus[], answer: Qapi.JobStatus, after: Qapi.JobStatus[]) {
  const fake = new FakeQmpServer();
  cleanups.push(() => fake.close());
  fake.on("query-jobs", ({ id }) => {
    fake.sendRaw(lines([...before.map(told), { return: listed(answer), id }, ...after.map(told)]));
    return NO_REPLY;
  });
  const client = new QmpClient({ stream: fake.connect() });
  cleanups.push(() => client.close());
  await client.connect();
  const job = await QmpJob.adopt(client, "copy");
  if (job === undefined) throw new Error("no job");
  cleanups.push(() => job[Symbol.asyncDispose]());
  return { fake, job };
}

const soon = { deadlineMs: 5_000 };

describe("a job that is taken up", () => {
  it.each<{ before: Qapi.JobStatus[]; answer: Qapi.JobStatus; after: Qapi.JobStatus[] }>([
    { before: [], answer: "ready", after: [] },
    { before: [], answer: "running", after: ["ready"] },
    { before: ["created", "running"], answer: "running", after: ["ready"] },
    { before: [], answer: "running", after: ["paused", "running", "ready"] },
    { before: ["running", "ready"], answer: "ready", after: [] },
  ])("is as QEMU said last: $before, $answer when asked, $after", async ({ before, answer, after }) => {
    const { job } = await telling(before, answer, after);
    await expect(job.waitForStatus(["ready"], soon)).resolves.toBe("ready");
    await new Promise((resolve) => setImmediate(resolve));
    expect(job.status).toBe("ready");
  });

  it("tells of changes that came between a look and the wait for them", async () => {
    const { fake, job } = await telling([], "running", []);
    const { changes } = job;
    fake.sendRaw(lines([told("paused"), told("running"), told("paused")]));
    await job.waitForStatus(["paused"], soon);
    await new Promise((resolve) => setImmediate(resolve));
    await expect(job.waitForChange(changes, soon)).resolves.toBe("paused");
    await expect(job.waitForChange(job.changes, { deadlineMs: 20 })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
    fake.sendRaw(lines([told("concluded")]));
    await expect(job.waitForChange(job.changes, soon)).resolves.toBe("concluded");
  });
});
