/** What a host asks of a guest's agent, over whatever carries its commands: a socket of its own, or a daemon that has it. */
import { Deadline, Secret, withDeadline } from "../core/index.js";
import type { Clock, InstanceRef, SecretLike } from "../core/index.js";
import type { QmpWaitOptions } from "./client-options.js";
import type * as Qga from "./generated/qga.gen.js";
import { encodedInput, execInGuest } from "./guest-agent-exec.js";
import { readGuestFile, writeGuestFile } from "./guest-agent-files.js";
import type { GuestFileCommands } from "./guest-agent-files.js";
import { thawGuest, withFrozenGuest } from "./guest-agent-freeze.js";
import type { FreezePolicy, GuestFreezeCommands } from "./guest-agent-freeze.js";
import type {
  GuestExecOptions,
  GuestExecResult,
  GuestFreezeOptions,
  GuestPasswordOptions,
  GuestReadOptions,
  GuestWriteOptions,
} from "./guest-agent-options.js";
import { startGuestProcess } from "./guest-agent-process.js";
import type { GuestProcess } from "./guest-agent-process.js";
import type { GuestAgentTimeouts } from "./timeouts.js";

/** The commands that the agent's schema names. */
export type GuestCommandName = keyof Qga.GuestCommands & string;

/** Carries one command to the agent and gives what it returned. Rejects with QmpCommandError when the agent refuses it. */
export type GuestAgentExecute = <C extends GuestCommandName>(
  command: C,
  args: Qga.GuestCommands[C]["arguments"],
  options: QmpWaitOptions,
) => Promise<Qga.GuestCommands[C]["result"]>;

export interface GuestAgentCallsOptions {
  readonly clock: Clock;
  readonly timeouts: GuestAgentTimeouts;
  /** How much of a file one command carries; base64 makes it 4/3 of that. Default 384 KiB. */
  readonly fileChunkBytes?: number;
  readonly instance?: InstanceRef | undefined;
}

const MAX_FILE_BYTES = 16 * 1024 * 1024;
/** Programs that a signal ended have this and its number for an exit code, as shells have it. */
const SIGNAL_STATUS = 128;

/** See the methods of the same names of `GuestAgentClient`. */
export class GuestAgentCalls {
  readonly #execute: GuestAgentExecute;
  readonly #options: GuestAgentCallsOptions;

  constructor(execute: GuestAgentExecute, options: GuestAgentCallsOptions) {
    this.#execute = execute;
    this.#options = options;
  }

  async ping({ signal, deadlineMs = this.#timeouts.syncMs }: QmpWaitOptions = {}): Promise<void> {
    await this.#execute("guest-ping", {}, { signal, deadlineMs });
  }

  async setUserPassword(username: string, password: SecretLike, options: GuestPasswordOptions = {}): Promise<void> {
    const { crypted = false, signal, deadlineMs } = options;
    const base64 = Buffer.from(Secret.of(password).reveal()).toString("base64");
    await this.#execute("guest-set-user-password", { username, password: base64, crypted }, { signal, deadlineMs });
  }

  async networkInterfaces(options: QmpWaitOptions = {}): Promise<readonly Qga.GuestNetworkInterface[]> {
    return this.#execute("guest-network-get-interfaces", {}, options);
  }

  exec(path: string, options: GuestExecOptions = {}): Promise<GuestExecResult> {
    const { execMs, pollMinMs, pollMaxMs } = this.#timeouts;
    const polling = { clock: this.#options.clock, pollMinMs, pollMaxMs };
    return this.#within("running a program in the guest", execMs, options, (deadline) =>
      execInGuest(
        {
          start: (args, wait) => this.#execute("guest-exec", args, wait),
          status: (pid, wait) => this.#execute("guest-exec-status", { pid }, wait),
        },
        path,
        options,
        polling,
        deadline,
      ),
    );
  }

  async start(path: string, options: GuestExecOptions = {}): Promise<GuestProcess> {
    const { execMs, pollMinMs, pollMaxMs, commandMs } = this.#timeouts;
    const { clock } = this.#options;
    const deadline = Deadline.after(options.deadlineMs ?? execMs, {
      operation: "running a program in the guest",
      clock,
      signal: options.signal,
    });
    try {
      const started = await startGuestProcess(path, options, {
        commands: {
          run: (program, args, wait) => this.exec(program, { args, ...wait }),
          start: (args, wait) => this.#execute("guest-exec", args, wait),
          status: (pid, wait) => this.#execute("guest-exec-status", { pid }, wait),
          files: this.#files(),
        },
        clock,
        pollMinMs,
        pollMaxMs,
        deadline,
        lastMs: commandMs,
        input: encodedInput(options.input),
      });
      const dispose = (): void => deadline.dispose();
      started.exited.then(dispose, dispose);
      return started;
    } catch (error) {
      deadline.dispose();
      throw error;
    }
  }

  readFile(path: string, options: GuestReadOptions = {}): Promise<Buffer> {
    const { maxBytes = MAX_FILE_BYTES } = options;
    return this.#within("reading a file of the guest", this.#timeouts.fileMs, options, (deadline) =>
      readGuestFile(this.#files(), path, maxBytes, deadline, this.#options.fileChunkBytes),
    );
  }

  writeFile(path: string, data: string | Uint8Array, options: GuestWriteOptions = {}): Promise<void> {
    const bytes =
      typeof data === "string" ? Buffer.from(data) : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    return this.#within("writing a file of the guest", this.#timeouts.fileMs, options, (deadline) =>
      writeGuestFile(
        this.#files(),
        path,
        options.append === true ? "a" : "w",
        bytes,
        deadline,
        this.#options.fileChunkBytes,
      ),
    );
  }

