import { describe, expect, it } from "vitest";
import type { Guest, GuestMigrationRequest, HypervisorEvent, MigrationProgress } from "../../../src/driver/index.js";
import { createFakeParts, FakeWorld } from "../../../src/fake/index.js";
import { definitionOf, transitions, UUID } from "./parts.js";

/** Two hosts, a running guest on the first, and the second ready to receive it. */
async function twoHosts(options: { readonly shared?: boolean; readonly memoryMiB?: number } = {}) {
  const storage = options.shared === false ? {} : { storage: "shared" };
  const world = new FakeWorld({
    hosts: [
      { name: "a", ...storage },
      { name: "b", ...storage },
    ],
  });
  const a = createFakeParts({ world, host: "a" });
  const b = createFakeParts({ world, host: "b" });
  const events: Record<"a" | "b", HypervisorEvent[]> = { a: [], b: [] };
  await a.hypervisor.open({ clock: world.clock, onEvent: (event) => events.a.push(event) });
  await b.hypervisor.open({ clock: world.clock, onEvent: (event) => events.b.push(event) });
  const image = await a.collaborators.images.fetch("cirros");
  const request = { instanceUuid: UUID, name: "root", sizeBytes: 1024 ** 3, image };
  const disk = {
    id: "root",
    bus: "virtio",
    deviceType: "disk",
    deviceName: "vda",
    readOnly: false,
    shareable: false,
  } as const;
  const source = await a.collaborators.disks.create(request);
  const memory = { memoryMiB: options.memoryMiB ?? 1024 };
  const guest = await a.hypervisor.define(definitionOf({ disks: [{ ...disk, source }], ...memory }));
  await guest.start();
  const copyDisks = options.shared === false ? ["root"] : [];
  const there =
    options.shared === false
      ? await b.collaborators.disks.create({ ...request, image: await b.collaborators.images.fetch("cirros") })
      : source;
  const { token } = await b.hypervisor.prepareIncoming(
    definitionOf({ disks: [{ ...disk, source: there }], ...memory }),
    { copyDisks },
  );
  const migration: GuestMigrationRequest = {
    token,
    copyDisks,
    downtimeMs: 500,
    allowPostcopy: true,
    autoConverge: false,
  };
  return { world, a, b, events, guest, migration };
}

/** Calls `act` once, when the migration has reached the phase (and the pass over memory). */
function once(phase: MigrationProgress["phase"], act: () => unknown, iteration = 0) {
  let done = false;
  return {
    onMigrationProgress: (progress: MigrationProgress) => {
      if (done || progress.phase !== phase || progress.iteration < iteration) return;
      done = true;
      act();
    },
  };
}

const stateOf = async (guest: Guest): Promise<string> => (await guest.info()).state;

