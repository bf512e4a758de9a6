// A live migration between two simulated daemons, with each of its calls to either failing once: the guest is on one host, and the other has nothing of it.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { liveMigrate } from "../../../../src/driver/index.js";
import type { LiveMigrateData } from "../../../../src/driver/index.js";
import { ErrorDomain, ErrorNumber } from "../../../../src/libvirt/index.js";
import { smallSpec } from "../../../unit/driver/support/specs.js";
import { LibvirtStage, instance } from "../../../unit/libvirt/driver/support/libvirt-stage.js";

const KINDS = ["refused", "carried out, then refused", "carried out, then hung up"] as const;
const PLACES = ["source", "destination"] as const;
type Place = (typeof PLACES)[number];

let stages: { readonly [P in Place]: LibvirtStage };

beforeAll(async () => {
  const timeouts = { queryMs: 1_000, callMs: 2_000, killMs: 2_000, progressMs: 10, arrivalMs: 2_000, cancelMs: 2_000 };
  const destination = await LibvirtStage.open(
    { migration: { address: "there", connectionUri: "qemu:///system" }, libvirtTimeouts: timeouts },
    { name: "there" },
  );
  const connection = { connect: destination.host.connector };
  const source = await LibvirtStage.open(
    { migration: { connection, copy: "running" }, libvirtTimeouts: timeouts },
    { name: "here" },
  );
  source.host.reach(destination.host);
  for (const { host } of [source, destination]) host.setBehaviour({ migrationMs: 1 });
  stages = { source, destination };
});
afterAll(async () => {
  for (const place of PLACES) await stages[place].close();
});

const ledgers = async (): Promise<object> => ({
  source: await stages.source.ledger(),
  destination: await stages.destination.ledger(),
});

/** Migrates; says what the hosts agreed on, and how it failed. */
async function move(): Promise<{ readonly data: LiveMigrateData | undefined; readonly failure: Error | undefined }> {
  let data: LiveMigrateData | undefined;
  const { driver } = stages.destination;
  const destination = new Proxy(driver, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return member;
      const method = member.bind(target) as (...given: unknown[]) => unknown;
      if (name !== "preLiveMigration") return method;
      return async (...given: unknown[]) => (data = (await method(...given)) as LiveMigrateData);
    },
  });
  const failure = await liveMigrate(stages.source.driver, destination, instance).result.then(
    () => undefined,
    (error: unknown) => error as Error,
  );
  return { data, failure };
}

async function finish(data: LiveMigrateData): Promise<void> {
  await stages.destination.driver.postLiveMigrationAtDestination(instance, data);
  await stages.source.driver.postLiveMigration(instance, data);
  await stages.source.driver.postLiveMigrationAtSource(instance, data);
}

async function reset(): Promise<void> {
  for (const place of PLACES) await stages[place].driver.destroy(instance);
}

const arrange = (): Promise<unknown> => stages.source.driver.spawn(smallSpec());

/** Where the instance runs. */
function running(): readonly Place[] {
  return PLACES.filter((place) => stages[place].host.contents.domains.some(({ active }) => active));
}

/** Asking what the host is, or how a guest is, comes before anything is begun. */
const QUESTIONS = /^(connectGet|nodeGet|domainGetInfo$)/;

interface Call {
  readonly place: Place;
  readonly name: string;
  /** Which of the migration's calls of that name. */
  readonly nth: number;
}

/** The calls of a migration in which nothing fails. */
async function dryRun(): Promise<{ readonly calls: readonly Call[]; readonly end: object }> {
  await arrange();
  const received = (place: Place): readonly { readonly name: string }[] => stages[place].host.server.received;
  const first = { source: received("source").length, destination: received("destination").length };
  expect((await move()).failure).toBeUndefined();
  const calls = PLACES.flatMap((place) => {
    const names = received(place)
      .slice(first[place])
      .map(({ name }) => name);
    return names.map((name, index) => ({
      place,
      name,
      nth: names.slice(0, index + 1).filter((other) => other === name).length,
    }));
  });
  const end = await ledgers();
  await reset();
  return { calls: calls.filter(({ name }) => !QUESTIONS.test(name)), end };
}

describe("a call of libvirt's that fails in a live migration", () => {
  it.each(KINDS)("leaves one guest, and nothing half-done: %s", { timeout: 120_000 }, async (kind) => {
    const { calls, end } = await dryRun();
    for (const { place, name, nth } of calls) {
      const label = `${place}: ${name} #${nth}`;
      await arrange();
      const before = await ledgers();
      const { faults } = stages[place].host;
      const procedure = name as Parameters<typeof faults.refuse>[0];
      const error = { code: ErrorNumber.internalError, domain: ErrorDomain.qemu, message: "a fault" };
      const fault =
        kind === "carried out, then hung up"
          ? faults.hangUp(procedure, { nth, at: "after" })
          : faults.refuse(procedure, error, { nth, at: kind === "refused" ? "before" : "after" });
      const { data, failure } = await move();
      fault.remove();
      const [where] = running();
      if (failure !== undefined && where === "source") {
        expect(await ledgers(), `${label}: ${String(failure)}`).toEqual(before);
        expect((await move()).failure, label).toBeUndefined();
      } else if (failure !== undefined && data !== undefined) await finish(data);
      expect(running(), label).toEqual(["destination"]);
      expect(await ledgers(), label).toEqual(end);
      await reset();
    }
  });
});
