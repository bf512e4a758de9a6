/** Operations on a fresh world, each from the state that it starts from: what the loops over faults, aborts and deadlines run through. */
import { guestDefinitionOf } from "../../../../src/driver/guest-definition-of.js";
import type { GuestDefinition, InstanceRecord, InstanceRef } from "../../../../src/driver/index.js";
import { isHyperviseError } from "../../../../src/core/index.js";
import type { HyperviseError, OperationOptions } from "../../../../src/core/index.js";
import { FakeDriver, FakeWorld } from "../../../../src/fake/index.js";
import type { LedgerEntry, PassedPoint, WorldSnapshot } from "../../../../src/fake/index.js";
import { connection, fullSpec, smallSpec, vif } from "./specs.js";

export interface Stage {
  readonly world: FakeWorld;
  readonly driver: FakeDriver;
  readonly instance: InstanceRef;
}

export interface Scenario {
  readonly name: string;
  /** Brings the world where the operation starts. */
  arrange?(stage: Stage): Promise<void>;
  /** The operation; also with a driver that was started anew. */
  act(stage: Stage, options?: OperationOptions): Promise<unknown>;
  /**
   * `undone`: on failure the world is as before. `forward`: it goes only on; a repeated call ends where the first would have.
   * `settling`: undone until the guest has let go, forward after.
   */
  readonly failure: "undone" | "forward" | "settling";
}

export const instance: InstanceRef = { uuid: fullSpec().uuid, name: fullSpec().name };

/** Short waits, so that virtual time is not spent on nothing. */
export const TIMEOUTS = { shutdownGraceMs: 1_000, shutdownResendMs: 200, softRebootMs: 1_000, undoMs: 30_000 };

/** A driver over a world of its own, open. */
export async function openStage(): Promise<Stage> {
  const world = new FakeWorld();
  for (const volumeId of ["vol-1", "vol-2", "vol-3"]) world.volumes.create({ volumeId });
  const driver = new FakeDriver({ world, timeouts: TIMEOUTS });
  await driver.initHost();
  return { world, driver, instance };
}

async function running({ driver }: Stage): Promise<void> {
  await driver.spawn(smallSpec());
}
async function stopped(stage: Stage): Promise<void> {
  await running(stage);
  await stage.driver.powerOff(instance, { graceMs: 0 });
}
async function paused(stage: Stage): Promise<void> {
  await running(stage);
  await stage.driver.pause(instance);
}
async function suspended(stage: Stage): Promise<void> {
  await running(stage);
  await stage.driver.suspend(instance);
}
async function deaf(stage: Stage): Promise<void> {
  stage.world.setBehaviour(instance.uuid, { acpi: "ignore" });
  await running(stage);
}
async function hostBooted(stage: Stage): Promise<void> {
  await running(stage);
  stage.world.guest(instance.uuid).powerOff();
}

export const SCENARIOS: readonly Scenario[] = [
  { name: "spawn", failure: "undone", act: ({ driver }, options) => driver.spawn(fullSpec(), options) },
  {
    name: "spawn from a kernel, not powered on",
    failure: "undone",
    act: ({ driver }, options) => {
      const { imageId: _imageId, ...spec } = fullSpec({
        kernel: { kernelImageId: "kernel", ramdiskImageId: "ramdisk", commandLine: "quiet" },
      });
      return driver.spawn(spec, { ...options, powerOn: false });
    },
  },
  {
    name: "destroy",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.destroy(instance, options),
  },
  {
    name: "destroy of a stopped guest",
    failure: "forward",
    arrange: stopped,
    act: ({ driver }, options) => driver.destroy(instance, options),
  },
  {
    name: "destroy with a grace, keeping the disks",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.destroy(instance, { ...options, graceMs: 1_000, destroyDisks: false }),
  },
  {
    name: "cleanup",
    failure: "forward",
    arrange: stopped,
    act: ({ driver }, options) => driver.cleanup(instance, options),
  },
  {
    name: "powerOn",
    failure: "undone",
    arrange: stopped,
    act: ({ driver }, options) => driver.powerOn(instance, options),
  },
  {
    name: "powerOn of a paused guest",
    failure: "undone",
    arrange: paused,
    act: ({ driver }, options) => driver.powerOn(instance, options),
  },
  {
    name: "powerOn of a suspended guest",
    failure: "undone",
    arrange: suspended,
    act: ({ driver }, options) => driver.powerOn(instance, options),
  },
  {
    name: "powerOff of a guest that obeys",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.powerOff(instance, options),
  },
  {
    name: "powerOff of a guest that is deaf",
    failure: "forward",
    arrange: deaf,
    act: ({ driver }, options) => driver.powerOff(instance, options),
  },
  {
    name: "soft reboot",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.reboot(instance, "soft", options),
  },
  {
    name: "soft reboot of a deaf guest",
    failure: "forward",
    arrange: deaf,
    act: ({ driver }, options) => driver.reboot(instance, "soft", options),
  },
  {
    name: "hard reboot",
    failure: "forward",
    arrange: running,
    act: ({ driver }, options) => driver.reboot(instance, "hard", options),
  },
  {
    name: "hard reboot of a suspended guest",
    failure: "forward",
    arrange: suspended,
    act: ({ driver }, options) => driver.reboot(instance, "hard", options),
  },
  { name: "pause", failure: "undone", arrange: running, act: ({ driver }, options) => driver.pause(instance, options) },
  {
    name: "unpause",
    failure: "undone",
    arrange: paused,
    act: ({ driver }, options) => driver.unpause(instance, options),
  },
  {
    name: "attachVolume",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.attachVolume(instance, connection("vol-3"), options),
  },
  {
    name: "attachVolume to a stopped guest",
    failure: "undone",
    arrange: stopped,
    act: ({ driver }, options) => driver.attachVolume(instance, connection("vol-3"), options),
  },
  {
    name: "detachVolume",
    failure: "settling",
    arrange: running,
    act: ({ driver }, options) => driver.detachVolume(instance, connection("vol-1"), options),
  },
  {
    name: "detachVolume from a stopped guest",
    failure: "settling",
    arrange: stopped,
    act: ({ driver }, options) => driver.detachVolume(instance, connection("vol-1"), options),
  },
  {
    name: "attachInterface",
    failure: "undone",
    arrange: running,
    act: ({ driver }, options) => driver.attachInterface(instance, vif(3), options),
  },
  {
    name: "detachInterface",
    failure: "settling",
    arrange: running,
    act: ({ driver }, options) => driver.detachInterface(instance, vif(1), options),
  },
  {
    name: "detachInterface from a stopped guest",
    failure: "settling",
    arrange: stopped,
    act: ({ driver }, options) => driver.detachInterface(instance, { id: vif(1).id }, options),
  },
  { name: "unplugVifs", failure: "forward", arrange: stopped, act: ({ driver }) => driver.unplugVifs(instance) },
  {
    name: "plugVifs",
    failure: "forward",
    arrange: async (stage) => {
      await stopped(stage);
      await stage.driver.unplugVifs(instance);
    },
    act: ({ driver }, options) => driver.plugVifs(instance, options),
  },
  {
    name: "resumeStateOnHostBoot",
    failure: "undone",
    arrange: hostBooted,
    act: ({ driver }, options) => driver.resumeStateOnHostBoot(instance, options),
  },
];

