/** The objects that the nodes of a running guest's disks refer to: keys and certificates. They go when their nodes have gone. */
import type { JsonObject } from "../../core/index.js";
import { diskObjectProperties, diskObjects, nodesOfDiskObject, requireSecret } from "../../storage/index.js";
import type { DiskObject, DiskSource } from "../../storage/index.js";
import { isQmpCommandError } from "../../qmp/index.js";
import type { QmpArguments } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestSession } from "../session.js";

/**
 * Gives QEMU what the nodes of a disk will refer to.
 * @throws SecretNotFoundError, QmpCommandError. Then nothing of it is there
 */
export async function addDiskObjects(
  core: GuestCore,
  session: GuestSession,
  name: string,
  source: DiskSource,
): Promise<void> {
  const added: string[] = [];
  try {
    for (const object of diskObjects(name, source)) {
      const properties = diskObjectProperties(object, await valueOf(core, object));
      await session.execute("object-add", properties as unknown as QmpArguments<"object-add">);
      added.push(object.id);
    }
  } catch (error) {
    for (const id of added) await deleteObject(session, id);
    throw error;
  }
}

/** Takes away the objects of a disk whose nodes are gone. `names` are the block nodes that are left of it. Success when there are none. */
export async function removeDiskObjects(
  session: GuestSession,
  handle: string,
  names: readonly string[],
): Promise<void> {
  const objects = await session.execute("qom-list", { path: "/objects" });
  for (const { name: id } of objects) {
    const nodes = nodesOfDiskObject(id);
    if (nodes === undefined || (nodes !== handle && !nodes.startsWith(`${handle}-`))) continue;
    if (names.every((name) => !isNodeOf(name, nodes))) await deleteObject(session, id);
  }
}

/** `disk3-format` is a node of `disk3`, `disk3-1-format` of `disk3-1`. */
function isNodeOf(node: string, name: string): boolean {
  return node.startsWith(`${name}-`) && !/^\d/.test(node.slice(name.length + 1));
}

async function valueOf(core: GuestCore, object: DiskObject): Promise<JsonObject> {
  if (object.type !== "secret") return {};
  const secret = await requireSecret(core.host.secrets, object.secretId, { instance: core.instance });
  return { data: secret.reveal() };
}

async function deleteObject(session: GuestSession, id: string): Promise<void> {
  await session.execute("object-del", { id }).catch((error: unknown) => {
    if (!isQmpCommandError(error)) throw error;
  });
}
