/** The balloon: how much of its memory a guest leaves to the host, and what it says about its use of the rest. */
import { InvalidArgumentError, NotSupportedError } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import type { GuestDefinition } from "../../driver/index.js";
import { isQmpObject, toNumber } from "../../qmp/index.js";
import type { QmpWaitOptions } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import { PARTS } from "../plan/command-line.js";
import type { GuestSession } from "../session.js";

const PATH = `/machine/peripheral/${PARTS.balloon}`;
const BYTES_PER_MIB = 1_048_576;

/**
 * Asks the guest to use no more than `memoryMiB`; it may take long, or never comply.
 * @throws InvalidArgumentError outside 1 to the guest's memory; NotSupportedError without a balloon; InvalidStateError when it is not in memory
 */
export async function setBalloon(core: GuestCore, memoryMiB: number, options: CommonOptions): Promise<void> {
  const { definition } = core;
  const session = core.requireSession("setBalloon");
  if (!hasBalloon(definition))
    throw new NotSupportedError({
      capability: "balloon",
      message: "the guest has no balloon",
      instance: core.instance,
    });
  if (!Number.isInteger(memoryMiB) || memoryMiB < 1 || memoryMiB > definition.memoryMiB)
    throw new InvalidArgumentError({
      field: "memoryMiB",
      value: memoryMiB,
      expected: `1 to ${definition.memoryMiB}, what the guest has`,
    });
  const limits = { signal: options.signal, deadlineMs: options.deadline };
  await session.execute("balloon", { value: memoryMiB * BYTES_PER_MIB }, limits);
}

/** Has the guest report its use of memory as often as its definition says; repeatable. */
export async function pollBalloon(core: GuestCore, session: GuestSession, limits: QmpWaitOptions = {}): Promise<void> {
  const seconds = balloonPeriod(core.definition);
  if (seconds === 0) return;
  await session.execute("qom-set", { path: PATH, property: "guest-stats-polling-interval", value: seconds }, limits);
}

/** What the guest uses as it said last, MiB; undefined when it never did. */
export async function balloonUsedMiB(
  core: GuestCore,
  session: GuestSession,
  limits: QmpWaitOptions,
): Promise<number | undefined> {
  if (balloonPeriod(core.definition) === 0) return undefined;
  const answer: unknown = await session.execute("qom-get", { path: PATH, property: "guest-stats" }, limits);
  return usedMiB(answer);
}

/** Of `guest-stats`. Counters that the guest does not tell stand as -1. */
export function usedMiB(answer: unknown): number | undefined {
  if (!isQmpObject(answer) || !isQmpObject(answer["stats"])) return undefined;
  const { stats } = answer;
  const read = (name: string): number | undefined => {
    const value = stats[name];
    if (typeof value !== "number" && typeof value !== "bigint") return undefined;
    // A counter that was never told is the largest number that fits.
    return value < 0 || value > Number.MAX_SAFE_INTEGER ? undefined : toNumber(value);
  };
  const total = read("stat-total-memory");
  const free = read("stat-available-memory") ?? read("stat-free-memory");
  if (total === undefined || free === undefined || free > total) return undefined;
  return Math.round((total - free) / BYTES_PER_MIB);
}

function hasBalloon({ hardware }: Pick<GuestDefinition, "hardware">): boolean {
  return hardware?.balloon !== false;
}

function balloonPeriod({ hardware }: Pick<GuestDefinition, "hardware">): number {
  const balloon = hardware?.balloon;
  return balloon === undefined || balloon === false ? 0 : (balloon.statisticsPeriodSeconds ?? 0);
}
