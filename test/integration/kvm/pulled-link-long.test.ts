import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import type { InstanceRef, LiveMigrateData } from "../../../src/driver/index.js";
import type { KvmTimeouts } from "../../../src/kvm/index.js";
import { QmpClient } from "../../../src/qmp/index.js";
import { DirectoryImageStore } from "../../../src/storage/index.js";
import { requirePackages, temporaryDirectory, waitFor } from "../../lab/index.js";
import type { TemporaryDirectory } from "../../lab/index.js";
import { isAlphabet, writeFullGuest } from "./busy-guest.js";
import { Cable, finish, prepare } from "./cabled-hosts.js";
import type { Host } from "./cabled-hosts.js";

beforeAll(() => requirePackages("qemu-system-x86_64", "qemu-img", "ip"));

/** 20 MiB at 4 MiB/s: there is time to pull a cable. */
const SLOWLY = { bandwidthMiBps: 4, downtimeMs: 1, allowPostcopy: true, autoConverge: false };

/** A guest on the first of two hosts. */
class Journey implements AsyncDisposable {
  readonly instance: InstanceRef = { uuid: randomUUID(), name: "traveller" };
  private constructor(
    readonly shared: TemporaryDirectory,
    readonly cable: Cable,
    readonly one: Host,
    readonly other: Host,
  ) {}

  static async begin(kvmTimeouts: Partial<KvmTimeouts>): Promise<Journey> {
    const shared = await temporaryDirectory("hvp-");
    const cable = await Cable.lay();
    try {
      const images = new DirectoryImageStore({ directory: shared.file("images") });
      await images.import({ id: "full", format: "raw", path: await writeFullGuest(shared.file("full.img")) });
      await cable.begin(shared, { progressMs: 400, ...kvmTimeouts });
      const journey = new Journey(shared, cable, ...cable.hosts);
      const flavor = { vcpus: 1, memoryMiB: 32, rootGiB: 1 };
      const spec = { ...journey.instance, flavor, imageId: "full", vifs: [], guestAgent: false };
      await journey.one.call("spawn", spec);
      await journey.one.speaks(journey.instance);
      return journey;
    } catch (error) {
      await cable[Symbol.asyncDispose]();
      await shared[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Sets out; resolves when some of the memory has gone. */
  async setOut(): Promise<{ readonly data: LiveMigrateData; readonly outcome: Promise<unknown> }> {
    const { one, other, instance } = this;
    const data = await prepare(one, other, instance);
    const outcome = one.call("liveMigration", instance, data, SLOWLY).then(
      () => "completed",
      (error: unknown) => error,
    );
    await this.sourceSays(({ status, sent }) => status === "active" && sent > 1_048_576);
    return { data, outcome };
  }

  /** Has it go over to post-copy; resolves when it runs on the other host, and lacks a part of its memory. */
  async goOver(): Promise<void> {
    await this.one.call("liveMigrationForceComplete", this.instance, "postcopy");
    await this.other.event(({ transition }) => transition === "resumed");
  }

  /** Waits until the source's QEMU says so of its migration. */
  async sourceSays(wanted: (said: { readonly status: string; readonly sent: number }) => boolean): Promise<void> {
    const path = this.shared.file(`host-0/guests/${this.instance.uuid}/tools.sock`);
    await using monitor = await QmpClient.open({ path });
    let said = "";
    const heard = async (): Promise<boolean> => {
      const { status = "none", ram } = await monitor.execute("query-migrate");
      said = status;
      return wanted({ status, sent: Number(ram?.transferred ?? 0) });
    };
    await waitFor(heard, { timeoutMs: 60_000, what: "a migration to get on", detail: () => said });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of [this.one, this.other]) await host.call("destroy", this.instance).catch(() => undefined);
    await this.cable[Symbol.asyncDispose]();
    await this.shared[Symbol.asyncDispose]();
  }
}

describe("a guest that is on its way, and a cable that is pulled", () => {
  it("stays while its memory is copied, and arrives by post-copy when the cable is there again", async () => {
    await using journey = await Journey.begin({ stallMs: 4_000 });
    const { one, other, cable, instance } = journey;
    {
      const { data, outcome } = await journey.setOut();
      await cable.pull();
      expect(await outcome).toMatchObject({ code: "MIGRATION_FAILED", instance: { uuid: instance.uuid } });
      await other.call("rollbackLiveMigrationAtDestination", instance, data);
      await one.call("rollbackLiveMigrationAtSource", instance, data);
      await cable.plug();
      expect(await other.pid(instance)).toBeUndefined();
      await one.speaks(instance);
    }
    const { data, outcome } = await journey.setOut();
    await journey.goOver();
    await cable.pull();
    await journey.sourceSays(({ status }) => status === "postcopy-paused");
    await cable.plug();
    expect(await outcome).toBe("completed");
    const said = await one.letters(instance);
    await finish(one, other, instance, data);
    await other.speaks(instance);
    const whole = said + (await other.letters(instance));
    expect(isAlphabet(whole), whole).toBe(true);
  });

  it("is lost by post-copy when the cable stays away, and runs nowhere then", async () => {
    await using journey = await Journey.begin({ stallMs: 3_000, recoveryMs: 6_000, arrivalMs: 6_000 });
    const { one, other, cable, instance } = journey;
    const { data, outcome } = await journey.setOut();
    await journey.goOver();
    await cable.pull();
    // It is the other host's, which knows what has become of it.
    expect(await outcome).toBe("completed");
    await expect(other.call("postLiveMigrationAtDestination", instance, data)).rejects.toMatchObject({
      code: "GUEST_CRASHED",
      instance: { uuid: instance.uuid },
    });
    expect(await other.call("getInfo", instance)).toMatchObject({ state: "crashed" });
    expect(await one.call("getInfo", instance)).toMatchObject({ state: "shutdown" });
    await expect(one.call("powerOn", instance)).rejects.toMatchObject({ code: "INVALID_STATE" });
    await expect(one.call("rollbackLiveMigrationAtSource", instance, data)).rejects.toHaveProperty("code");
    for (const host of [other, one]) await host.call("destroy", instance);
    expect([await one.pid(instance), await other.pid(instance)]).toEqual([undefined, undefined]);
  });
});
