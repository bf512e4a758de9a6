import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { GuestMigrationRequest, HypervisorEvent, MigrationProgress } from "../../../src/driver/index.js";
import { absenceOf } from "../../../src/kvm/migration/guard.js";
import { resolveMigrationOptions } from "../../../src/kvm/migration/options.js";
import {
  abortMigration,
  forceCompletion,
  migrateGuest,
  migrationOutcome,
} from "../../../src/kvm/migration/outgoing.js";
import { reclaim } from "../../../src/kvm/migration/conclude.js";
import { asJson, fingerprintOf } from "../../../src/kvm/migration/token.js";
import type { MigrationToken } from "../../../src/kvm/migration/token.js";
import { resumeGuest } from "../../../src/kvm/lifecycle/vcpus.js";
import { startGuest } from "../../../src/kvm/lifecycle/start.js";
import { UUID, definition, disk } from "./definitions.js";
import { qemu72 } from "./capabilities.js";
import { fakeCore } from "./fake-session.js";
import type { FakeCore } from "./fake-session.js";

/** What a source's QEMU says and does, step by step. */
class ScriptedMigration {
  readonly executed: string[] = [];
  status = "none";
  error: string | undefined;
  pass = 0;
  remaining = 100;
  transferred = 10;
  readonly #fake: FakeCore;

  constructor(fake: FakeCore) {
    this.#fake = fake;
    const { server } = fake;
    const ram = (): object => ({
      ...{ total: 1000, transferred: this.transferred, remaining: this.remaining, "dirty-sync-count": this.pass },
      ...{ "dirty-pages-rate": 1, "page-size": 4096 },
    });
    const said = (): object => ({
      status: this.status,
      ram: ram(),
      ...(this.error === undefined ? {} : { "error-desc": this.error }),
    });
    server.on("query-migrate", () => said());
    server.on("query-jobs", () => []);
    server.on("query-named-block-nodes", () => []);
    server.on("qom-list", () => []);
    for (const command of [
      "migrate-set-capabilities",
      "migrate-set-parameters",
      "migrate",
      "migrate-continue",
      "migrate_cancel",
      "stop",
      "cont",
    ] as const)
      server.on(command, ({ args }) => {
        this.executed.push(command);
        return this.answer(command, args);
      });
  }

  answer: (command: string, args: Record<string, unknown>) => object = () => ({});

  /** The migration comes to another state, with its event. */
  become(status: string): void {
    this.status = status;
    this.#fake.server.emit("MIGRATION", { status });
  }
}

let fake: FakeCore;
let qemu: ScriptedMigration;
let events: HypervisorEvent[];

beforeEach(async () => {
  fake = await fakeCore(definition({ disks: [disk("root")], nics: [] }), { progressMs: 20, cancelMs: 2_000 });
  events = [];
  Object.assign(fake.core.host, {
    migration: resolveMigrationOptions(),
    capabilities: qemu72,
    accelerator: "kvm",
    cpuModel: "host",
    emit: (event: HypervisorEvent) => events.push(event),
  });
  qemu = new ScriptedMigration(fake);
});
afterEach(() => fake[Symbol.asyncDispose]());

function request(
  overrides: Partial<GuestMigrationRequest> = {},
  token: Partial<MigrationToken> = {},
): GuestMigrationRequest {
  const { hardware, definition: own } = fake.core.state;
  const whole: MigrationToken = {
    version: 1,
    uuid: UUID,
    memory: { type: "inet", host: "127.0.0.1", port: 49152 },
    copyDisks: [],
    postcopy: false,
    multifdChannels: 0,
    compression: "none",
    tls: false,
    fingerprint: fingerprintOf(hardware, own),
    ...token,
  };
  const base = { copyDisks: [], downtimeMs: 500, allowPostcopy: false, autoConverge: false };
  return { token: asJson(whole), ...base, ...overrides };
}

const phases = (): (string | undefined)[] => fake.saved.map(({ migration }) => migration?.phase);
const transitions = (): string[] => events.flatMap((event) => (event.type === "lifecycle" ? [event.transition] : []));

