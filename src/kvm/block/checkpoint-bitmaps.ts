/** The persistent bitmaps behind a guest's checkpoints: one a checkpoint and disk, in the disk's own qcow2 file, each noting all that is written after it. */
import { isDeepStrictEqual } from "node:util";
import { isQmpCommandError } from "../../qmp/index.js";
import type { QmpArguments } from "../../qmp/index.js";
import type { JsonObject } from "../../core/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";
import type { Checkpoint } from "../state/guest-work.js";
import { findDrive, layersOf, namedNodes } from "./nodes.js";
import type { Drive, Layer } from "./nodes.js";

/** Bitmaps of anybody else are left alone. */
const PREFIX = "hypervise-";

/** A name that no bitmap has had: what is left of a former one by the same name is not taken for it. */
export function bitmapName(checkpoint: string, createdAt: number): string {
  return `${PREFIX}${createdAt}-${checkpoint}`;
}

/** The bitmaps of a disk's checkpoints. */
export function bitmapsOf(core: GuestCore, diskId: string): readonly string[] {
  const { checkpoints = [] } = core.state;
  return checkpoints.filter(({ diskIds }) => diskIds.includes(diskId)).map(({ bitmap }) => bitmap);
}

/** Whether the files of a chain know all changes since a bitmap was set: the uppermost must have it, and none a damaged one. */
export function isWhole(layers: readonly Layer[], bitmap: string): boolean {
  const found = layers.map((layer) => layer.bitmaps.find(({ name }) => name === bitmap));
  return found[0] !== undefined && found.every((info) => info?.inconsistent !== true);
}

/** Where a chain has a bitmap. */
export function sourcesOf(
  layers: readonly Layer[],
  bitmap: string,
): { readonly node: string; readonly name: string }[] {
  return layers
    .filter((layer) => layer.bitmaps.some(({ name }) => name === bitmap))
    .map(({ node }) => ({ node, name: bitmap }));
}

/** Takes the bitmaps of a disk's checkpoints along to the node that the disk is about to stand on. One that can't be is not there then. */
export async function carryBitmaps(
  session: GuestSession,
  bitmaps: readonly string[],
  layers: readonly Layer[],
  target: string,
): Promise<void> {
  const present = (await namedNodes(session)).find((node) => node["node-name"] === target)?.["dirty-bitmaps"] ?? [];
  for (const name of bitmaps) {
    const sources = isWhole(layers, name) ? sourcesOf(layers, name).filter(({ node }) => node !== target) : [];
    if (sources.length === 0) continue;
    const known = present.some((bitmap) => bitmap.name === name);
    try {
      await transact(session, [
        ...(known ? [] : [addBitmap(target, name)]),
        { type: "block-dirty-bitmap-merge", data: { node: target, target: name, bitmaps: sources } },
      ]);
    } catch (error) {
      if (!isQmpCommandError(error)) throw error;
      if (known) await remove(session, target, name);
    }
  }
}

/** An action of a transaction that sets a bitmap. */
export function addBitmap(node: string, name: string): JsonObject {
  return { type: "block-dirty-bitmap-add", data: { node, name, persistent: true } };
}

/** Does all of it at one point in time, or nothing. @throws QmpCommandError */
export async function transact(session: GuestSession, actions: readonly JsonObject[]): Promise<void> {
  await session.execute("transaction", { actions } as unknown as QmpArguments<"transaction">);
}

/** Removes a bitmap wherever it can be; a file that is only read keeps it. */
export async function removeBitmap(core: GuestCore, session: GuestSession, bitmap: string): Promise<void> {
  if (session !== core.session) return;
  for (const node of await namedNodes(session)) {
    const has = node["dirty-bitmaps"]?.some(({ name }) => name === bitmap) === true;
    if (has) await remove(session, node["node-name"] ?? "", bitmap);
  }
}

/**
 * Keeps those checkpoints of a guest in memory whose bitmaps are whole. They are damaged when QEMU did not end in order, and lost with a disk whose
 * new file can't hold them.
 */
export async function forgetLostCheckpoints(core: GuestCore, session: GuestSession): Promise<void> {
  const { checkpoints } = core.state;
  if (checkpoints === undefined) return;
  const chains = await chainsOf(core, session);
  const kept = checkpoints.flatMap((checkpoint): Checkpoint[] => {
    const diskIds = checkpoint.diskIds.filter((id) => isWhole(chains.get(id) ?? [], checkpoint.bitmap));
    return diskIds.length === 0 ? [] : [{ ...checkpoint, diskIds }];
  });
  const names = new Set(kept.map(({ bitmap }) => bitmap));
  for (const { node, bitmaps } of [...chains.values()].flat()) {
    for (const { name = "" } of bitmaps)
      if (name.startsWith(PREFIX) && !names.has(name)) await remove(session, node, name);
  }
  if (!isDeepStrictEqual(kept, checkpoints)) await core.update((state) => ({ ...state, checkpoints: kept }));
}

async function chainsOf(core: GuestCore, session: GuestSession): Promise<ReadonlyMap<string, readonly Layer[]>> {
  const chains = new Map<string, readonly Layer[]>();
  for (const { kind, id, handle } of core.state.hardware.bindings) {
    const drive = kind === "disk" ? await findDrive(session, handle) : undefined;
    if (drive?.inserted !== undefined) chains.set(id, await layersOf(session, drive as Required<Drive>));
  }
  return chains;
}

async function remove(session: GuestSession, node: string, name: string): Promise<void> {
  await session.execute("block-dirty-bitmap-remove", { node, name }).catch((error: unknown) => {
    if (!isQmpCommandError(error)) throw error;
  });
}
