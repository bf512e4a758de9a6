// Runs a program that talks to the person at the terminal itself.
import { spawn } from "node:child_process";
import { projectRoot } from "./dependencies.mjs";

/**
 * @param {string} file
 * @param {readonly string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string }} [options]
 * @returns {Promise<number>} The exit code, or 128 for one that a signal ended.
 */
export function runInherited(file, args, { env = {}, cwd = projectRoot } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { cwd, stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, ...env } });
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 128));
  });
}
