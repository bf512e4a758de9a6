/** Which disks an instance has, in which formats, and what is parked: the record beside the files, which are never probed. */
import { check, StateCorruptError } from "../../core/index.js";
import type { Check } from "../../core/index.js";
import { DISK_SOURCE_FORMATS } from "./disk-source.js";
import type { DiskSourceFormat } from "./disk-source.js";

export interface DiskRecord {
  readonly format: DiskSourceFormat;
}

export interface DiskRecords {
  readonly [name: string]: DiskRecord;
}

/**
 * What a parked state is at. `parking`: some disks may not be parked yet. `parked`: it can be gone back to. `restoring`: it
 * is being gone back to. `discarded`: it is forgotten, and only what disks are still overlays of is kept.
 */
export const PARK_PHASES = ["parking", "parked", "restoring", "discarded"] as const;
export type ParkPhase = (typeof PARK_PHASES)[number];

export interface ParkedState {
  /** Names the directory of the parked files; never used twice while the index lives. */
  readonly id: number;
  readonly label: string;
  readonly phase: ParkPhase;
  readonly disks: DiskRecords;
}

export interface DiskIndex {
  readonly version: 1;
  readonly disks: DiskRecords;
  /** Oldest first. */
  readonly parked: readonly ParkedState[];
  readonly nextParkId: number;
}

export const EMPTY_INDEX: DiskIndex = Object.freeze({ version: 1, disks: {}, parked: [], nextParkId: 1 });

const DISK_NAME = /^[a-z0-9][a-z0-9.-]{0,63}$/;
const LABEL = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

export const checkDiskName: Check<string> = check.string({
  max: 64,
  pattern: DISK_NAME,
  expected: "a disk name: 1 to 64 characters of [a-z0-9.-], starting with a letter or digit",
});

export const checkLabel: Check<string> = check.string({
  max: 64,
  pattern: LABEL,
  expected: "a label: 1 to 64 characters of [A-Za-z0-9._-], not starting with '.'",
});

const checkDisks = check.record(checkDiskName, check.object({ format: check.oneOf(DISK_SOURCE_FORMATS) }));
const checkId = check.integer({ min: 1 });

const checkIndex: Check<DiskIndex> = check.object({
  version: check.oneOf([1]),
  disks: checkDisks,
  parked: check.array(
    check.object({ id: checkId, label: checkLabel, phase: check.oneOf(PARK_PHASES), disks: checkDisks }),
  ),
  nextParkId: checkId,
});

/** @throws StateCorruptError when the text is not an index. */
export function parseDiskIndex(text: string, path: string): DiskIndex {
  try {
    return checkIndex(JSON.parse(text), "disks");
  } catch (error) {
    throw new StateCorruptError("the record of an instance's disks can't be read", { cause: error, detail: path });
  }
}

export function formatDiskIndex(index: DiskIndex): string {
  return `${JSON.stringify(index, undefined, 2)}\n`;
}

export function isEmptyIndex(index: DiskIndex): boolean {
  return Object.keys(index.disks).length === 0 && index.parked.length === 0;
}

/** The index with one disk more, or other. */
export function withDisk(index: DiskIndex, name: string, record: DiskRecord): DiskIndex {
  return { ...index, disks: { ...index.disks, [name]: record } };
}

export function withoutDisk(index: DiskIndex, name: string): DiskIndex {
  return { ...index, disks: Object.fromEntries(Object.entries(index.disks).filter(([other]) => other !== name)) };
}

/** The index with a parked state replaced, or added as the newest. */
export function withParked(index: DiskIndex, state: ParkedState): DiskIndex {
  const known = index.parked.some(({ id }) => id === state.id);
  const parked = known
    ? index.parked.map((other) => (other.id === state.id ? state : other))
    : [...index.parked, state];
  return { ...index, parked, nextParkId: Math.max(index.nextParkId, state.id + 1) };
}

/** The state that a label stands for; a discarded one has no label any more. */
export function findParked(index: DiskIndex, label: string): ParkedState | undefined {
  return index.parked.find((state) => state.label === label && state.phase !== "discarded");
}