describe("a migration", () => {
  it("is on record before each step that makes it another's", async () => {
    let atSwitch: (string | undefined)[] = [];
    let atContinue: (string | undefined)[] = [];
    qemu.answer = (command) => {
      if (command === "migrate") queueMicrotask(() => qemu.become("pre-switchover"));
      if (command === "migrate-continue") {
        atContinue = phases();
        queueMicrotask(() => qemu.become("completed"));
      }
      return {};
    };
    const beforeSwitchover = (): Promise<void> => {
      atSwitch = phases();
      expect(qemu.executed).not.toContain("migrate-continue");
      return Promise.resolve();
    };
    expect(await migrateGuest(fake.core, request(), { beforeSwitchover })).toBe("completed");
    expect(atSwitch).toEqual(["outgoing"]);
    expect(atContinue).toEqual(["outgoing", "switchover"]);
    expect(phases()).toEqual(["outgoing", "switchover", "departed"]);
    expect(transitions()).toEqual(["migrationStarted", "migrationCompleted", "stopped"]);
    expect([fake.core.powerState, fake.core.inMemory]).toEqual(["shutdown", false]);
    expect(await migrationOutcome(fake.core)).toBe("completed");
    for (const run of [resumeGuest, startGuest])
      await expect(run(fake.core, {})).rejects.toMatchObject({ code: "INVALID_STATE", state: "migratedAway" });
    await expect(abortMigration(fake.core)).rejects.toMatchObject({ code: "CONFLICT" });
  });

  it("that was reached but refused by nobody listening says why it failed", async () => {
    const words = "Failed to connect to '127.0.0.1:49152': Connection refused";
    // QEMU answers first and tries then.
    qemu.answer = (command) => {
      if (command !== "migrate") return {};
      qemu.error = words;
      queueMicrotask(() => qemu.become("failed"));
      return {};
    };
    await expect(migrateGuest(fake.core, request(), {})).rejects.toMatchObject({
      code: "MIGRATION_FAILED",
      detail: words,
    });
    expect(qemu.executed).not.toContain("migrate_cancel");
    expect(phases()).toEqual(["outgoing", undefined]);
    expect(absenceOf(fake.core)).toBeUndefined();
    expect(transitions()).toEqual(["migrationStarted"]);
    await expect(forceCompletion(fake.core, "pause")).rejects.toMatchObject({ code: "NO_ACTIVE_MIGRATION" });
  });

  it("stays when the state can't be written, or the caller does not agree to the switch-over", async () => {
    qemu.answer = (command) => {
      if (command === "migrate") queueMicrotask(() => qemu.become("pre-switchover"));
      if (command === "migrate_cancel") queueMicrotask(() => qemu.become("cancelled"));
      return {};
    };
    const refuse = (): Promise<void> => Promise.reject(new Error("the disk is full"));
    const fail = (): Promise<void> => {
      fake.failure = new Error("the disk is full");
      return Promise.resolve();
    };
    for (const beforeSwitchover of [refuse, fail]) {
      qemu.executed.length = 0;
      await expect(migrateGuest(fake.core, request(), { beforeSwitchover })).rejects.toMatchObject({
        code: "MIGRATION_FAILED",
        detail: "the disk is full",
      });
      expect(qemu.executed).toContain("migrate_cancel");
      expect(qemu.executed).not.toContain("migrate-continue");
      expect(fake.core.state.migration).toBeUndefined();
    }
    expect(fake.core.powerState).toBe("running");
  });

  it("is not aborted by what an earlier one has left QEMU saying", async () => {
    qemu.status = "completed";
    qemu.answer = (command) => {
      if (command === "migrate-set-parameters") throw new Error("no");
      return {};
    };
    await expect(migrateGuest(fake.core, request(), {})).rejects.toMatchObject({ code: "MIGRATION_FAILED" });
    expect(qemu.executed).not.toContain("migrate_cancel");
    expect(fake.core.powerState).toBe("running");
  });

  it("lets the guest stand still longer when it does not get on, and says how far it is", async () => {
    const limits: unknown[] = [];
    const seen: MigrationProgress[] = [];
    qemu.answer = (command, args) => {
      if (command === "migrate-set-parameters" && "downtime-limit" in args) limits.push(args["downtime-limit"]);
      if (command === "migrate") qemu.status = "active";
      if (command === "migrate_cancel") queueMicrotask(() => qemu.become("cancelled"));
      return {};
    };
    const onMigrationProgress = (progress: MigrationProgress): void => {
      seen.push(progress);
      if (progress.phase !== "memory") return;
      if (limits.length > 3) void abortMigration(fake.core);
      qemu.pass++;
    };
    expect(await migrateGuest(fake.core, request(), { onMigrationProgress })).toBe("aborted");
    expect(limits.slice(0, 4)).toEqual([50, 100, 150, 200]);
    expect(new Set(seen.map(({ phase }) => phase))).toEqual(new Set(["preparing", "memory"]));
    expect(phases()).toEqual(["outgoing", undefined]);
  });

  it("ends when nothing goes to the destination any more, and not while something does or QEMU says nothing", async () => {
    Object.assign(fake.core.host, { timeouts: { ...fake.core.host.timeouts, stallMs: 200 } });
    const begun = (status: string): void => {
      qemu.answer = (command) => {
        if (command === "migrate") qemu.status = status;
        if (command === "migrate_cancel") queueMicrotask(() => qemu.become("cancelled"));
        return {};
      };
    };
    const silent = { code: "MIGRATION_FAILED", retryable: true, message: expect.stringContaining("200 ms") as string };
    // Both while it is being reached and later.
    for (const status of ["setup", "active"]) {
      begun(status);
      qemu.executed.length = 0;
      await expect(migrateGuest(fake.core, request(), {})).rejects.toMatchObject(silent);
      expect(qemu.executed).toContain("migrate_cancel");
      expect([fake.core.powerState, fake.core.state.migration]).toEqual(["running", undefined]);
    }
    // It goes on as long as another byte goes, and QEMU may keep silent for as long as it likes.
    begun("active");
    const looks: number[] = [];
    const clock = fake.core.host.clock;
    let away = 0;
    Object.assign(fake.core.host, {
      clock: Object.assign(Object.create(clock) as object, { monotonic: () => clock.monotonic() + away }),
    });
    const onMigrationProgress = ({ phase }: MigrationProgress): void => {
      if (phase !== "memory") return;
      looks.push(looks.length);
      away += 10_000;
      if (looks.length % 3 === 0) qemu.transferred++;
      if (looks.length === 30) qemu.become("pre-switchover");
    };
    const keep = (): Promise<void> => Promise.reject(new Error("enough"));
    await expect(
      migrateGuest(fake.core, request(), { onMigrationProgress, beforeSwitchover: keep }),
    ).rejects.toMatchObject({ detail: "enough" });
  });

  it.each([
    ["MIGRATION_PRECHECK_FAILED", {}, { fingerprint: "other" }],
    ["MIGRATION_PRECHECK_FAILED", {}, { tls: true }],
    ["MIGRATION_PRECHECK_FAILED", { copyDisks: ["root"] }, {}],
    ["INVALID_ARGUMENT", { token: {} }, {}],
  ] as const)("does not begin where the two sides disagree: %s", async (code, wanted, token) => {
    await expect(migrateGuest(fake.core, request(wanted, token), {})).rejects.toMatchObject({ code });
    expect([phases(), qemu.executed, events]).toEqual([[], [], []]);
  });

  it("forces to post-copy only what may and can", async () => {
    qemu.answer = (command) => {
      if (command === "migrate") qemu.status = "active";
      if (command === "migrate_cancel") queueMicrotask(() => qemu.become("cancelled"));
      return {};
    };
    for (const [allowPostcopy, code] of [
      [false, "INVALID_ARGUMENT"],
      [true, "NOT_SUPPORTED"],
    ] as const) {
      let refusal: Promise<void> | undefined;
      const onMigrationProgress = ({ phase }: MigrationProgress): void => {
        if (phase !== "memory" || refusal !== undefined) return;
        refusal = forceCompletion(fake.core, "postcopy").finally(() => void abortMigration(fake.core));
        refusal.catch(() => undefined);
      };
      expect(await migrateGuest(fake.core, request({ allowPostcopy }), { onMigrationProgress })).toBe("aborted");
      await expect(refusal).rejects.toMatchObject({ code });
    }
  });
});

