/** Parked states of an instance's disks: taken, gone back to, forgotten. Each step may be the last of the process. */
import { isHyperviseError, traceMessage, withRollback } from "../../core/index.js";
import type { RollbackStack } from "../../core/index.js";
import { cloneOrCopyFile } from "../copy-file.js";
import { findParked, withParked } from "./disk-index.js";
import type { DiskIndex, DiskRecord, DiskRecords, ParkedState } from "./disk-index.js";
import { isSameFile, isThere } from "./instance-disks.js";
import type { InstanceDisks } from "./instance-disks.js";
import { readQcow2Header } from "../images/qcow2-header.js";
import type { FormattedFile, QemuImg } from "../qemu-img.js";

/**
 * A parked qcow2 disk is the disk's own file under a second name, by a hard link; then an overlay of that name takes the
 * place of the first in one rename. So there is a whole disk at the disk's path at every moment, and what has been done is
 * read from the files: no parked file, not begun; one file of two names, half done; two files, done. A raw disk has no
 * overlays: it is copied. Going back renames the parked file over the disk.
 *
 * Forgetting a state leaves the files that disks are overlays of, since a guest may have them open; they are merged when
 * the next state is parked.
 *
 * All methods take the index as it is stored and return it as they have stored it.
 */
export class ParkedDisks {
  readonly #disks: InstanceDisks;
  readonly #qemuImg: QemuImg;

  constructor(disks: InstanceDisks, qemuImg: QemuImg) {
    this.#disks = disks;
    this.#qemuImg = qemuImg;
  }

  /** Brings what a dead process began to a state that other changes may start from; needs no space. */
  async settle(index: DiskIndex): Promise<DiskIndex> {
    const restoring = index.parked.find(({ phase }) => phase === "restoring");
    const settled = restoring === undefined ? index : await this.#goBack(index, restoring);
    for (const state of settled.parked) {
      if (state.phase === "parking") await this.#dropBegun(settled, state);
    }
    return settled;
  }

