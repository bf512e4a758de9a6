// Where the project keeps what is costly to make and safe to delete: the test guest and the packages that it is made of.
import { accessSync, constants, lstatSync, mkdirSync } from "node:fs";
import { homedir, tmpdir, userInfo } from "node:os";
import { join, resolve } from "node:path";

/**
 * The candidates in order: $HYPERVISE_CACHE, $XDG_CACHE_HOME/hypervise, ~/.cache/hypervise, and a directory of this user
 * below the temporary directory.
 *
 * @param {NodeJS.ProcessEnv} env
 * @param {{ home: string, temporary: string, user: string }} places
 * @returns {string[]}
 */
export function cacheDirectoryCandidates(env, places) {
  const candidates = [];
  if (env.HYPERVISE_CACHE) candidates.push(resolve(env.HYPERVISE_CACHE));
  // The base directory specification says that a relative path is to be ignored.
  if (env.XDG_CACHE_HOME?.startsWith("/")) candidates.push(join(env.XDG_CACHE_HOME, "hypervise"));
  if (places.home) candidates.push(join(places.home, ".cache", "hypervise"));
  candidates.push(join(places.temporary, `hypervise-cache-${places.user}`));
  return candidates;
}

/**
 * The first candidate that exists or can be made, and that this process can write to.
 *
 * @returns {string}
 */
export function cacheDirectory() {
  const uid = process.getuid?.() ?? 0;
  const places = { home: safeHome(), temporary: tmpdir(), user: String(uid) };
  const candidates = cacheDirectoryCandidates(process.env, places);
  for (const candidate of candidates) {
    try {
      mkdirSync(candidate, { recursive: true, mode: 0o755 });
      accessSync(candidate, constants.W_OK | constants.X_OK);
      // In a directory for everybody, somebody else may have been first to make it, with what they want us to run in it.
      const isShared = candidate === candidates.at(-1);
      if (isShared && lstatSync(candidate).uid !== uid) continue;
      return candidate;
    } catch {
      // Not ours to write: the next one.
    }
  }
  throw new Error(`no directory for the cache can be written; tried ${candidates.join(", ")}. Set HYPERVISE_CACHE.`);
}

function safeHome() {
  try {
    return homedir() || userInfo().homedir;
  } catch {
    return "";
  }
}
