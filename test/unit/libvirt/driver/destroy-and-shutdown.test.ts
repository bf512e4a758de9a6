// How guests are taken out of memory: asked again and again, killed, and killed again when somebody else on the host starts them meanwhile.
import { afterEach, describe, expect, it } from "vitest";
import { VirtualClock } from "../../../../src/core/index.js";
import { LibvirtClient } from "../../../../src/libvirt/index.js";
import type { Domain } from "../../../../src/libvirt/index.js";
import { smallSpec } from "../../driver/support/specs.js";
import { LibvirtStage, instance } from "./support/libvirt-stage.js";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function openStage(...args: Parameters<typeof LibvirtStage.open>): Promise<LibvirtStage> {
  const stage = await LibvirtStage.open(...args);
  cleanups.push(() => stage.close());
  return stage;
}

/** Somebody else on the host, and what is told of the guest. */
async function another(stage: LibvirtStage): Promise<{ readonly domain: Domain; stopped(): Promise<void> }> {
  const client = await LibvirtClient.open("qemu:///system", { connect: stage.host.connector });
  cleanups.push(() => client.close());
  const events = await client.connection.events("domain", ["lifecycle"]);
  const stopped = async (): Promise<void> => {
    for await (const item of events) if (item.kind === "event" && item.data.event === 5) return;
  };
  return { domain: await client.lookupDomainByUuid(instance.uuid), stopped };
}

const REFUSALS = {
  "a process that outlives SIGKILL": { code: 38, domain: 0, int1: 16, message: "Failed to terminate process" },
  "something else on the guest that does not end": {
    code: 68,
    domain: 10,
    message: "cannot acquire state change lock",
  },
} as const;

describe("a guest that is to be destroyed", () => {
  it.each(Object.entries(REFUSALS))("is left whole for %s, and goes later", async (_, refusal) => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    const before = await stage.ledger();
    const fault = stage.host.faults.refuse("domainDestroyFlags", refusal);
    const failure = await stage.driver.destroy(instance).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({ code: "GUEST_STUCK", retryable: true, instance, cause: { code: "LIBVIRT" } });
    fault.remove();
    const kept = (await stage.ledger()).filter((line) => !line.startsWith("state operations/"));
    expect(kept).toEqual(before);
    await stage.driver.destroy(instance);
    expect(stage.host.contents.domains).toEqual([]);
  });

  it("is killed again when somebody starts it before its end was heard of", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    const { domain, stopped } = await another(stage);
    // The answer stays away until the guest runs again.
    stage.host.faults.delay("domainDestroyFlags", 200, { nth: 1, at: "after" });
    const destroying = stage.driver.destroy(instance);
    await stopped();
    await domain.create();
    await destroying;
    expect(stage.host.contents).toMatchObject({ domains: [], secrets: [] });
    expect((await stage.ledger()).filter((line) => !line.includes('"kind":"image"'))).toEqual([]);
  });

  it("is killed again when somebody starts it while it is forgotten", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    const { domain, stopped } = await another(stage);
    stage.host.faults.delay("domainUndefineFlags", 200, { nth: 1, at: "before" });
    const destroying = stage.driver.destroy(instance);
    await stopped();
    await domain.create();
    await destroying;
    expect(stage.host.contents.domains).toEqual([]);
    expect(stage.host.server.callsOf("domainDestroyFlags").length).toBeGreaterThanOrEqual(2);
  });

  it("was undefined, destroyed or never there: nothing stands against it", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    const { domain } = await another(stage);
    await domain.destroy();
    await domain.undefine();
    await stage.driver.destroy(instance);
    await stage.driver.destroy(instance);
    expect((await stage.ledger()).filter((line) => !line.includes('"kind":"image"'))).toEqual([]);
  });
});