  async park(index: DiskIndex, label: string): Promise<DiskIndex> {
    const begun = findParked(index, label);
    if (begun?.phase === "parked") return index;
    await this.#requireUnused(index);
    const merged = await this.merge(index);
    const state: ParkedState =
      begun === undefined
        ? { id: merged.nextParkId, label, phase: "parking", disks: merged.disks }
        : { ...begun, disks: { ...(await this.#parkedOnly(begun)), ...merged.disks } };
    return withRollback(async (undo) => {
      if (begun === undefined) undo.defer("parked state", () => this.#forget(merged, state));
      if (begun === undefined) await this.#disks.removeParkedDirectory(state);
      const parking = await this.#store(withParked(merged, state));
      await this.#disks.files.makeDirectory(this.#disks.parkedDirectory(state));
      for (const [name, record] of Object.entries(merged.disks)) await this.#parkDisk(state, name, record, undo);
      await this.#disks.files.sync(this.#disks.parkedDirectory(state));
      return this.#store(withParked(parking, { ...state, phase: "parked" }));
    });
  }

  async restore(index: DiskIndex, label: string): Promise<DiskIndex> {
    const state = findParked(index, label);
    if (state === undefined) return index;
    await this.#requireUnused(index);
    return this.#goBack(index, state);
  }

  async discard(index: DiskIndex, label: string): Promise<DiskIndex> {
    const state = findParked(index, label);
    if (state === undefined) return index;
    return this.dropUnneeded(await this.#store(withParked(index, { ...state, phase: "discarded" })));
  }

  /** Removes the files of forgotten states that no disk is an overlay of. */
  async dropUnneeded(index: DiskIndex): Promise<DiskIndex> {
    let current = index;
    for (const state of index.parked.filter(({ phase }) => phase === "discarded").reverse()) {
      const needed: [string, DiskRecord][] = [];
      for (const [name, record] of Object.entries(state.disks)) {
        const file = this.#disks.parkedFile(state, name, record);
        if (!(await isThere(file.path))) continue;
        if ((await this.#overlayOf(current, state, name, file)) === undefined)
          await this.#disks.files.remove(file.path);
        else needed.push([name, record]);
      }
      current = await this.#shrink(current, state, Object.fromEntries(needed));
    }
    return current;
  }

  /** Merges the files of forgotten states into the disks that are overlays of them. No guest may have the disks open. */
  async merge(index: DiskIndex): Promise<DiskIndex> {
    let current = await this.dropUnneeded(index);
    for (const state of current.parked.filter(({ phase }) => phase === "discarded")) {
      for (const [name, record] of Object.entries(state.disks)) {
        if (!(await this.#mergeDisk(current, state, name, record))) return current;
      }
      current = await this.#shrink(current, state, {});
    }
    return current;
  }

  async #requireUnused(index: DiskIndex): Promise<void> {
    for (const [name, record] of Object.entries(index.disks)) {
      const disk = this.#disks.diskFile(name, record);
      if (await isThere(disk.path)) await this.#qemuImg.requireUnused(disk);
    }
  }

  /** A merge that fails leaves the disk as it was, on one file more than it needs. */
  async #mergeDisk(index: DiskIndex, state: ParkedState, name: string, record: DiskRecord): Promise<boolean> {
    const lower = this.#disks.parkedFile(state, name, record);
    if (!(await isThere(lower.path))) return true;
    const upper = await this.#overlayOf(index, state, name, lower);
    if (upper === undefined) return true;
    try {
      await this.#qemuImg.commit(upper);
    } catch (error) {
      if (!isHyperviseError(error, "COMMAND_FAILED")) throw error;
      traceMessage("hypervise:storage:merge-failed", () => ({ instanceUuid: this.#disks.uuid, disk: name, error }));
      return false;
    }
    await this.#disks.files.rename(lower.path, upper.path);
    return true;
  }

  async #parkDisk(state: ParkedState, name: string, record: DiskRecord, undo: RollbackStack): Promise<void> {
    const { files } = this.#disks;
    const disk = this.#disks.diskFile(name, record);
    const parked = this.#disks.parkedFile(state, name, record);
    const begun = await isThere(parked.path);
    if (begun && !(await isSameFile(disk.path, parked.path))) return;
    undo.defer(`parked disk ${name}`, () => this.#takeBack(disk, parked));
    if (record.format === "raw") {
      const unfinished = this.#disks.unfinished(parked.path);
      await files.remove(unfinished);
      await cloneOrCopyFile(disk.path, unfinished);
      return this.#disks.finish(parked.path);
    }
    const overlay: FormattedFile = { path: this.#disks.unfinished(disk.path), format: "qcow2" };
    await files.remove(overlay.path);
    if (!begun) await files.link(disk.path, parked.path);
    await this.#qemuImg.create(overlay, { backing: parked });
    await this.#disks.finish(disk.path);
  }

  /** The opposite of parking one disk, from wherever that has come to. */
  async #takeBack(disk: FormattedFile, parked: FormattedFile): Promise<void> {
    const { files } = this.#disks;
    await files.remove(this.#disks.unfinished(disk.path));
    await files.remove(this.#disks.unfinished(parked.path));
    if (!(await isThere(parked.path))) return;
    // Renaming a file to another name of itself would leave both.
    if (await isSameFile(disk.path, parked.path)) return files.remove(parked.path);
    await files.rename(parked.path, disk.path);
  }

  async #goBack(index: DiskIndex, state: ParkedState): Promise<DiskIndex> {
    const restoring = await this.#store(withParked(index, { ...state, phase: "restoring" }));
    const at = restoring.parked.findIndex(({ id }) => id === state.id);
    for (const newer of restoring.parked.slice(at + 1)) await this.#disks.removeParkedDirectory(newer);
    for (const [name, record] of Object.entries(restoring.disks)) {
      const isOurs = state.disks[name]?.format === record.format;
      if (!isOurs) await this.#disks.files.remove(this.#disks.diskFile(name, record).path);
    }
    const there: [string, DiskRecord][] = [];
    for (const [name, record] of Object.entries(state.disks)) {
      const disk = this.#disks.diskFile(name, record);
      await this.#takeBack(disk, this.#disks.parkedFile(state, name, record));
      if (await isThere(disk.path)) there.push([name, record]);
    }
    await this.#disks.files.sync(this.#disks.directory);
    await this.#disks.removeParkedDirectory(state);
    const older = restoring.parked.slice(0, at);
    return this.dropUnneeded(await this.#store({ ...restoring, disks: Object.fromEntries(there), parked: older }));
  }

  /** Undoes the parking of disks that was begun and had changed nothing yet. */
  async #dropBegun(index: DiskIndex, state: ParkedState): Promise<void> {
    const { files } = this.#disks;
    for (const [name, record] of Object.entries(state.disks)) {
      const parked = this.#disks.parkedFile(state, name, record);
      const disk = this.#disks.diskFile(name, index.disks[name] ?? record);
      await files.remove(this.#disks.unfinished(parked.path));
      await files.remove(this.#disks.unfinished(disk.path));
      if (await isSameFile(disk.path, parked.path)) await files.remove(parked.path);
    }
  }

  async #parkedOnly(state: ParkedState): Promise<DiskRecords> {
    const there: [string, DiskRecord][] = [];
    for (const [name, record] of Object.entries(state.disks)) {
      if (await isThere(this.#disks.parkedFile(state, name, record).path)) there.push([name, record]);
    }
    return Object.fromEntries(there);
  }

  async #forget(index: DiskIndex, state: ParkedState): Promise<void> {
    await this.#disks.removeParkedDirectory(state);
    await this.#store(index);
  }

  /** What stands on a parked file: the file of the next newer state, or the disk itself, when it is an overlay of it. */
  async #overlayOf(
    index: DiskIndex,
    state: ParkedState,
    name: string,
    lower: FormattedFile,
  ): Promise<FormattedFile | undefined> {
    const upper = await this.#nextAbove(index, state, name);
    if (upper?.format !== "qcow2") return undefined;
    const { backingFile } = await readQcow2Header(upper.path);
    return backingFile === lower.path ? upper : undefined;
  }

  async #nextAbove(index: DiskIndex, state: ParkedState, name: string): Promise<FormattedFile | undefined> {
    const at = index.parked.findIndex(({ id }) => id === state.id);
    for (const newer of index.parked.slice(at + 1)) {
      const record = newer.disks[name];
      if (record === undefined) continue;
      const file = this.#disks.parkedFile(newer, name, record);
      if (await isThere(file.path)) return file;
    }
    const record = index.disks[name];
    if (record === undefined) return undefined;
    const disk = this.#disks.diskFile(name, record);
    return (await isThere(disk.path)) ? disk : undefined;
  }

  /** A forgotten state keeps these disks, or goes. */
  async #shrink(index: DiskIndex, state: ParkedState, disks: DiskRecords): Promise<DiskIndex> {
    if (Object.keys(disks).length === Object.keys(state.disks).length && Object.keys(disks).length > 0) return index;
    if (Object.keys(disks).length > 0) return this.#store(withParked(index, { ...state, disks }));
    await this.#disks.removeParkedDirectory(state);
    return this.#store({ ...index, parked: index.parked.filter(({ id }) => id !== state.id) });
  }

  async #store(index: DiskIndex): Promise<DiskIndex> {
    await this.#disks.writeIndex(index);
    return index;
  }
}
