/** What a directory holds, to be compared before and after. */
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
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

/** Paths of all files and directories below, with the sizes of the files. */
export async function tree(directory: string): Promise<string[]> {
  const names = await readdir(directory, { recursive: true });
  const lines = names.map(async (name) => {
    const stats = await stat(join(directory, name));
    return stats.isDirectory() ? `${name}/` : `${name} ${(await readFile(join(directory, name))).length}`;
  });
  return (await Promise.all(lines)).sort();
}