  /** Freezes all file systems and gives how many. */
  async freeze({ signal, deadlineMs = this.#timeouts.freezeMs }: QmpWaitOptions = {}): Promise<number> {
    return Number(await this.#freezing(undefined).freeze({ signal, deadlineMs }));
  }

  withFrozenFilesystems<T>(work: (signal: AbortSignal) => Promise<T>, options: GuestFreezeOptions = {}): Promise<T> {
    const { frozenMs = this.#timeouts.frozenMs, deadlineMs = this.#timeouts.freezeMs, signal } = options;
    const policy = { ...this.#thawing(), freezeMs: deadlineMs, frozenMs };
    return withFrozenGuest(this.#freezing(options.mountpoints), policy, signal, work);
  }

  thaw(): Promise<number> {
    return thawGuest(this.#freezing(undefined), this.#thawing());
  }

  get #timeouts(): GuestAgentTimeouts {
    return this.#options.timeouts;
  }

  #within<T>(
    operation: string,
    defaultMs: number,
    { signal, deadlineMs = defaultMs }: QmpWaitOptions,
    work: (deadline: Deadline) => Promise<T>,
  ): Promise<T> {
    return withDeadline(deadlineMs, { operation, clock: this.#options.clock, signal }, work);
  }

  #files(): GuestFileCommands {
    return {
      open: (path, mode, wait) => this.#execute("guest-file-open", { path, mode }, wait),
      read: (handle, count, wait) => this.#execute("guest-file-read", { handle, count }, wait),
      write: (handle, base64, wait) => this.#execute("guest-file-write", { handle, "buf-b64": base64 }, wait),
      flush: (handle, wait) => this.#execute("guest-file-flush", { handle }, wait),
      close: (handle) => this.#execute("guest-file-close", { handle }, {}),
    };
  }

  #freezing(mountpoints: readonly string[] | undefined): GuestFreezeCommands {
    return {
      freeze: (wait) =>
        mountpoints === undefined
          ? this.#execute("guest-fsfreeze-freeze", {}, wait)
          : this.#execute("guest-fsfreeze-freeze-list", { mountpoints }, wait),
      status: (wait) => this.#execute("guest-fsfreeze-status", {}, wait),
      thaw: (wait) => this.#execute("guest-fsfreeze-thaw", {}, wait),
    };
  }

  #thawing(): Omit<FreezePolicy, "freezeMs" | "frozenMs"> {
    const { clock, instance } = this.#options;
    return { clock, thawMs: this.#timeouts.thawMs, pauseMs: this.#timeouts.pollMaxMs, instance };
  }
}

/** The exit code of a program, as a shell tells it. */
export function exitCodeOf({ exitCode, signal }: Pick<GuestExecResult, "exitCode" | "signal">): number {
  return exitCode ?? SIGNAL_STATUS + (signal ?? 0);
}

/** A guest's interfaces, with their addresses in CIDR notation. */
export function guestInterfaces(
  interfaces: readonly Qga.GuestNetworkInterface[],
): { readonly name: string; readonly macAddress?: string; readonly addresses: readonly string[] }[] {
  return interfaces.map((found) => {
    const macAddress = found["hardware-address"];
    const addresses = (found["ip-addresses"] ?? []).map((address) => `${address["ip-address"]}/${address.prefix}`);
    return { name: found.name, addresses, ...(macAddress === undefined ? {} : { macAddress }) };
  });
}