describe("a migration between fake hosts", () => {
  it("moves a guest with all that is in it, at the link's rate", async () => {
    const { world, a, b, guest, migration, events } = await twoHosts();
    await guest.agent!.writeFile("/mark", new TextEncoder().encode("here"));
    const start = world.clock.now();
    const phases = new Set<string>();
    const onMigrationProgress = ({ phase }: MigrationProgress): void => void phases.add(phase);
    expect(await guest.migrate!(migration, { onMigrationProgress })).toBe("completed");
    expect(world.clock.now() - start).toBeCloseTo(1024);
    expect([...phases]).toEqual(["preparing", "memory", "switchover", "completed"]);
    const moved = await b.hypervisor.finishIncoming(UUID);
    expect([await stateOf(guest), await stateOf(moved)]).toEqual(["shutdown", "running"]);
    expect(world.guest(UUID)).toMatchObject({ host: b.host, boots: 1 });
    expect(new TextDecoder().decode(await moved.agent!.readFile("/mark", { maxBytes: 99 }))).toBe("here");
    expect(transitions(events.a)).toEqual(["started", "migrationStarted", "migrationCompleted", "stopped"]);
    expect(transitions(events.b)).toEqual(["resumed"]);
    await a.hypervisor.undefine(UUID);
    expect(a.host.claimed.memoryMiB).toBe(0);
    expect(b.host.claimed.memoryMiB).toBe(1024);
    expect(world.checkInvariants()).toEqual([]);
  });

  it("copies disks that are not shared, and does not begin when one is neither shared nor copied", async () => {
    const { world, guest, migration } = await twoHosts({ shared: false });
    world.guest(UUID).write("root", "precious");
    expect(await guest.migrate!({ ...migration, copyDisks: ["root"] })).toBe("completed");
    expect(world.guest(UUID).read("root")).toEqual(["image:cirros", "precious"]);
    const again = await twoHosts({ shared: false });
    await again.b.collaborators.disks.remove(UUID, "root");
    expect(await again.guest.migrate!({ ...again.migration, copyDisks: [] })).toBe("failed");
    expect(await stateOf(again.guest)).toBe("running");
  });

  it("arrives paused when it left paused", async () => {
    const { b, guest, migration } = await twoHosts();
    await guest.pause();
    expect(await guest.migrate!(migration)).toBe("completed");
    expect(await stateOf(await b.hypervisor.finishIncoming(UUID))).toBe("paused");
  });

  it("does not end while the guest writes faster than the link, until it is made to", async () => {
    const { world, guest, migration } = await twoHosts({ memoryMiB: 8192 });
    world.setBehaviour(UUID, { dirtyMiBps: 2000, workingSet: 0.5 });
    let slow = 0;
    const running = guest.migrate!(migration, {
      onMigrationProgress: ({ iteration }) => {
        slow = Math.max(slow, iteration);
        if (iteration === 10) void guest.forceCompleteMigration!("pause");
      },
    });
    expect(await running).toBe("completed");
    expect(slow).toBeGreaterThanOrEqual(10);
  });

  it("ends by itself when the guest is slowed down", async () => {
    const { world, guest, migration } = await twoHosts({ memoryMiB: 8192 });
    world.setBehaviour(UUID, { dirtyMiBps: 2000, workingSet: 0.5 });
    expect(await guest.migrate!({ ...migration, autoConverge: true })).toBe("completed");
  });

  it("runs on the destination at once after a post-copy switch, and is lost when the link breaks then", async () => {
    const options = { memoryMiB: 8192 };
    const { world, guest, migration, events } = await twoHosts(options);
    world.setBehaviour(UUID, { dirtyMiBps: 2000 });
    expect(
      await guest.migrate!(
        migration,
        once("memory", () => guest.forceCompleteMigration!("postcopy"), 2),
      ),
    ).toBe("completed");
    expect(transitions(events.a)).toContain("postcopyStarted");
    const broken = await twoHosts(options);
    broken.world.setBehaviour(UUID, { dirtyMiBps: 2000 });
    const hooks = [
      once("memory", () => broken.guest.forceCompleteMigration!("postcopy"), 2),
      once("postcopy", () => broken.world.clock.setTimeout(() => broken.world.partition("b"), 1500)),
    ];
    const lost = broken.guest.migrate!(broken.migration, {
      onMigrationProgress: (progress) => hooks.forEach((hook) => hook.onMigrationProgress(progress)),
    });
    await expect(lost).rejects.toMatchObject({ code: "GUEST_CRASHED" });
    expect(broken.world.guest(UUID).state).not.toBe("running");
    await expect(guest.forceCompleteMigration!("pause")).rejects.toMatchObject({ code: "NO_ACTIVE_MIGRATION" });
  });

  it.each([
    ["is aborted", "aborted", ({ guest }: Awaited<ReturnType<typeof twoHosts>>) => guest.abortMigration!()],
    ["loses its link", "failed", ({ world }: Awaited<ReturnType<typeof twoHosts>>) => world.partition("b")],
    [
      "is not awaited any more",
      "failed",
      ({ b }: Awaited<ReturnType<typeof twoHosts>>) => b.hypervisor.abortIncoming(UUID),
    ],
  ] as const)("leaves the guest running where it was when it %s", async (_name, outcome, act) => {
    const hosts = await twoHosts({ memoryMiB: 8192 });
    const { guest, world, b, migration } = hosts;
    const hook = once("memory", () => world.clock.setTimeout(() => void act(hosts), 2500));
    expect(await guest.migrate!(migration, hook)).toBe(outcome);
    expect(await stateOf(guest)).toBe("running");
    world.heal("b");
    await b.hypervisor.abortIncoming(UUID);
    await b.hypervisor.abortIncoming(UUID);
    expect(b.host.claimed.memoryMiB).toBe(0);
    expect(await b.hypervisor.find(UUID)).toBeUndefined();
    expect(world.checkInvariants()).toEqual([]);
    await guest.abortMigration!();
  });

  it("ends with the caller's signal, after the guest is as before", async () => {
    const { guest, world, migration } = await twoHosts({ memoryMiB: 8192 });
    const abort = new AbortController();
    world.clock.setTimeout(() => abort.abort(), 3000);
    await expect(guest.migrate!(migration, { signal: abort.signal })).rejects.toMatchObject({ code: "ABORTED" });
    expect(await stateOf(guest)).toBe("running");
  });

  it("fails when the guest ends on its way, and can't be begun twice or towards a stranger", async () => {
    const { guest, world, migration } = await twoHosts({ memoryMiB: 8192 });
    const first = guest.migrate!(migration);
    world.clock.setTimeout(() => world.crashGuest(UUID), 3000);
    await expect(guest.migrate!(migration)).rejects.toMatchObject({ code: "CONFLICT" });
    expect(await first).toBe("failed");
    await guest.start();
    const stranger = { ...migration, token: { host: "z", uuid: UUID } };
    await expect(guest.migrate!(stranger)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("keeps to the caller's bandwidth", async () => {
    const { guest, world, migration } = await twoHosts();
    const start = world.clock.now();
    await guest.migrate!({ ...migration, bandwidthMiBps: 100 });
    expect(world.clock.now() - start).toBeCloseTo(10_240);
  });

  it("does not hand the guest over without the driver that began it", async () => {
    const { guest, a, b, world, migration } = await twoHosts({ memoryMiB: 8192 });
    const hook = once("memory", () => world.clock.setTimeout(() => a.process.crash(), 2500));
    await expect(guest.migrate!(migration, hook)).rejects.toMatchObject({ code: "FAKE_PROCESS_CRASHED" });
    await world.clock.sleep(20_000);
    expect(a.host.guests.get(UUID)!.state).toBe("running");
    await expect(b.hypervisor.finishIncoming(UUID)).rejects.toMatchObject({ code: "INVALID_STATE" });
    await b.hypervisor.abortIncoming(UUID);
    expect(b.host.claimed.guests).toBe(0);
  });

  it("does not hand the guest over before its caller agrees, and keeps it when that fails", async () => {
    const { guest, a, b, migration, events } = await twoHosts();
    const beforeSwitchover = (): Promise<void> => {
      expect(a.host.guests.get(UUID)!.state).toBe("running");
      return Promise.reject(new Error("no"));
    };
    await expect(guest.migrate!(migration, { beforeSwitchover })).rejects.toThrow("no");
    expect(await stateOf(guest)).toBe("running");
    expect(transitions(events.b)).toEqual([]);
    let asked = 0;
    const agree = (): Promise<void> => Promise.resolve(void asked++);
    expect(await guest.migrate!(migration, { beforeSwitchover: agree })).toBe("completed");
    expect(asked).toBe(1);
    expect(await stateOf(await b.hypervisor.finishIncoming(UUID))).toBe("running");
  });

  it("gives back once what was set aside for a guest that ended while it waited", async () => {
    const { a, b, world } = await twoHosts();
    await b.hypervisor.find(UUID).then((guest) => guest!.kill());
    await b.hypervisor.abortIncoming(UUID);
    await b.hypervisor.undefine(UUID);
    const waiting = await b.hypervisor.prepareIncoming(definitionOf(), { copyDisks: [] });
    expect(waiting.token).toMatchObject({ host: "b", uuid: UUID });
    b.host.guest(UUID).state = "crashed";
    Object.assign(b.host.claimed, { memoryMiB: 0, vcpus: 0, guests: 0 });
    await b.hypervisor.abortIncoming(UUID);
    expect(b.host.claimed).toEqual({ memoryMiB: 0, vcpus: 0, guests: 0 });
    expect(a.host.claimed.guests).toBe(1);
    world.assertSound();
  });

  it("leaves nothing when the destination has no room", async () => {
    const world = new FakeWorld({ hosts: [{ name: "b", memoryMiB: 1024 }] });
    const { hypervisor } = createFakeParts({ world });
    await expect(hypervisor.prepareIncoming(definitionOf(), { copyDisks: [] })).rejects.toMatchObject({
      code: "NO_CAPACITY",
    });
    expect(world.ledger()).toEqual([]);
  });
});
