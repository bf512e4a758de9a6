// Runs a command without a shell, with a deadline, bounded output and an optional log file; the whole process group dies with it.
import { spawn } from "node:child_process";
import { appendFileSync } from "node:fs";

const MAX_OUTPUT_BYTES = 8 * 1024 * 1024;

export class CommandFailed extends Error {
  /**
   * @param {readonly string[]} argv
   * @param {{ code: number | null, signal: string | null, timedOut: boolean, stdout: string, stderr: string }} outcome
   */
  constructor(argv, outcome) {
    const ended = outcome.timedOut
      ? "was stopped at its deadline"
      : outcome.signal
        ? `was ended by ${outcome.signal}`
        : `exited with ${outcome.code}`;
    const tail = (outcome.stderr || outcome.stdout).trim().split("\n").slice(-8).join("\n");
    super(`${argv.join(" ")} ${ended}${tail ? `:\n${tail}` : ""}`);
    this.name = "CommandFailed";
    this.argv = argv;
    this.outcome = outcome;
  }
}

/**
 * @param {readonly string[]} argv
 * @param {{
 *   cwd?: string, env?: NodeJS.ProcessEnv, timeoutMs?: number, logFile?: string, input?: string | Buffer,
 *   check?: boolean, statusLine?: (line: string) => void,
 * }} [options] With `statusLine`, file descriptor 3 of the command is a pipe whose lines go to it. With `check: false`
 * a command that fails is returned like one that succeeds.
 * @returns {Promise<{ code: number | null, signal: string | null, timedOut: boolean, stdout: string, stderr: string }>}
 */
export function runCommand(argv, options = {}) {
  const [file, ...args] = argv;
  const { cwd, env, timeoutMs = 60_000, logFile, input, check = true, statusLine } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd,
      env: env ?? process.env,
      detached: true,
      stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe", ...(statusLine ? ["pipe"] : [])],
    });
    let timedOut = false;
    const killGroup = () => {
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        // The group is gone already.
      }
    };
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup();
    }, timeoutMs);
    const onExit = () => killGroup();
    process.once("exit", onExit);

    const collected = { stdout: "", stderr: "" };
    for (const name of /** @type {const} */ (["stdout", "stderr"])) {
      child[name].setEncoding("utf8").on("data", (text) => {
        if (logFile) appendFileSync(logFile, text);
        if (collected[name].length < MAX_OUTPUT_BYTES) collected[name] += text;
      });
    }
    if (statusLine) readLines(child.stdio[3], statusLine);
    if (input !== undefined) child.stdin.on("error", () => {}).end(input);

    const settle = (finish) => {
      clearTimeout(timer);
      process.removeListener("exit", onExit);
      finish();
    };
    child.once("error", (error) => settle(() => reject(error)));
    child.once("close", (code, signal) =>
      settle(() => {
        const outcome = { code, signal, timedOut, ...collected };
        if (check && code !== 0) reject(new CommandFailed(argv, outcome));
        else resolve(outcome);
      }),
    );
  });
}

function readLines(stream, onLine) {
  let rest = "";
  stream.setEncoding("utf8").on("data", (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  });
}
