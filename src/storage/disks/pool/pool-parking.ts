/** Parked states of disks that are volumes of a pool: whole copies beside the disks, and a mark that says how far it is. */
import { BusyError, withRollback } from "../../../core/index.js";
import type { QemuImg } from "../../qemu-img.js";
import type { DiskPool, PoolVolume } from "./disk-pool.js";
import { parkMark, parseParkMark, parseVolumeName, volumeName } from "./volume-names.js";
import type { ParkMark, ParkMarkPhase } from "./volume-names.js";

/** What a pool holds of one instance. */
export interface PoolInstance {
  readonly uuid: string;
  /** Disks by their names. */
  readonly disks: ReadonlyMap<string, PoolVolume>;
  readonly unfinished: readonly PoolVolume[];
  /** Copies by the id of their state, then by the disk's name. */
  readonly copies: ReadonlyMap<number, ReadonlyMap<string, PoolVolume>>;
  /** Oldest first. */
  readonly parked: readonly ParkMark[];
}

export async function readInstance(pool: DiskPool, uuid: string): Promise<PoolInstance> {
  const { volumes, marks } = await pool.read();
  const disks = new Map<string, PoolVolume>();
  const copies = new Map<number, Map<string, PoolVolume>>();
  const unfinished: PoolVolume[] = [];
  for (const volume of volumes) {
    const named = parseVolumeName(volume.name);
    if (named?.uuid !== uuid) continue;
    const { disk, role } = named;
    if (role.type === "disk") disks.set(disk, volume);
    else if (role.type === "unfinished") unfinished.push(volume);
    else copies.set(role.id, (copies.get(role.id) ?? new Map<string, PoolVolume>()).set(disk, volume));
  }
  const parked = marks
    .map(parseParkMark)
    .filter((mark) => mark?.uuid === uuid)
    .filter((mark) => mark !== undefined)
    .sort((a, b) => a.id - b.id);
  return { uuid, disks, unfinished, copies, parked };
}

/**
 * Every step may be the last of the process: the mark goes before what it stands for. Copies without a mark are of a state that
 * is forgotten. While a state is gone back to, disks made since are removed first; then a disk that is missing has its copy.
 */
export class PoolParking {
  readonly #pool: DiskPool;
  readonly #qemuImg: QemuImg;

  constructor(pool: DiskPool, qemuImg: QemuImg) {
    this.#pool = pool;
    this.#qemuImg = qemuImg;
  }

  /** Ends what a dead process began, and removes what is left over. Needs no space. */
  async settle(uuid: string): Promise<PoolInstance> {
    let instance = await readInstance(this.#pool, uuid);
    for (const mark of instance.parked) {
      if (mark.phase === "parked") continue;
      if (mark.phase === "parking") await this.#forget(instance, mark);
      else await this.#goBack(instance, mark);
      instance = await readInstance(this.#pool, uuid);
    }
    const known = new Set(instance.parked.map(({ id }) => id));
    const orphans = [...instance.copies].filter(([id]) => !known.has(id)).flatMap(([, copies]) => [...copies.values()]);
    for (const { name } of [...instance.unfinished, ...orphans]) await this.#pool.remove(name);
    return instance;
  }

  async park(instance: PoolInstance, label: string): Promise<void> {
    if (instance.parked.some((mark) => mark.label === label)) return;
    await this.#requireUnused(instance);
    const id = (instance.parked.at(-1)?.id ?? 0) + 1;
    const mark: ParkMark = { uuid: instance.uuid, id, phase: "parking", label };
    const names = [...instance.disks].map(([disk, volume]) => ({ disk, volume, copy: copyName(mark, disk) }));
    for (const { copy } of names) this.#pool.checkName(copy, "label");
    await withRollback(async (undo) => {
      undo.defer("parked state", () => this.#pool.remark(parkMark(mark), undefined));
      await this.#pool.remark(undefined, parkMark(mark));
      for (const { disk, volume, copy } of names) {
        undo.defer(`parked disk ${disk}`, () => this.#pool.remove(copy));
        await this.#pool.create(copy, volume.sizeBytes, {});
        await this.#qemuImg.convert(this.#pool.imageOf(volume.name), this.#pool.imageOf(copy), volume.sizeBytes, {
          intoExisting: true,
        });
      }
      await this.#advance(mark, "parked");
    });
  }

  async restore(instance: PoolInstance, label: string): Promise<void> {
    const mark = instance.parked.find((parked) => parked.label === label);
    if (mark === undefined) return;
    await this.#requireUnused(instance);
    await this.#goBack(instance, await this.#advance(mark, "dropping"));
  }

  async discard(instance: PoolInstance, label: string): Promise<void> {
    const mark = instance.parked.find((parked) => parked.label === label);
    if (mark !== undefined) await this.#forget(instance, mark);
  }

  /** @throws BusyError */
  async requireUnused(name: string): Promise<void> {
    if (await this.#pool.isInUse(name))
      throw new BusyError("a guest has the disk open", { remedy: "stop the guest first" });
  }

  async #requireUnused(instance: PoolInstance): Promise<void> {
    for (const { name } of instance.disks.values()) await this.requireUnused(name);
  }

  async #goBack(instance: PoolInstance, given: ParkMark): Promise<void> {
    const copies = instance.copies.get(given.id) ?? new Map<string, PoolVolume>();
    for (const newer of instance.parked.filter(({ id }) => id > given.id)) await this.#forget(instance, newer);
    let mark = given;
    if (mark.phase === "dropping") {
      for (const [disk, { name }] of instance.disks) if (!copies.has(disk)) await this.#pool.remove(name);
      mark = await this.#advance(mark, "restoring");
    }
    for (const [disk, copy] of copies) {
      const name = volumeName({ uuid: mark.uuid, disk, role: { type: "disk" } });
      await this.#pool.remove(name);
      await this.#pool.rename(copy.name, name);
    }
    await this.#pool.remark(parkMark(mark), undefined);
  }

  /** The mark goes first: without it the copies are nobody's. */
  async #forget(instance: PoolInstance, mark: ParkMark): Promise<void> {
    await this.#pool.remark(parkMark(mark), undefined);
    for (const { name } of instance.copies.get(mark.id)?.values() ?? []) await this.#pool.remove(name);
  }

  async #advance(mark: ParkMark, phase: ParkMarkPhase): Promise<ParkMark> {
    const next = { ...mark, phase };
    await this.#pool.remark(parkMark(mark), parkMark(next));
    return next;
  }
}

function copyName({ uuid, id }: ParkMark, disk: string): string {
  return volumeName({ uuid, disk, role: { type: "parked", id } });
}
