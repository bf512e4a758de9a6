/** Commands of the host, run without a shell, with bounded time and output. */
import { Deadline, InvalidArgumentError, systemClock, traceOperation } from "../core/index.js";
import type { Clock, SecretLike } from "../core/index.js";
import { CommandOutput } from "./command-output.js";
import { programName, startProcess, stopGroup } from "./command-process.js";
import type { CommandExit, CommandProcess } from "./command-process.js";
import { CommandError } from "./errors.js";
import { defaultHostTimeouts } from "./timeouts.js";
import type { HostTimeouts } from "./timeouts.js";

/** How a command is run. */
export interface CommandOptions {
  readonly signal?: AbortSignal | undefined;
  /** Default: 60,000. */
  readonly timeoutMs?: number | undefined;
  /** What the command reads from its standard input; without it, it reads nothing. */
  readonly input?: string | Buffer | undefined;
  /** Both outputs together. Default: 1 MiB. */
  readonly maxOutputBytes?: number | undefined;
  /** Given the standard output as it comes, beside the result; for progress. What it throws is ignored. */
  readonly onStdout?: ((chunk: Buffer) => void) | undefined;
  /** Added to this process's environment. */
  readonly env?: { readonly [name: string]: string } | undefined;
  readonly cwd?: string | undefined;
  /** Texts that are to appear in no error and no trace. */
  readonly secrets?: readonly SecretLike[] | undefined;
}

/** What a command that succeeded has said, read as UTF-8. */
export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: 0;
}

/** Runs commands: the host's own, or a test's. */
export interface CommandRunner {
  /**
   * Runs a command to its end. It is found by PATH, with the system directories added; its locale is `C`.
   * @throws CommandError when it fails; CommandNotFoundError; HostIoError when it can't be started; OverflowError when it says
   * more than `maxOutputBytes`; DeadlineExceededError, AbortedError. In the last three cases the command and what it started
   * in its process group are killed before the error is thrown.
   */
  run(argv: readonly string[], options?: CommandOptions): Promise<CommandResult>;
}

const DEFAULT_MAX_OUTPUT = 1024 * 1024;
const MAX_ARGV_BYTES = 1024 * 1024;

/** What a {@link SystemCommandRunner} works with. */
export interface SystemCommandRunnerOptions {
  readonly clock?: Clock | undefined;
  readonly timeouts?: Partial<HostTimeouts> | undefined;
}

/** Runs commands on this host. */
export class SystemCommandRunner implements CommandRunner {
  readonly #clock: Clock;
  readonly #timeouts: HostTimeouts;

  constructor(options: SystemCommandRunnerOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#timeouts = { ...defaultHostTimeouts, ...options.timeouts };
  }

  async run(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    const checked = checkArgv(argv, options.secrets);
    return traceOperation(
      "hypervise:host:command",
      () => ({ argv: [...argv] }),
      () => this.#run(checked, options),
      options.secrets,
    );
  }

  async #run(argv: readonly [string, ...string[]], options: CommandOptions): Promise<CommandResult> {
    const { timeoutMs = this.#timeouts.commandMs, signal } = options;
    const deadline = Deadline.after(timeoutMs, {
      operation: `running ${programName(argv)}`,
      clock: this.#clock,
      signal,
    });
    try {
      deadline.throwIfExpired();
      return await this.#runUntil(deadline, argv, options);
    } finally {
      deadline.dispose();
    }
  }

  async #runUntil(
    deadline: Deadline,
    argv: readonly [string, ...string[]],
    options: CommandOptions,
  ): Promise<CommandResult> {
    const child = await startProcess(argv, options);
    const output = new CommandOutput(child, options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT, programName(argv));
    if (options.onStdout !== undefined) listen(child, options.onStdout);
    feed(child, options.input);
    try {
      const exit = await deadline.race(Promise.race([child.exited, output.overflowed]));
      await deadline.race(
        Promise.race([output.drained(this.#clock, this.#timeouts.commandDrainMs), output.overflowed]),
      );
      return resultOf(exit, argv, output, options.secrets);
    } catch (error) {
      if (!(error instanceof CommandError)) await stopGroup(child, this.#clock, this.#timeouts);
      throw error;
    } finally {
      output.close();
    }
  }
}

/** The runner of this host, with default timeouts. */
export const systemCommandRunner: CommandRunner = new SystemCommandRunner();

function checkArgv(
  argv: readonly string[],
  secrets: readonly SecretLike[] | undefined,
): readonly [string, ...string[]] {
  const [file, ...args] = argv;
  if (typeof file !== "string" || file === "")
    throw new InvalidArgumentError({ field: "argv[0]", value: file, expected: "a command" });
  let bytes = 0;
  for (const [i, word] of argv.entries()) {
    if (typeof word !== "string" || word.includes("\0")) {
      throw new InvalidArgumentError({
        field: `argv[${i}]`,
        value: word,
        expected: "a string without NUL characters",
        secrets,
      });
    }
    bytes += Buffer.byteLength(word) + 1;
  }
  if (bytes > MAX_ARGV_BYTES)
    throw new InvalidArgumentError({ field: "argv", value: argv, expected: `at most ${MAX_ARGV_BYTES} bytes` });
  return [file, ...args];
}

function listen(child: CommandProcess, onStdout: (chunk: Buffer) => void): void {
  child.process.stdout?.on("data", (chunk: Buffer) => {
    try {
      onStdout(chunk);
    } catch {
      // A listener's trouble is not the command's.
    }
  });
}

function feed(child: CommandProcess, input: string | Buffer | undefined): void {
  if (input === undefined) return;
  // A command may end without having read all of its input; what it thinks of that, its exit status says.
  child.process.stdin?.on("error", () => undefined);
  child.process.stdin?.end(input);
}

function resultOf(
  exit: CommandExit,
  argv: readonly string[],
  output: CommandOutput,
  secrets: readonly SecretLike[] | undefined,
): CommandResult {
  const { stdout, stderr } = output;
  if (exit.exitCode === 0) return { stdout, stderr, exitCode: 0 };
  throw new CommandError({ argv, exitCode: exit.exitCode, signal: exit.signal, stderr, secrets });
}
