/** Gets libvirt's protocol files, C sources and API description out of Debian's packages. */
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cacheDirectory } from "../lib/cache-directory.mjs";
import { openDebianRelease } from "../lib/debian-release.mjs";
import { runCommand } from "../lib/run-command.mjs";
import type { Source } from "./generate.js";

/** The releases that the generated files are made from, oldest first. */
export const RELEASES = [
  { version: "9.0", release: "bookworm" },
  { version: "11.3", release: "trixie" },
] as const;

const MEMBERS = ["*/src/*.x", "*/src/*.c"];

/** Where the sources of a Debian release are kept: the C sources in `src/`, the API description in `api/`. */
export function sourceFolder(release: string): string {
  return join(cacheDirectory(), "libvirt-protocol", release);
}

/** All releases, downloaded and unpacked unless they are there already. A broken-off download leaves nothing. */
export async function fetchSources(): Promise<Source[]> {
  const sources: Source[] = [];
  for (const { version, release } of RELEASES) sources.push({ version, folder: await fetchSource(release) });
  return sources;
}

export async function fetchSource(release: string): Promise<string> {
  const target = sourceFolder(release);
  if (existsSync(target)) return target;
  const work = `${target}.${process.pid}.part`;
  try {
    const [sources, development] = [join(work, "sources"), join(work, "development")];
    mkdirSync(sources, { recursive: true });
    const debian = await openDebianRelease(release, work);
    const tarball = await debian.upstreamTarball("libvirt");
    const unpack = ["tar", "-xf", tarball, "-C", sources, "--strip-components=1", "--wildcards", ...MEMBERS];
    await runCommand(unpack, { timeoutMs: 300_000 });
    await runCommand(["dpkg-deb", "-x", await debian.binaryPackage("libvirt-dev"), development]);
    renameSync(join(development, "usr", "share", "libvirt", "api"), join(sources, "api"));
    renameSync(sources, target);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return target;
}
