/** Carries out steps in one network namespace, all of them or none. */
import { asError, attachUndoFailures, isHyperviseError } from "../../core/index.js";
import type { UndoFailure } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { NetworkHostError } from "../errors.js";
import { parseHostState } from "./host-state.js";
import type { HostState } from "./host-state.js";
import { undoOf, wordsOf } from "./network-step.js";
import type { NetworkStep } from "./network-step.js";

export interface NetworkExecutorOptions {
  /** Commands of the namespace that is worked on. */
  readonly commands: CommandRunner;
  /** Longest time that one command may take. Default 30000. */
  readonly commandTimeoutMs?: number;
}

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Enough for the devices of ten thousand guests. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;
const OWN_ERRORS = ["ABORTED", "DEADLINE_EXCEEDED", "COMMAND_NOT_FOUND", "INVALID_ARGUMENT", "NETWORK_HOST_FAILED"];

/** Reads what is there, and applies plans by `ip -batch`; needs CAP_NET_ADMIN in the namespace. */
export class NetworkExecutor {
  readonly #commands: CommandRunner;
  readonly #timeoutMs: number;

  constructor(options: NetworkExecutorOptions) {
    this.#commands = options.commands;
    this.#timeoutMs = options.commandTimeoutMs ?? 30_000;
  }

  /** Devices, addresses and the main table's routes. */
  async observe(options: CallOptions = {}): Promise<HostState> {
    const read = async (words: readonly string[]): Promise<string> =>
      (await this.#run(["ip", "-json", ...words], options)).stdout;
    const [addresses, four, six] = await Promise.all([
      read(["-details", "address", "show"]),
      read(["-4", "route", "show"]),
      read(["-6", "route", "show"]),
    ]);
    return parseHostState(addresses, four, six);
  }

  /** The values of switches such as `net/ipv4/conf/br5/forwarding`; those that are not there are left out. */
  async sysctls(keys: readonly string[], options: CallOptions = {}): Promise<ReadonlyMap<string, string>> {
    if (keys.length === 0) return new Map();
    const { stdout } = await this.#run(["sysctl", "-e", ...keys], options);
    const found = stdout.split("\n").flatMap((line): readonly (readonly [string, string])[] => {
      const [name = "", value] = line.split(" = ");
      // Written with dots for slashes, and with slashes for the dots of an interface's name.
      const key = name.replace(/[./]/g, (mark) => (mark === "." ? "/" : "."));
      return value === undefined ? [] : [[key, value.trim()]];
    });
    return new Map(found);
  }

  /**
   * Does all steps in order. On failure, also by abort, those that were done are undone.
   * @throws NetworkHostError with what failed as its cause; what could not be undone is attached.
   */
  async apply(steps: readonly NetworkStep[], options: CallOptions = {}): Promise<void> {
    const done: NetworkStep[] = [];
    try {
      for (const group of groupsOf(steps)) {
        done.push(...group);
        await this.#do(group, options);
      }
    } catch (error) {
      throw attachUndoFailures(failure(error), await this.#tryUndo(done));
    }
  }

  /** Undoes steps that were applied, as far as they still stand. */
  async undo(steps: readonly NetworkStep[]): Promise<void> {
    for (const step of [...steps].reverse()) {
      if (step.kind === "sysctl") await this.#do([{ ...step, to: step.from, from: step.to }], {});
    }
    const back = [...steps].reverse();
    let state = await this.observe();
    // Devices first, as they were when they went: what was done to them before can be undone then.
    const lost = back.flatMap((step) => (step.kind === "deleteLink" ? undoOf(step, state) : []));
    if (lost.length > 0) {
      await this.#do(lost, {});
      state = await this.observe();
    }
    const inverse = back.flatMap((step) => (step.kind === "sysctl" ? [] : undoOf(step, state)));
    const gone = new Set(inverse.flatMap((step) => (step.kind === "deleteLink" ? [step.name] : [])));
    const left = inverse.filter((step) => step.kind === "deleteLink" || !gone.has(deviceOf(step) ?? ""));
    if (left.length > 0) await this.#do(left, {});
  }

  async #tryUndo(steps: readonly NetworkStep[]): Promise<readonly UndoFailure[]> {
    try {
      await this.undo(steps);
      return [];
    } catch (error) {
      return [{ name: "network devices", error: asError(error) }];
    }
  }

  async #do(group: readonly NetworkStep[], options: CallOptions): Promise<void> {
    const words = group.map(wordsOf);
    if (group[0]?.kind === "sysctl") {
      await this.#run(["sysctl", "-q", "-w", ...words.map(([, assignment = ""]) => assignment)], options);
      return;
    }
    // One process for all, so that even our death does not end it half-way.
    const batch = words.map((line) => `${line.join(" ")}\n`).join("");
    await this.#run(["ip", "-batch", "-"], options, batch);
  }

  #run(argv: readonly string[], { signal }: CallOptions, input?: string): ReturnType<CommandRunner["run"]> {
    return this.#commands.run(argv, {
      timeoutMs: this.#timeoutMs,
      maxOutputBytes: MAX_OUTPUT_BYTES,
      signal,
      ...(input === undefined ? {} : { input }),
    });
  }
}

/** Runs of steps that one command does. */
function groupsOf(steps: readonly NetworkStep[]): readonly (readonly NetworkStep[])[] {
  const groups: NetworkStep[][] = [];
  for (const step of steps) {
    const last = groups.at(-1);
    if (last !== undefined && (last[0]?.kind === "sysctl") === (step.kind === "sysctl")) last.push(step);
    else groups.push([step]);
  }
  return groups;
}

function deviceOf(step: NetworkStep): string | undefined {
  switch (step.kind) {
    case "addAddress":
    case "deleteAddress":
      return step.device;
    case "setLink":
      return step.name;
    default:
      return undefined;
  }
}

function failure(error: unknown): unknown {
  if (isHyperviseError(error) && OWN_ERRORS.includes(error.code)) return error;
  const { detail } = error as { readonly detail?: string };
  return new NetworkHostError("the host did not take a change of its network devices", {
    cause: asError(error),
    ...(detail === undefined ? {} : { detail }),
  });
}
