// Runs a command in a throw-away world: own network, mounts, processes, host name and temporary directory, with a process 1 that
// reaps orphans at once. All bridges, TAP devices, firewall rules and processes that the command leaves vanish with it, and
// are named. Root gets the whole; other users get it through a user namespace where that is allowed, else a plain run.
// `node scripts/in-sandbox.mjs [--strict] -- COMMAND...`; --strict fails a command that succeeds but leaves something.
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { runCommand } from "./lib/run-command.mjs";

/**
 * @typedef {"root" | "user" | "none"} SandboxKind
 * What stands in HYPERVISE_SANDBOX inside: root in own namespaces, root of a user namespace only, or no sandbox at all.
 */

const INIT = fileURLToPath(new URL("lib/sandbox-init.sh", import.meta.url));
const NAMESPACES = ["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"];
const FORWARDED = /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"]);

/** @returns {Promise<SandboxKind>} The best that this process may have. */
export async function availableSandbox() {
  if (process.platform !== "linux") return "none";
  if (process.getuid?.() === 0 && (await canUnshare([]))) return "root";
  return (await canUnshare(["--user", "--map-root-user"])) ? "user" : "none";
}

async function canUnshare(extra) {
  try {
    await runCommand(["unshare", ...extra, ...NAMESPACES, "true"], { timeoutMs: 10_000 });
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {readonly string[]} argv
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string, strict?: boolean, notice?: (line: string) => void, output?: number }} [options]
 *   `output`: a file descriptor for what it prints; else standard streams are inherited. Signals to this process go to the command while it runs.
 * @returns {Promise<number>} Its exit code; 128 and the signal's number where a signal ended it.
 */
export async function runInSandbox(argv, { env = {}, cwd, strict = false, notice = defaultNotice, output } = {}) {
  const streams = output === undefined ? ["inherit", "inherit", "inherit"] : ["ignore", output, output];
  if (process.env.HYPERVISE_SANDBOX) return runPlainly(argv, { ...process.env, ...env }, cwd, streams);
  const kind = await availableSandbox();
  const temporary = mkdtempSync(join(tmpdir(), "hv-"));
  // Programs that run as another user inside need a place for their files too.
  if (kind === "root") chmodSync(temporary, 0o1777);
  const environment = {
    ...process.env,
    PATH: `${process.env.PATH ?? ""}:/usr/local/sbin:/usr/sbin:/sbin`,
    ...env,
    HYPERVISE_SANDBOX: kind,
    TMPDIR: temporary,
  };
  try {
    if (kind === "none") {
      notice("No namespaces are to be had here: running without a sandbox.");
      return await runPlainly(argv, environment, cwd, streams);
    }
    const user = kind === "user" ? ["--user", "--map-root-user"] : [];
    const init = ["sh", INIT, strict ? "strict" : "lenient", temporary, ...argv];
    return await runWithControlPipe(["unshare", ...user, ...NAMESPACES, ...init], environment, cwd, streams);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

function runPlainly([file, ...args], env, cwd, stdio) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio, env, cwd });
    const stop = forwardSignals((signal) => child.kill(signal));
    child.once("error", (error) => {
      stop();
      reject(error);
    });
    child.once("exit", (code, signal) => {
      stop();
      resolve(exitCode(code, signal));
    });
  });
}

function runWithControlPipe([file, ...args], env, cwd, streams) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: [...streams, "pipe"], env, cwd });
    const control = /** @type {import("node:stream").Writable} */ (child.stdio[3]);
    control.on("error", () => {});
    const stop = forwardSignals((signal) => control.write(`${signal.slice("SIG".length)}\n`));
    child.once("error", (error) => {
      stop();
      reject(error);
    });
    child.once("exit", (code, signal) => {
      stop();
      control.destroy();
      resolve(exitCode(code, signal));
    });
  });
}

function forwardSignals(send) {
  const handler = (signal) => {
    // The keyboard's interrupt reaches the whole foreground group by itself.
    if (signal === "SIGINT" && process.stdin.isTTY) return;
    send(signal);
  };
  for (const signal of FORWARDED) process.on(signal, handler);
  return () => {
    for (const signal of FORWARDED) process.removeListener(signal, handler);
  };
}

function exitCode(code, signal) {
  return code ?? 128 + (constants.signals[signal] ?? 0);
}

function defaultNotice(line) {
  process.stderr.write(`${line}\n`);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const separator = process.argv.indexOf("--");
  const argv = separator < 0 ? [] : process.argv.slice(separator + 1);
  if (argv.length === 0) {
    process.stderr.write("usage: node scripts/in-sandbox.mjs [--strict] -- COMMAND...\n");
    process.exitCode = 2;
  } else {
    process.exitCode = await runInSandbox(argv, { strict: process.argv.slice(2, separator).includes("--strict") });
  }
}
