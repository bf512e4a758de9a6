/** Where libvirt finds the files of a container's disks: by links, since it takes no long paths there. */
import { rename, rm, symlink } from "node:fs/promises";
import { dirname } from "node:path";
import { HostIoError, ensureDirectory } from "../../host/index.js";
import type { GuestDefinition } from "../../driver/index.js";
import type { GuestFiles } from "./state/guest-store.js";

/** The links, by the ids of disks that are files. Pure. */
export function containerFilesOf(
  { disks }: Pick<GuestDefinition, "disks">,
  { links }: Pick<GuestFiles, "links">,
): Readonly<Record<string, string>> {
  const linked = disks.filter(({ id, source }) => Object.hasOwn(links, id) && source?.type === "file");
  return Object.fromEntries(linked.map(({ id }) => [id, links[id as keyof typeof links]]));
}

/** Makes the links lead to the files; repeatable. @throws HostIoError */
export async function linkContainerFiles(definition: GuestDefinition, files: GuestFiles): Promise<void> {
  for (const [id, path] of Object.entries(containerFilesOf(definition, files))) {
    const source = definition.disks.find((disk) => disk.id === id)?.source;
    if (source?.type !== "file") continue;
    const temporary = `${path}.tmp`;
    try {
      await ensureDirectory(dirname(path));
      await rm(temporary, { force: true });
      await symlink(source.path, temporary);
      await rename(temporary, path);
    } catch (error) {
      throw new HostIoError({ operation: "making a link to a disk", path, cause: error });
    }
  }
}
