// Gets libvirt's schemas and test data out of Debian's source package, with apt and a private configuration.
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openDebianRelease } from "./debian-release.mjs";
import { runCommand } from "./run-command.mjs";
import { findCommand } from "./system-packages.mjs";

const MEMBERS = ["*/src/conf/schemas/*.rng", "*/tests/*.xml"];

/** The releases of libvirt that are looked at, oldest first. */
export const LIBVIRT_RELEASES = /** @type {const} */ ([
  { version: "9.0", release: "bookworm" },
  { version: "11.3", release: "trixie" },
]);

/** Whether this system has what it takes to fetch a Debian source package. */
export function canFetchLibvirtSource() {
  return findCommand("apt-get") !== undefined && findCommand("tar") !== undefined;
}

/**
 * Where the sources of a Debian release are kept: `src/conf/schemas`, and the XML files below `tests`.
 *
 * @param {string} release
 * @param {string} cache
 */
export function libvirtSourceFolder(release, cache) {
  return join(cache, "libvirt-source", release);
}

/**
 * The folder of the sources, downloaded and unpacked unless they are there already. A broken-off download leaves none.
 *
 * @param {string} release
 * @param {string} cache
 * @returns {Promise<string>}
 * @throws When apt knows no Debian archive or can't reach it.
 */
export async function fetchLibvirtSource(release, cache) {
  const target = libvirtSourceFolder(release, cache);
  if (existsSync(target)) return target;
  const work = `${target}.${process.pid}.part`;
  try {
    const sources = join(work, "sources");
    mkdirSync(sources, { recursive: true });
    const tarball = await (await openDebianRelease(release, work)).upstreamTarball("libvirt");
    await runCommand(["tar", "-xf", tarball, "-C", sources, "--strip-components=1", "--wildcards", ...MEMBERS], {
      timeoutMs: 300_000,
    });
    renameSync(sources, target);
  } catch (error) {
    // Another process was faster.
    if (!existsSync(target)) throw error;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return target;
}
