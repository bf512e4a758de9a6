import { describe, expect, it } from "vitest";
import type { Guest } from "../../../src/driver/index.js";
import { bench, transitions } from "./parts.js";
import type { Bench } from "./parts.js";

type State = "shutdown" | "running" | "paused" | "suspended" | "crashed";

const reach: Record<State, (bench: Bench) => Promise<void>> = {
  shutdown: async () => undefined,
  running: ({ guest }) => guest.start(),
  paused: ({ guest }) => guest.start({ paused: true }),
  suspended: async ({ guest }) => {
    await guest.start();
    await guest.suspend!.save();
  },
  crashed: async ({ guest, world }) => {
    await guest.start();
    world.crashGuest(guest.uuid);
  },
};

/** Each mechanism, and what becomes of a guest in each state; "no" is a refusal that leaves the state as it is. */
const TABLE: Record<string, { act: (guest: Guest) => Promise<unknown>; to: Record<State, State | "no"> }> = {
  start: {
    act: (guest) => guest.start(),
    to: { shutdown: "running", running: "no", paused: "no", suspended: "no", crashed: "running" },
  },
  kill: {
    act: (guest) => guest.kill(),
    to: { shutdown: "shutdown", running: "shutdown", paused: "shutdown", suspended: "suspended", crashed: "shutdown" },
  },
  pause: {
    act: (guest) => guest.pause(),
    to: { shutdown: "no", running: "paused", paused: "paused", suspended: "no", crashed: "no" },
  },
  resume: {
    act: (guest) => guest.resume(),
    to: { shutdown: "no", running: "running", paused: "running", suspended: "no", crashed: "no" },
  },
  reset: {
    act: (guest) => guest.reset(),
    to: { shutdown: "no", running: "running", paused: "paused", suspended: "no", crashed: "no" },
  },
  requestShutdown: {
    act: (guest) => guest.requestShutdown(),
    to: { shutdown: "no", running: "shutdown", paused: "paused", suspended: "no", crashed: "no" },
  },
  save: {
    act: (guest) => guest.suspend!.save(),
    to: { shutdown: "no", running: "suspended", paused: "suspended", suspended: "no", crashed: "no" },
  },
  restore: {
    act: (guest) => guest.suspend!.restore(),
    to: { shutdown: "no", running: "no", paused: "no", suspended: "running", crashed: "no" },
  },
  discard: {
    act: (guest) => guest.suspend!.discard(),
    to: { shutdown: "shutdown", running: "running", paused: "paused", suspended: "shutdown", crashed: "crashed" },
  },
  injectNmi: {
    act: (guest) => guest.injectNmi!(),
    to: { shutdown: "no", running: "running", paused: "no", suspended: "no", crashed: "no" },
  },
  screenshot: {
    act: (guest) => guest.screenshot!(),
    to: { shutdown: "no", running: "running", paused: "paused", suspended: "no", crashed: "no" },
  },
  openConsole: {
    act: async (guest) => (await guest.openConsole!()).destroy(),
    to: { shutdown: "no", running: "running", paused: "paused", suspended: "no", crashed: "no" },
  },
};

describe.each(Object.entries(TABLE))("%s", (_name, { act, to }) => {
  it.each(Object.entries(to) as [State, State | "no"][])("of a guest that is %s: %s", async (from, end) => {
    const parts = await bench();
    await reach[from](parts);
    expect((await parts.guest.info()).state).toBe(from);
    if (end === "no") {
      await expect(act(parts.guest)).rejects.toMatchObject({ code: "INVALID_STATE", state: from });
      expect((await parts.guest.info()).state).toBe(from);
    } else {
      await act(parts.guest);
      await Promise.resolve();
      expect((await parts.guest.info()).state).toBe(end);
    }
    await parts.guest.kill();
  });
});

