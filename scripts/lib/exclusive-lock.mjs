// A lock between processes that the kernel releases when its holder dies: flock(1) holds it for as long as our end of its
// standard input is open, so a killed build leaves no stale lock and nobody has to judge whether a process id is still the same.
import { spawn } from "node:child_process";

/**
 * Runs `task` while holding the lock on `path`; on a system without flock(1) it runs unlocked, and the callers' renames
 * keep the result whole.
 *
 * @template T
 * @param {string} path A file; made if missing and never removed.
 * @param {() => Promise<T>} task
 * @param {{ timeoutMs?: number, onWait?: () => void }} [options]
 * @returns {Promise<T>}
 */
export async function withExclusiveLock(path, task, { timeoutMs = 900_000, onWait } = {}) {
  let holder = await acquire(path, ["--nonblock"]);
  if (holder === "busy") {
    onWait?.();
    holder = await acquire(path, ["--timeout", String(Math.ceil(timeoutMs / 1000))]);
    if (holder === "busy") throw new Error(`another process held ${path} for more than ${timeoutMs} ms`);
  }
  try {
    return await task();
  } finally {
    await holder?.release();
  }
}

/** @returns {Promise<"busy" | undefined | { release: () => Promise<void> }>} */
function acquire(path, mode) {
  return new Promise((resolve) => {
    const child = spawn("flock", ["--exclusive", ...mode, path, "sh", "-c", "echo held; exec cat >/dev/null"], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    child.stdin.on("error", () => {});
    child.once("error", () => resolve(undefined));
    // flock says 1 for "somebody else holds it"; anything else (a read-only file system, say) means that there is no lock to be had.
    child.once("exit", (code) => resolve(code === 1 ? "busy" : undefined));
    child.stdout.once("data", () => {
      const gone = new Promise((done) => child.once("close", done));
      const release = () => {
        child.stdin.end();
        return gone;
      };
      resolve({ release });
    });
  });
}
