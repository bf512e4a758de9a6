// Commands of a test: without a shell, with a deadline, and with all that the command said in the error.
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** @returns What the command wrote to its standard output. */
export async function run(argv: readonly string[], options: { readonly timeoutMs?: number } = {}): Promise<string> {
  const [file = "", ...args] = argv;
  const { stdout } = await execute(file, args, {
    timeout: options.timeoutMs ?? 30_000,
    killSignal: "SIGKILL",
    maxBuffer: 16 * 1024 * 1024,
  });
  return stdout;
}
