/** Binding the threads of a guest in memory to the CPUs that its definition gives them. */
import { readdir } from "node:fs/promises";
import { HostIoError, setThreadAffinity } from "../../host/index.js";
import type { QmpWaitOptions } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";
import { ioThreadNumber, planPinning } from "./pinning-plan.js";
import type { GuestThreads } from "./pinning-plan.js";

/** Binds all threads as they are now; repeatable. Without effect where the definition pins nothing. @throws InvalidArgumentError, HostIoError, and what QMP throws */
export async function pinGuest(core: GuestCore, session: GuestSession, limits: QmpWaitOptions = {}): Promise<void> {
  const pinning = core.definition.hardware?.cpu?.pinning;
  if (pinning === undefined) return;
  const threads = await threadsOf(session, limits);
  for (const { thread, cpus, lasting } of planPinning(pinning, threads)) {
    try {
      setThreadAffinity(thread, cpus);
    } catch (error) {
      if (!lasting && error instanceof HostIoError && error.errno === "ESRCH") continue;
      throw error;
    }
  }
}

async function threadsOf(session: GuestSession, limits: QmpWaitOptions): Promise<GuestThreads> {
  const [cpus, ioThreads, tasks] = await Promise.all([
    session.execute("query-cpus-fast", {}, limits),
    session.execute("query-iothreads", {}, limits),
    readdir(`/proc/${session.process.identity.pid}/task`).catch((error: unknown) => {
      throw new HostIoError({ operation: "reading the threads of QEMU", cause: error });
    }),
  ]);
  return {
    vcpus: new Map(cpus.map((cpu) => [Number(cpu["cpu-index"]), Number(cpu["thread-id"])])),
    ioThreads: new Map(
      ioThreads.flatMap((thread): [number, number][] => {
        const number = ioThreadNumber(thread.id);
        return number === undefined ? [] : [[number, Number(thread["thread-id"])]];
      }),
    ),
    all: tasks.map(Number),
  };
}