describe("a guest that is to shut down", () => {
  /** A driver with its default waits, on a clock that only the test moves. */
  async function openTimed(): Promise<{ readonly stage: LibvirtStage; readonly clock: VirtualClock }> {
    const clock = new VirtualClock();
    const stage = await openStage({ clock, timeouts: {}, libvirtTimeouts: {} }, { clock });
    await stage.driver.spawn(smallSpec());
    return { stage, clock };
  }

  /** Waits for an answer of the daemon, which takes no time of the clock. */
  async function until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise((resolve) => setImmediate(resolve));
  }

  it("is asked every ten seconds for a minute, and then killed", async () => {
    const { stage, clock } = await openTimed();
    stage.host.setBehaviour({ acpi: "ignore" });
    const { server } = stage.host;
    const off = stage.driver.powerOff(instance);
    const asked: number[] = [];
    for (let second = 0; second < 60; second += 10) {
      await until(() => server.callsOf("domainShutdownFlags").length === second / 10 + 1);
      asked.push(clock.monotonic());
      expect(server.callsOf("domainDestroyFlags")).toEqual([]);
      await clock.tick(10_000);
    }
    expect(await off).toEqual({ how: "killed" });
    expect(asked.map((at) => at - (asked[0] ?? 0))).toEqual([0, 10_000, 20_000, 30_000, 40_000, 50_000]);
    expect(server.callsOf("domainShutdownFlags")).toHaveLength(6);
    expect(server.callsOf("domainDestroyFlags")).toHaveLength(1);
  });

  it("is asked no more once it has gone", async () => {
    const { stage, clock } = await openTimed();
    const { server } = stage.host;
    stage.host.setBehaviour({ acpi: "ignore" });
    const off = stage.driver.powerOff(instance);
    await until(() => server.callsOf("domainShutdownFlags").length === 1);
    await clock.tick(9_999);
    stage.host.powerOffGuest(instance.uuid);
    expect(await off).toEqual({ how: "guest" });
    await clock.tick(120_000);
    expect(server.callsOf("domainShutdownFlags")).toHaveLength(1);
    expect(server.callsOf("domainDestroyFlags")).toEqual([]);
  });

  it("is asked for two minutes by a soft reboot, which then is a hard one", async () => {
    const { stage, clock } = await openTimed();
    stage.host.setBehaviour({ acpi: "ignore" });
    const { server } = stage.host;
    const rebooting = stage.driver.reboot(instance, "soft");
    for (let second = 0; second < 120; second += 10) {
      await until(() => server.callsOf("domainShutdownFlags").length === second / 10 + 1);
      await clock.tick(10_000);
    }
    expect(await rebooting).toEqual({ type: "hard" });
    expect(server.callsOf("domainShutdownFlags")).toHaveLength(12);
    expect((await stage.driver.getInfo(instance)).state).toBe("running");
  });

  it("resets by itself while it is asked, and is asked on", async () => {
    const { stage, clock } = await openTimed();
    const { server } = stage.host;
    stage.host.setBehaviour({ acpi: "ignore" });
    const { domain } = await another(stage);
    const off = stage.driver.powerOff(instance, { graceMs: 30_000 });
    await until(() => server.callsOf("domainShutdownFlags").length === 1);
    await domain.reset();
    stage.host.setBehaviour({ acpi: "obey" });
    await clock.tick(10_000);
    expect(await off).toEqual({ how: "guest" });
    expect(server.callsOf("domainShutdownFlags")).toHaveLength(2);
  });

  it.each(Object.entries(REFUSALS))("can't be asked for %s: it is killed", async (_, refusal) => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    stage.host.faults.refuse("domainShutdownFlags", refusal);
    expect(await stage.driver.powerOff(instance)).toEqual({ how: "killed" });
  });

  it("is left running when it can't be killed, and again when asked later", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    const fault = stage.host.faults.refuse("domainDestroyFlags", REFUSALS["a process that outlives SIGKILL"]);
    await expect(stage.driver.powerOff(instance, { graceMs: 0 })).rejects.toMatchObject({ code: "GUEST_STUCK" });
    expect((await stage.driver.getInfo(instance)).state).toBe("running");
    fault.remove();
    expect(await stage.driver.powerOff(instance, { graceMs: 0 })).toMatchObject({
      how: expect.stringMatching(/killed|already/) as string,
    });
  });
});
