// Gets files out of the source packages of Debian releases, for generators and tests, and keeps them in the cache.
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openDebianRelease } from "./debian-release.mjs";
import { runCommand } from "./run-command.mjs";
import { findCommand } from "./system-packages.mjs";

/** Whether this system has what it takes to fetch a Debian source package. */
export function canFetchDebianSource() {
  return findCommand("apt-get") !== undefined && findCommand("tar") !== undefined;
}

/**
 * The folder, downloaded and unpacked unless it is there already. A broken-off download leaves none.
 *
 * @typedef {Awaited<ReturnType<typeof openDebianRelease>>} DebianRelease
 *
 * @param {object} wanted
 * @param {string} wanted.name The source package.
 * @param {string} wanted.release `bookworm`, `trixie`
 * @param {readonly string[]} wanted.members Patterns of the upstream tarball's files.
 * @param {string} wanted.target
 * @param {(debian: DebianRelease, folder: string, work: string) => Promise<void>} [wanted.complete] Adds to the folder what is
 *   in other packages; `work` is removed afterwards.
 * @returns {Promise<string>} the target
 * @throws When apt knows no Debian archive or can't reach it.
 */
export async function fetchDebianSource({ name, release, members, target, complete }) {
  if (existsSync(target)) return target;
  const work = `${target}.${process.pid}.part`;
  try {
    const folder = join(work, "sources");
    mkdirSync(folder, { recursive: true });
    const debian = await openDebianRelease(release, work);
    const tarball = await debian.upstreamTarball(name);
    await runCommand(["tar", "-xf", tarball, "-C", folder, "--strip-components=1", "--wildcards", ...members], {
      timeoutMs: 300_000,
    });
    await complete?.(debian, folder, work);
    renameSync(folder, target);
  } catch (error) {
    // Another process was faster.
    if (!existsSync(target)) throw error;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return target;
}

/**
 * The sources that a generator's command line names, as `--from VERSION=FOLDER`, or else those of the releases.
 *
 * @param {readonly string[]} args
 * @param {readonly { readonly version: string, readonly release: string }[]} releases
 * @param {(release: string) => Promise<string>} fetch
 * @returns {Promise<{ readonly version: string, readonly folder: string }[]>} in their order
 */
export async function sourcesToGenerateFrom(args, releases, fetch) {
  const given = args.flatMap((arg, i) => (arg === "--from" ? [args[i + 1] ?? ""] : []));
  if (given.length === 0) {
    const fetched = [];
    for (const { version, release } of releases) fetched.push({ version, folder: await fetch(release) });
    return fetched;
  }
  return given.map((pair) => {
    const [version = "", folder = ""] = pair.split("=");
    if (version === "" || folder === "") throw new Error(`--from wants VERSION=FOLDER, not "${pair}"`);
    return { version, folder };
  });
}