describe("a migration that nobody works on", () => {
  const record = { role: "source", wasRunning: true, copied: [] } as const;
  const found = (phase: "outgoing" | "switchover" | "departed"): Promise<void> =>
    fake.core.update((state) => ({ ...state, migration: { ...record, phase } }));
  const cancels = (): void => {
    qemu.answer = (command) => {
      if (command === "migrate_cancel") queueMicrotask(() => qemu.become("cancelled"));
      return {};
    };
  };

  it("is given up before the switch-over, whatever QEMU says", async () => {
    await found("outgoing");
    cancels();
    qemu.status = "active";
    expect(await migrationOutcome(fake.core)).toBe("aborted");
    expect(fake.core.state.migration).toBeUndefined();
  });

  it("is given up while QEMU was not told to hand over, and waited for when it was", async () => {
    await found("switchover");
    cancels();
    qemu.status = "pre-switchover";
    expect(await migrationOutcome(fake.core)).toBe("aborted");
    await found("switchover");
    qemu.status = "device";
    const outcome = migrationOutcome(fake.core);
    setTimeout(() => qemu.become("completed"), 50);
    expect(await outcome).toBe("completed");
    expect(fake.core.powerState).toBe("shutdown");
    expect(qemu.executed.filter((command) => command === "cont")).toEqual([]);
  });

  it("runs on when QEMU says that handing over failed", async () => {
    await found("switchover");
    fake.server.paused = true;
    qemu.status = "failed";
    expect(await migrationOutcome(fake.core)).toBe("failed");
    expect(qemu.executed).toContain("cont");
    expect(absenceOf(fake.core)).toBeUndefined();
  });

  it("is taken back from a destination that is rid of it", async () => {
    await found("departed");
    fake.server.paused = true;
    qemu.status = "completed";
    await reclaim(fake.core);
    expect(qemu.executed).toContain("cont");
    expect(fake.core.state.migration).toBeUndefined();
    expect(transitions()).toEqual(["started"]);
    await reclaim(fake.core);
    await found("departed");
    await fake.core.release();
    await reclaim(fake.core);
    expect(fake.core.powerState).toBe("crashed");
  });
});
