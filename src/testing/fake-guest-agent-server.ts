/** A fake of QEMU's guest agent at the level of the wire, with a guest's files, users and programs in memory. */
import type { QmpObject, QmpValue } from "../qmp/index.js";
import { FakeCommandError, FakeJsonServer, NO_REPLY } from "./fake-json-server.js";
import type { FakeCommand, FakeServerOptions } from "./fake-json-server.js";
import { JsonFramer } from "./json-framer.js";

/** How a program of the fake guest ends. */
export interface FakeProgramResult {
  readonly exitCode?: number;
  readonly signal?: number;
  readonly stdout?: string | Uint8Array;
  readonly stderr?: string | Uint8Array;
}

/** A program of the fake guest. A promise that is pending is a program that runs. */
export type FakeProgram = (args: readonly string[], input: Buffer) => FakeProgramResult | Promise<FakeProgramResult>;

export interface FakeGuestAgentOptions extends FakeServerOptions {
  readonly files?: { readonly [path: string]: string | Uint8Array };
  readonly programs?: { readonly [path: string]: FakeProgram };
  /** Whether the agent runs. While it does not, it reads and says nothing. Default: true. */
  readonly running?: boolean;
}

interface OpenFile {
  readonly path: string;
  at: number;
}

/** Commands that a guest with frozen file systems still executes. */
const WHILE_FROZEN = new Set([
  "guest-ping", "guest-info", "guest-sync", "guest-sync-delimited", "guest-fsfreeze-status", "guest-fsfreeze-thaw",
]); // prettier-ignore

/**
 * Speaks like the agent: no greeting, lines end with LF, one command after the other, the byte 0xFF resets its parser and is
 * answered by an error, `guest-sync-delimited` by a byte 0xFF first. What it has read of a half command outlives the client.
 */
export class FakeGuestAgentServer extends FakeJsonServer {
  readonly files = new Map<string, Buffer>();
  /** Passwords that were set, by user. */
  readonly passwords = new Map<string, string>();
  frozen = false;
  /** What `guest-shutdown` or `guest-suspend-*` was told to do. */
  wentDown: string | undefined;
  readonly #programs: ReadonlyMap<string, FakeProgram>;
  readonly #framer = new JsonFramer({ frame: (text) => this.onFrame(text), garbage: (text) => this.onGarbage(text) });
  readonly #open = new Map<number, OpenFile>();
  readonly #running = new Map<number, QmpObject>();
  #alive: boolean;
  #nextHandle = 1000;
  #inTurn: Promise<void> = Promise.resolve();

  constructor(options: FakeGuestAgentOptions = {}) {
    super(options);
    this.#alive = options.running ?? true;
    this.#programs = new Map(Object.entries(options.programs ?? {}));
    for (const [path, content] of Object.entries(options.files ?? {}))
      this.files.set(path, Buffer.from(content as string));
    this.#register();
  }

  /** Starts the agent, or ends it as its guest's shutdown does. */
  setRunning(running: boolean): void {
    this.#alive = running;
  }

  protected override framer(): JsonFramer {
    return this.#framer;
  }

  protected override welcome(): void {}

  protected override farewell(): void {}

  protected override lineEnd(): string {
    return "\n";
  }

