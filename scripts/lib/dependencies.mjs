// Makes node_modules agree with package-lock.json, and does nothing when it already does.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { withExclusiveLock } from "./exclusive-lock.mjs";
import { runCommand } from "./run-command.mjs";

/** The repository's root. */
export const projectRoot = fileURLToPath(new URL("../..", import.meta.url));

/**
 * Runs `npm ci` if node_modules is missing, holds other versions than package-lock.json, or was installed for another platform
 * (native packages are built for one).
 *
 * @param {{ log?: import("./progress.mjs").Log, root?: string, timeoutMs?: number }} [options]
 * @returns {Promise<boolean>} Whether anything was installed.
 */
export async function ensureDependencies({ log = console.error, root = projectRoot, timeoutMs = 900_000 } = {}) {
  const stamp = join(root, "node_modules", ".hypervise-stamp");
  const wanted = expectedStamp(root);
  if (readIfPresent(stamp) === wanted) return false;
  const lock = join(root, ".cache", "npm-ci.lock");
  mkdirSync(dirname(lock), { recursive: true });
  return withExclusiveLock(
    lock,
    async () => {
      if (readIfPresent(stamp) === wanted) return false;
      const platform = readIfPresent(stamp)?.trim().split(" ")[1];
      if ((platform === undefined || platform === currentPlatform()) && agreesWithLock(root)) {
        writeFileSync(stamp, wanted);
        return false;
      }
      log("Installing npm dependencies (npm ci)");
      const npm = npmCommand();
      await runCommand([...npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], { cwd: root, timeoutMs });
      mkdirSync(dirname(stamp), { recursive: true });
      writeFileSync(stamp, wanted);
      return true;
    },
    { timeoutMs, onWait: () => log("Waiting for another npm ci in this directory") },
  );
}

/** The npm that started us if one did, else the one beside this Node, else the one on PATH. */
function npmCommand() {
  const { npm_execpath: script } = process.env;
  if (script && /npm-cli\.c?js$/.test(script) && existsSync(script)) return [process.execPath, script];
  const beside = join(dirname(process.execPath), "npm");
  return existsSync(beside) ? [beside] : ["npm"];
}

function expectedStamp(root) {
  const hash = createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
  return `${hash} ${currentPlatform()}\n`;
}

function currentPlatform() {
  return `${process.platform}-${process.arch}`;
}

function readIfPresent(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** Whether an install that we did not make (npm install, npm ci by hand) holds the very versions of the lock file. */
function agreesWithLock(root) {
  const hidden = readIfPresent(join(root, "node_modules", ".package-lock.json"));
  if (hidden === undefined) return false;
  const installed = JSON.parse(hidden).packages ?? {};
  const locked = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages ?? {};
  return Object.entries(locked).every(
    ([path, entry]) =>
      path === "" ||
      installed[path]?.version === entry.version ||
      (installed[path] === undefined && (entry.optional === true || entry.devOptional === true || entry.peer === true)),
  );
}
