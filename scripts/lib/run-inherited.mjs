// Runs a program that talks to the person at the terminal itself.
import { spawn } from "node:child_process";
import { projectRoot } from "./dependencies.mjs";

/**
 * @param {string} file
 * @param {readonly string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string, output?: number }} [options] `output`: a file descriptor for what it prints; else it goes to the terminal.
 * @returns {Promise<number>} The exit code, or 128 for one that a signal ended.
 */
export function runInherited(file, args, { env = {}, cwd = projectRoot, output = undefined } = {}) {
  return new Promise((resolve, reject) => {
    const stdio = /** @type {const} */ (["ignore", output ?? "inherit", output ?? "inherit"]);
    const child = spawn(file, args, { cwd, stdio: [...stdio], env: { ...process.env, ...env } });
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 128));
  });
}