describe("a fake guest", () => {
  it("tells each change once, in order, and who caused it", async () => {
    const { guest, events, world } = await bench();
    await guest.start();
    await guest.pause();
    await guest.pause();
    await guest.resume();
    await guest.reset();
    await guest.suspend!.save();
    await guest.suspend!.restore();
    await guest.requestShutdown();
    await guest.waitUntilStopped({});
    await guest.start();
    world.guest(guest.uuid).reboot();
    world.crashGuest(guest.uuid);
    expect(transitions(events)).toEqual([
      ...["started", "paused", "resumed", "rebooted", "suspended", "resumed", "stopped"],
      ...["started", "rebooted", "crashed"],
    ]);
    const causes = events.flatMap((event) => (event.type === "lifecycle" ? [event.cause] : []));
    expect(causes).toEqual([
      ...["self", "self", "self", "self", "self", "self", "guest"],
      ...["self", "guest", "crash"],
    ]);
  });

  it("acts on a shutdown request that came while it was paused when it runs again", async () => {
    const { guest } = await bench();
    await guest.start();
    await guest.pause();
    await guest.requestShutdown();
    expect((await guest.info()).state).toBe("paused");
    await guest.resume();
    await guest.waitUntilStopped({});
    expect((await guest.info()).state).toBe("shutdown");
  });

  it("can't be forgotten or redefined while it is in memory", async () => {
    const { guest, hypervisor } = await bench();
    await guest.start();
    await expect(hypervisor.undefine(guest.uuid)).rejects.toMatchObject({ code: "INVALID_STATE" });
    await expect(hypervisor.redefine(await guest.definition())).rejects.toMatchObject({ code: "INVALID_STATE" });
    await guest.kill();
    await hypervisor.undefine(guest.uuid);
    await hypervisor.undefine(guest.uuid);
    expect(await hypervisor.find(guest.uuid)).toBeUndefined();
    await expect(guest.info()).rejects.toMatchObject({ code: "INSTANCE_NOT_FOUND" });
  });

  it("is not started when it lacks a disk, a port, memory or vCPUs, and leaves nothing running", async () => {
    const { guest, hypervisor, collaborators, host, world } = await bench({ host: { vcpus: 1, memoryMiB: 2048 } });
    const definition = await guest.definition();
    const stopped = world.ledger();
    await hypervisor.redefine({ ...definition, vcpus: 16 });
    await guest.start();
    const [other] = [
      await hypervisor.define({
        ...definition,
        uuid: guest.uuid.replace("1", "9"),
        name: "other",
        disks: [],
        nics: [],
        vcpus: 1,
      }),
    ];
    await expect(other.start()).rejects.toMatchObject({ code: "NO_CAPACITY" });
    await guest.kill();
    await hypervisor.undefine(other.uuid);
    await collaborators.vifs.unplug({ type: "user", id: "port-1", macAddress: "", network: { id: "" } }, guest.uuid);
    await expect(guest.start()).rejects.toMatchObject({ code: "GUEST_START_FAILED", device: "port-1" });
    await collaborators.disks.remove(guest.uuid, "root");
    await expect(guest.start()).rejects.toMatchObject({ code: "GUEST_START_FAILED", device: "root" });
    expect(host.claimed).toEqual({ memoryMiB: 0, vcpus: 0, guests: 0 });
    expect(stopped.filter(({ kind }) => kind === "guest")).toEqual([]);
  });

  it("refuses a definition that another has the uuid or the name of, or that is larger than the host", async () => {
    const { guest, hypervisor } = await bench({ host: { memoryMiB: 4096 } });
    const definition = await guest.definition();
    await expect(hypervisor.define(definition)).rejects.toMatchObject({ code: "CONFLICT" });
    const uuid = definition.uuid.replace("1", "2");
    await expect(hypervisor.define({ ...definition, uuid })).rejects.toMatchObject({ code: "CONFLICT" });
    const large = { ...definition, uuid, name: "large", disks: [], nics: [], memoryMiB: 8192 };
    await expect(hypervisor.define(large)).rejects.toMatchObject({ code: "NO_CAPACITY" });
  });

  it("does not write to a disk that another guest writes to", async () => {
    const { guest, hypervisor } = await bench();
    await guest.start();
    const definition = await guest.definition();
    const twin = await hypervisor.define({
      ...definition,
      uuid: definition.uuid.replace("1", "2"),
      name: "twin",
      nics: [],
    });
    await expect(twin.start()).rejects.toMatchObject({ code: "GUEST_START_FAILED", device: "root" });
    await guest.kill();
    await twin.start();
  });

  it("answers with what is last known while its hypervisor process hangs, and can be killed", async () => {
    const { guest, world } = await bench();
    await guest.start();
    world.guest(guest.uuid).hang();
    expect(await guest.info()).toMatchObject({ state: "running", stale: true });
    const abort = new AbortController();
    const pausing = guest.pause({ signal: abort.signal });
    abort.abort();
    await expect(pausing).rejects.toMatchObject({ code: "ABORTED" });
    const later = guest.pause();
    world.guest(guest.uuid).unhang();
    await later;
    world.guest(guest.uuid).hang();
    await guest.kill();
    expect(await guest.info()).toMatchObject({ state: "shutdown", stale: false });
  });
});
