// A file system that a container can have for its root: a shell, and a first program.
import { chmod, copyFile, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { testGuest } from "./guest.js";
import { run } from "./run.js";

const FOLDERS = ["bin", "sbin", "proc", "sys", "dev", "tmp", "etc"];
const SIZE_MIB = 32;

export interface ContainerRoot {
  /** The first program, a script. */
  readonly init: string;
  /** Names of BusyBox's programs that it has beside `sh`. */
  readonly programs: readonly string[];
}

/** Makes it as a raw image in a directory, and gives the image's path. */
export async function makeContainerRoot(directory: string, { init, programs }: ContainerRoot): Promise<string> {
  const root = join(directory, "root");
  for (const folder of FOLDERS) await mkdir(join(root, folder), { recursive: true });
  await copyFile((await testGuest()).busybox, join(root, "bin/busybox"));
  await chmod(join(root, "bin/busybox"), 0o755);
  for (const name of ["sh", ...programs]) await symlink("busybox", join(root, "bin", name));
  await writeFile(join(root, "sbin/init"), init, { mode: 0o755 });
  const image = join(directory, "root.img");
  await run(["truncate", "-s", `${SIZE_MIB}M`, image]);
  await run(["mke2fs", "-q", "-t", "ext4", "-d", root, image]);
  return image;
}