  protected override onGarbage(text: string): void {
    if (this.#alive) super.onGarbage(text);
  }

  protected override dispatch(command: FakeCommand): void {
    if (!this.#alive) return;
    this.#inTurn = this.#inTurn.then(() => this.#execute(command));
  }

  async #execute(command: FakeCommand): Promise<void> {
    if (command.name === "guest-sync-delimited") this.sendRaw(Uint8Array.of(0xff));
    if (!this.frozen || WHILE_FROZEN.has(command.name)) return this.run(command);
    const desc = `The command ${command.name} has been disabled`;
    this.send({ id: command.id, error: { class: "CommandNotFound", desc } });
  }

  #register(): void {
    const sync = ({ args }: FakeCommand): QmpValue => args["id"] as QmpValue;
    this.on("guest-sync", sync).on("guest-sync-delimited", sync);
    this.on("guest-ping", () => ({}));
    this.on("guest-info", () => this.#info());
    for (const name of ["guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid"]) {
      this.on(name, ({ args }) => this.#goDown(typeof args["mode"] === "string" ? args["mode"] : name));
    }
    this.on("guest-set-user-password", ({ args }) => this.#setPassword(args));
    this.on("guest-network-get-interfaces", () => [
      { name: "lo", "ip-addresses": [{ "ip-address": "127.0.0.1", "ip-address-type": "ipv4", prefix: 8 }] },
    ]);
    this.#registerFreeze();
    this.#registerFiles();
    this.on("guest-exec", ({ args }) => this.#exec(args));
    this.on("guest-exec-status", ({ args }) => this.#execStatus(Number(args["pid"])));
  }

  #info(): object {
    const commands = [...this.handlers.keys()].map((name) => ({
      name,
      enabled: !this.frozen || WHILE_FROZEN.has(name),
      "success-response": !/shutdown|suspend/.test(name),
    }));
    return { version: "7.2.22", supported_commands: commands };
  }

  #goDown(how: string): typeof NO_REPLY {
    this.wentDown = how;
    return NO_REPLY;
  }

  #setPassword(args: QmpObject): object {
    this.passwords.set(text(args, "username"), Buffer.from(text(args, "password"), "base64").toString());
    return {};
  }

  #registerFreeze(): void {
    const freeze = (): number => {
      this.frozen = true;
      return 2;
    };
    const thaw = (): number => {
      const thawed = this.frozen ? 2 : 0;
      this.frozen = false;
      return thawed;
    };
    this.on("guest-fsfreeze-freeze", freeze).on("guest-fsfreeze-freeze-list", freeze).on("guest-fsfreeze-thaw", thaw);
    this.on("guest-fsfreeze-status", () => (this.frozen ? "frozen" : "thawed"));
  }

  #registerFiles(): void {
    this.on("guest-file-open", ({ args }) => this.#openFile(text(args, "path"), text(args, "mode", "r")));
    this.on("guest-file-close", ({ args }) => {
      this.#file(args);
      this.#open.delete(Number(args["handle"]));
      return {};
    });
    this.on("guest-file-flush", ({ args }) => {
      this.#file(args);
      return {};
    });
    this.on("guest-file-read", ({ args }) => {
      const file = this.#file(args);
      const content = this.files.get(file.path) ?? Buffer.alloc(0);
      const bytes = content.subarray(file.at, file.at + Number(args["count"] ?? 4096));
      file.at += bytes.length;
      return { count: bytes.length, "buf-b64": bytes.toString("base64"), eof: file.at >= content.length };
    });
    this.on("guest-file-write", ({ args }) => {
      const file = this.#file(args);
      const bytes = Buffer.from(text(args, "buf-b64"), "base64");
      this.files.set(file.path, Buffer.concat([this.files.get(file.path) ?? Buffer.alloc(0), bytes]));
      return { count: bytes.length, eof: false };
    });
  }

  /** How many files the agent keeps open. */
  get openFiles(): number {
    return this.#open.size;
  }

  #openFile(path: string, mode: string): number {
    if (mode === "r" && !this.files.has(path))
      throw new FakeCommandError("GenericError", `failed to open file '${path}'`);
    if (mode === "w") this.files.set(path, Buffer.alloc(0));
    const handle = this.#nextHandle++;
    this.#open.set(handle, { path, at: 0 });
    return handle;
  }

  #file(args: QmpObject): OpenFile {
    const file = this.#open.get(Number(args["handle"]));
    if (file === undefined) throw new FakeCommandError("GenericError", "handle has not been found");
    return file;
  }

  #exec(args: QmpObject): object {
    const path = text(args, "path");
    const program = this.#programs.get(path);
    if (program === undefined)
      throw new FakeCommandError("GenericError", `Guest agent failed to execute child process "${path}"`);
    const pid = this.#nextHandle++;
    this.#running.set(pid, { exited: false });
    const input = Buffer.from(text(args, "input-data"), "base64");
    const argv = Array.isArray(args["arg"]) ? args["arg"].map(String) : [];
    void Promise.resolve(program(argv, input)).then((result) => this.#running.set(pid, statusOf(result)));
    return { pid };
  }

  #execStatus(pid: number): object {
    const status = this.#running.get(pid);
    if (status === undefined) throw new FakeCommandError("GenericError", "PID does not exist");
    if (status["exited"] === true) this.#running.delete(pid);
    return status;
  }
}

function text(args: QmpObject, member: string, otherwise = ""): string {
  const value = args[member];
  return typeof value === "string" ? value : otherwise;
}

function statusOf(result: FakeProgramResult): QmpObject {
  const base64 = (data: string | Uint8Array | undefined): string =>
    Buffer.from((data ?? "") as string).toString("base64");
  return {
    exited: true,
    ...(result.signal === undefined ? { exitcode: result.exitCode ?? 0 } : { signal: result.signal }),
    "out-data": base64(result.stdout),
    "err-data": base64(result.stderr),
  };
}
