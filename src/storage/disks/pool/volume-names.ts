/** What the volumes and marks of an instance are called in a pool. Disk names have no `+`, so nothing is taken for another. */

/** `unfinished`: being made. `parked`: a copy that a parked state keeps. */
export type VolumeRole =
  { readonly type: "disk" } | { readonly type: "unfinished" } | { readonly type: "parked"; readonly id: number };

export interface NamedVolume {
  readonly uuid: string;
  readonly disk: string;
  readonly role: VolumeRole;
}

/** `parking`: some copies may be missing. `dropping`: disks that were made since are being removed; `restoring`: the copies take their places. */
export const PARK_MARK_PHASES = ["parking", "parked", "dropping", "restoring"] as const;
export type ParkMarkPhase = (typeof PARK_MARK_PHASES)[number];

export interface ParkMark {
  readonly uuid: string;
  /** Later states have larger ones. */
  readonly id: number;
  readonly phase: ParkMarkPhase;
  readonly label: string;
}

const UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const VOLUME = new RegExp(`^(${UUID})_([a-z0-9][a-z0-9.-]*)(\\+new|\\+p(\\d{1,9}))?$`);
const PARK = new RegExp(`^(${UUID})\\+(\\d{1,9})\\.(${PARK_MARK_PHASES.join("|")})\\.([A-Za-z0-9._-]{1,64})$`);

export function volumeName({ uuid, disk, role }: NamedVolume): string {
  const base = `${uuid}_${disk}`;
  if (role.type === "disk") return base;
  return role.type === "unfinished" ? `${base}+new` : `${base}+p${role.id}`;
}

/** Undefined for volumes that are none of ours. */
export function parseVolumeName(name: string): NamedVolume | undefined {
  const [, uuid, disk, suffix, id] = VOLUME.exec(name) ?? [];
  if (uuid === undefined || disk === undefined) return undefined;
  if (suffix === undefined) return { uuid, disk, role: { type: "disk" } };
  return { uuid, disk, role: id === undefined ? { type: "unfinished" } : { type: "parked", id: Number(id) } };
}

export function parkMark({ uuid, id, phase, label }: ParkMark): string {
  return `${uuid}+${id}.${phase}.${label}`;
}

export function parseParkMark(mark: string): ParkMark | undefined {
  const [, uuid, id, phase, label] = PARK.exec(mark) ?? [];
  if (uuid === undefined || label === undefined) return undefined;
  return { uuid, id: Number(id), phase: phase as ParkMarkPhase, label };
}

export function tokenMark(token: string): string {
  return `token+${token}`;
}
