import { beforeAll, describe, expect, it } from "vitest";
import type { MigrationOutcome, MigrationProgress } from "../../../src/driver/index.js";
import type { KvmHypervisor, KvmTimeouts } from "../../../src/kvm/index.js";
import { requirePackages, waitFor } from "../../lab/index.js";
import { BreakingLink } from "./breaking-link.js";
import { isAlphabet, writeFullGuest } from "./busy-guest.js";
import { KvmLab, consoleOf, disk, waitForConsole } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

beforeAll(() => requirePackages("qemu-system-x86_64"));

const MIB = 1_048_576;

const letters = async (guest: Guest): Promise<string> => (await consoleOf(guest)).replace(/[^a-z]/g, "");
const speaks = async (guest: Guest): Promise<void> => {
  const { length } = await letters(guest);
  await waitFor(async () => (await letters(guest)).length > length, { timeoutMs: 60_000, what: "another letter" });
};

/** Two hosts and the link between them, over which a guest that never rests is on its way by post-copy. */
class Journey implements AsyncDisposable {
  private constructor(
    readonly a: KvmLab,
    readonly b: KvmLab,
    readonly guest: Guest,
    readonly link: BreakingLink,
    /** How the migration ends, as its caller sees it. */
    readonly outcome: Promise<MigrationOutcome | Error>,
    /** What the guest had said when it left. */
    readonly said: string,
  ) {}

  /** When this resolves the guest runs on the second host, and lacks a part of its memory. */
  static async begin(kvmTimeouts: Partial<KvmTimeouts> = {}): Promise<Journey> {
    const migration = { listenAddress: "127.0.0.1", copy: "running" } as const;
    const a = await KvmLab.open({ migration, timeouts: kvmTimeouts });
    const b = await KvmLab.open({ migration, timeouts: kvmTimeouts });
    const root = await writeFullGuest(a.directory.file("full.img"));
    const guest = await a.define({ disks: [disk("root", "vda", root)], guestAgent: false });
    await guest.start();
    await waitForConsole(guest, /[a-z]/);
    b.note(guest.uuid);
    const request = { copyDisks: [], paused: false, guest: await guest.describeMigration() };
    const { token } = await b.hypervisor.prepareIncoming(await guest.definition(), request);
    const places = ["memory", "recovery"].map((place) => token[place] as { type: "inet"; host: string; port: number });
    const link = await BreakingLink.open(...places.map(({ port }) => port));
    const [memory, recovery] = places.map((place, i) => ({ ...place, port: link.ports[i] ?? 0 }));
    let forced = false;
    let said = "";
    const outcome = guest
      .migrate(
        {
          token: { ...token, memory: memory!, recovery: recovery! },
          copyDisks: [],
          downtimeMs: 1,
          bandwidthMiBps: 4,
          allowPostcopy: true,
          autoConverge: false,
        },
        {
          onMigrationProgress: ({ iteration }: MigrationProgress) => {
            if (forced || iteration < 1) return;
            forced = true;
            void guest.forceCompleteMigration("postcopy");
          },
          beforeSwitchover: async () => void (said = await letters(guest)),
        },
      )
      .catch((error: Error) => error);
    await b.event((event) => event.type === "lifecycle" && event.transition === "resumed", 60_000);
    await a.event((event) => event.type === "lifecycle" && event.transition === "postcopyStarted", 60_000);
    return new Journey(a, b, guest, link, outcome, said);
  }

  async arrived(): Promise<Guest> {
    return (await this.b.hypervisor.find(this.guest.uuid))!;
  }

  /** It is one guest, wholly on the second host. */
  async expectOne(): Promise<void> {
    const there = await this.b.hypervisor.finishIncoming(this.guest.uuid);
    await speaks(there);
    const said = this.said + (await letters(there));
    // Nothing of it is missing or damaged.
    expect(isAlphabet(said), said).toBe(true);
    expect(await consoleOf(there)).not.toContain("!");
    const here = (await this.a.hypervisor.find(this.guest.uuid))!;
    expect((await here.info()).state).toBe("shutdown");
    await expect(here.start()).rejects.toMatchObject({ code: "INVALID_STATE" });
    // What has run elsewhere never comes back.
    await expect(here.reclaimMigration()).rejects.toMatchObject({ code: "INVALID_STATE" });
    await here.kill();
    await there.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.link[Symbol.asyncDispose]();
    await this.a[Symbol.asyncDispose]();
    await this.b[Symbol.asyncDispose]();
  }
}

describe("a guest that is on its way by post-copy", () => {
  it("goes on over a new connection when its own breaks, again and again", async () => {
    await using journey = await Journey.begin({ progressMs: 400 });
    const { link } = journey;
    for (let breaks = 0; breaks < 2; breaks++) {
      const { carried } = link;
      link.break();
      await waitFor(() => link.carried > carried + MIB, { timeoutMs: 60_000, what: "more of its memory" });
    }
    expect(await journey.outcome).toBe("completed");
    await journey.expectOne();
  });

  it("notices a link that has fallen silent", async () => {
    await using journey = await Journey.begin({ progressMs: 400, stallMs: 3_000 });
    journey.link.mode = "silent";
    // The source lets go of it; when the link is there again the destination hears of that.
    await waitFor(() => journey.link.connections > 1, { timeoutMs: 60_000, what: "another connection" });
    journey.link.mode = "open";
    expect(await journey.outcome).toBe("completed");
    await journey.expectOne();
  });

  it("arrives although both driver processes go while its connection is broken", async () => {
    await using journey = await Journey.begin({ progressMs: 400 });
    const { a, b, link } = journey;
    link.mode = "refused";
    link.break();
    await a.hypervisor.close();
    expect(await journey.outcome).toBeInstanceOf(Error);
    await b.hypervisor.close();
    link.mode = "open";
    await b.reopen();
    await a.reopen();
    const here = (await a.hypervisor.find(journey.guest.uuid))!;
    await waitFor(async () => (await here.info()).state === "shutdown", { timeoutMs: 60_000, what: "its departure" });
    expect(await here.migrationOutcome()).toBe("completed");
    await journey.expectOne();
  });

  it("is lost when the link stays away, and runs nowhere then", async () => {
    await using journey = await Journey.begin({ progressMs: 400, recoveryMs: 2_000, arrivalMs: 3_000 });
    const { a, b, guest, link } = journey;
    link.mode = "refused";
    link.break();
    expect(await journey.outcome).toMatchObject({ code: "GUEST_CRASHED", instance: { uuid: guest.uuid } });
    expect((await guest.info()).state).toBe("shutdown");
    await expect(guest.start()).rejects.toMatchObject({ code: "INVALID_STATE" });
    await expect(guest.reclaimMigration()).rejects.toMatchObject({ code: "INVALID_STATE" });
    await expect(b.hypervisor.abortIncoming(guest.uuid)).rejects.toMatchObject({ code: "INVALID_STATE" });
    await expect(b.hypervisor.finishIncoming(guest.uuid)).rejects.toMatchObject({ code: "GUEST_CRASHED" });
    expect((await (await journey.arrived()).info()).state).toBe("crashed");
    await guest.kill();
    expect([await a.pid(guest.uuid), await b.pid(guest.uuid)]).toEqual([undefined, undefined]);
    expect(b.lifecycle(guest.uuid)).toEqual(["resumed self", "crashed crash"]);
  });
});
