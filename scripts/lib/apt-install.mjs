// Installs Debian packages without questions, without recommendations, and without starting a single service.
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CommandFailed, runCommand } from "./run-command.mjs";

const POLICY_FILE = "/usr/sbin/policy-rc.d";
const POLICY_MARK = "# hypervise set-up: no service starts while packages are installed; owner";

/** Environment in which neither debconf nor needrestart asks or restarts anything. */
const QUIET_ENVIRONMENT = {
  ...process.env,
  DEBIAN_FRONTEND: "noninteractive",
  DEBIAN_PRIORITY: "critical",
  APT_LISTCHANGES_FRONTEND: "none",
  NEEDRESTART_SUSPEND: "1",
  LC_ALL: "C.UTF-8",
};

/**
 * @param {readonly string[]} packages
 * @param {{ log: import("./progress.mjs").Log, logDirectory: string, timeoutMs?: number }} options
 *   `timeoutMs` bounds the whole installation, retries included.
 */
export async function aptInstall(packages, { log, logDirectory, timeoutMs = 900_000 }) {
  mkdirSync(logDirectory, { recursive: true });
  const logFile = join(logDirectory, "apt-install.log");
  writeFileSync(logFile, `install ${packages.join(" ")}\n`);
  const deadline = Date.now() + timeoutMs;
  const apt = (args) =>
    runCommand(["apt-get", "--yes", "-o", "DPkg::Lock::Timeout=120", "-o", "APT::Status-Fd=3", ...args], {
      env: QUIET_ENVIRONMENT,
      timeoutMs: Math.max(1_000, deadline - Date.now()),
      logFile,
      statusLine: (line) => showStatus(line, log),
    });
  const update = async () => {
    log("Fetching the package lists (apt-get update)");
    await retryOnce(() => apt(["update"]), deadline);
  };
  const install = (...extra) => apt(["install", "--no-install-recommends", ...extra, "--", ...packages]);

  log(`Installing ${packages.length} packages with apt-get: ${packages.join(" ")}`);
  log(`  (all that apt-get says goes to ${logFile})`);
  const releaseGuard = holdServices();
  try {
    let updated = false;
    // A simulation fails when the lists are absent, which is how a fresh container looks.
    if (!(await succeeds(() => install("--simulate")))) {
      await update();
      updated = true;
    }
    try {
      await install();
    } catch (error) {
      if (!(error instanceof CommandFailed) || error.outcome.timedOut || Date.now() > deadline) throw error;
      // Either somebody held dpkg's lock for longer than apt waited, or the lists are older than the archive.
      log("apt-get failed; trying once more with fresh package lists");
      if (!updated) await update();
      await install();
    }
  } finally {
    releaseGuard();
  }
}

async function succeeds(action) {
  try {
    await action();
    return true;
  } catch (error) {
    if (error instanceof CommandFailed && !error.outcome.timedOut) return false;
    throw error;
  }
}

async function retryOnce(action, deadline) {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof CommandFailed) || error.outcome.timedOut || Date.now() > deadline) throw error;
    return action();
  }
}

/** Lines of apt's status descriptor: `pmstatus:<package>:<percent>:<what>` and `dlstatus:<n>:<percent>:<what>`. */
function showStatus(line, log) {
  const match = /^(pmstatus|dlstatus):[^:]*(?::[^:.\d][^:]*)?:([\d.]+):(.*)$/.exec(line);
  if (match) log.progress?.(`  ${Math.floor(Number(match[2]))}% ${match[3]}`);
}

/**
 * Puts a policy in place that forbids package scripts to start services, unless the administrator already has one, and
 * returns what takes it away. The policy forbids only while this process lives, so one that a killed set-up left
 * behind is without effect, and the next set-up removes it.
 *
 * @param {string} [path]
 * @returns {() => void}
 */
export function holdServices(path = POLICY_FILE) {
  removeStaleGuard(path);
  if (existsSync(path)) return () => {};
  const remove = () => rmSync(path, { force: true });
  const onSignal = (signal) => {
    release();
    process.kill(process.pid, signal);
  };
  const release = () => {
    remove();
    process.removeListener("exit", remove);
    for (const signal of SIGNALS) process.removeListener(signal, onSignal);
  };
  process.once("exit", remove);
  for (const signal of SIGNALS) process.once(signal, onSignal);
  writeFileSync(path, `#!/bin/sh\n${POLICY_MARK} ${process.pid}\n[ -d /proc/${process.pid} ] && exit 101\nexit 0\n`);
  chmodSync(path, 0o755);
  return release;
}

const SIGNALS = /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"]);

function removeStaleGuard(path) {
  let text;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return;
  }
  const start = text.indexOf(POLICY_MARK);
  if (start < 0) return;
  const owner = Number.parseInt(text.slice(start + POLICY_MARK.length), 10);
  if (owner !== process.pid && !existsSync(`/proc/${owner}`)) rmSync(path, { force: true });
}