const beginnings = new Map<Scenario, WorldSnapshot>();

/** The scenario, where it starts: arranged once, and then copied. */
export async function arrange(scenario: Scenario): Promise<Stage> {
  const known = beginnings.get(scenario);
  if (known !== undefined) {
    const world = FakeWorld.from(known);
    const driver = new FakeDriver({ world, timeouts: TIMEOUTS });
    await driver.initHost();
    return { world, driver, instance };
  }
  const stage = await openStage();
  await scenario.arrange?.(stage);
  await stage.driver.close();
  beginnings.set(scenario, stage.world.snapshot());
  return arrange(scenario);
}

/** What an operation passes when nothing goes wrong, and what the world looks like then. */
export async function dryRun(
  scenario: Scenario,
): Promise<{ readonly passed: readonly PassedPoint[]; readonly end: World }> {
  const stage = await arrange(scenario);
  const trace = stage.driver.faults.startTrace();
  await scenario.act(stage);
  trace.stop();
  return { passed: trace.passed.filter(({ point }) => !point.startsWith("driver.")), end: worldOf(stage) };
}

/** Resources, and what the driver remembers of each instance. */
export interface World {
  readonly ledger: readonly LedgerEntry[];
  readonly records: readonly unknown[];
}

export function worldOf({ world }: Pick<Stage, "world">): World {
  const state = world.hosts.flatMap((host) => [...host.state]);
  const records = state.filter(([key]) => key.startsWith("instances/")).map(([, json]) => recordOf(json));
  return { ledger: world.ledger(), records };
}

/** In what records and guests disagree while no operation is unsettled: a device that only one of them has, or has otherwise. */
export function disagreements({ world }: Pick<Stage, "world">): readonly string[] {
  if (world.ledger().some(({ kind }) => kind === "operation")) return [];
  return world.hosts.flatMap((host) =>
    [...host.guests].flatMap(([uuid, { definition }]) => {
      const json = host.state.get(`instances/${uuid}`);
      if (json === undefined) return [];
      const recorded = partsOf(guestDefinitionOf(JSON.parse(json) as InstanceRecord));
      const held = partsOf(definition);
      return [
        ...recorded.filter((part) => !held.includes(part)).map((part) => `the guest lacks ${part}`),
        ...held.filter((part) => !recorded.includes(part)).map((part) => `the record lacks ${part}`),
      ];
    }),
  );
}

function partsOf({ vcpus, memoryMiB, disks, nics, hardware }: GuestDefinition): readonly string[] {
  const media = disks.map(({ id, source, tuning }) => ({ id, source, limits: tuning?.limits ?? {} }));
  const parts = [{ vcpus }, { memoryMiB }, ...media, ...nics.map(({ id }) => ({ id })), ...(hardware?.devices ?? [])];
  return parts.map((part) => JSON.stringify(part));
}

function recordOf(json: string): unknown {
  const { createdAt: _createdAt, ...record } = JSON.parse(json) as Record<string, unknown>;
  return record;
}

/** The error that a promise rejects with, which must be one of ours; undefined when it does not. */
export async function failureOf(promise: Promise<unknown>): Promise<HyperviseError | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (!isHyperviseError(error)) throw error;
    return error;
  }
}

/** Resolves when no operation works on the instance any more. */
export async function idle({ driver }: Stage): Promise<void> {
  await driver.detachInterface(instance, { id: "ffffffff-0000-4000-8000-000000000000" });
}
