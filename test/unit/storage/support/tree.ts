/** What a directory holds, to be compared before and after. */
import { copyFile, link, mkdir, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs a test in a directory of its own. */
export async function inDirectory(test: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "hypervise-"));
  try {
    await test(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Makes `to` anew as a copy of the directory: files that are one there, by several names, are one here. */
export async function copyTree(from: string, to: string): Promise<void> {
  await rm(to, { recursive: true, force: true });
  await mkdir(to);
  const copies = new Map<number, string>();
  // A directory comes before what is in it.
  for (const name of (await readdir(from, { recursive: true })).sort()) {
    const [source, target] = [join(from, name), join(to, name)];
    const { ino, isDirectory } = await stat(source).then((stats) => ({
      ino: stats.ino,
      isDirectory: stats.isDirectory(),
    }));
    const first = copies.get(ino);
    if (isDirectory) await mkdir(target);
    else if (first === undefined) await copyFile(source, target);
    else await link(first, target);
    if (first === undefined) copies.set(ino, target);
  }
}

/** Paths of all files and directories below, with the sizes of the files. */
export async function tree(directory: string): Promise<string[]> {
  const names = await readdir(directory, { recursive: true });
  const lines = names.map(async (name) => {
    const stats = await stat(join(directory, name));
    return stats.isDirectory() ? `${name}/` : `${name} ${(await readFile(join(directory, name))).length}`;
  });
  return (await Promise.all(lines)).sort();
}
