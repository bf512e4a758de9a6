// A QEMU process started with raw arguments, its serial port, its monitor and its guest agent: what tests and benchmarks compare
// the drivers with. The three channels are inherited socket pairs, so that nothing is left in the file system.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import type { Duplex, Readable, Writable } from "node:stream";
import { JsonLines } from "./json-lines.js";

export interface LabMachineOptions {
  /** Default "q35". */
  readonly machine?: string;
  /** Default "tcg". */
  readonly accelerator?: string;
  /** Default 128. */
  readonly memoryMiB?: number;
  /** Boots this kernel directly; without it, the machine boots from its disks. */
  readonly kernel?: { readonly kernel: string; readonly initrd: string; readonly kernelArguments: string };
  /** Added to the kernel's arguments, such as "hv.nowait". */
  readonly append?: string;
  /** A channel for the guest agent. Default true. */
  readonly agent?: boolean;
  /** More QEMU arguments: disks, network. */
  readonly arguments?: readonly string[];
  /** Put before the command, such as a namespace's prefix. */
  readonly prefix?: readonly string[];
}

export interface MachineExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const BOOT_TIMEOUT_MS = 90_000;

/** The QEMU command line for these options; file descriptors 3 and 4 are the monitor's and the agent's sockets. */
export function machineArguments(options: LabMachineOptions): string[] {
  const { machine = "q35", accelerator = "tcg", memoryMiB = 128, kernel, append = "", agent = true } = options;
  const argv = ["qemu-system-x86_64", "-no-user-config", "-nodefaults", "-display", "none", "-vga", "std"];
  argv.push("-machine", machine, "-accel", accelerator, "-m", String(memoryMiB));
  if (kernel) {
    argv.push("-kernel", kernel.kernel, "-initrd", kernel.initrd);
    argv.push("-append", `${kernel.kernelArguments} ${append}`.trim());
  }
  argv.push("-chardev", "stdio,id=serial0,signal=off", "-serial", "chardev:serial0");
  argv.push("-chardev", "socket,id=monitor0,fd=3", "-mon", "chardev=monitor0,mode=control");
  if (agent) {
    argv.push("-device", "virtio-serial-pci,id=agentbus0", "-chardev", "socket,id=agent0,fd=4");
    argv.push("-device", "virtserialport,bus=agentbus0.0,chardev=agent0,name=org.qemu.guest_agent.0");
  }
  return [...argv, ...(options.arguments ?? [])];
}

export class LabMachine implements AsyncDisposable {
  readonly argv: readonly string[];
  /** Settles when QEMU has ended. */
  readonly exited: Promise<MachineExit>;
  readonly #child: ChildProcess;
  readonly #monitor: JsonLines;
  readonly #agent: JsonLines;
  readonly #listeners = new Set<() => void>();
  #serial = "";
  #errors = "";
  #ended: MachineExit | undefined;

  private constructor(argv: readonly string[]) {
    this.argv = argv;
    const [file = "", ...args] = argv;
    this.#child = spawn(file, args, { stdio: ["pipe", "pipe", "pipe", "pipe", "pipe"] });
    this.#stdin.on("error", () => {});
    (this.#child.stdout as Readable).setEncoding("utf8").on("data", (text: string) => {
      this.#serial += text;
      this.#notify();
    });
    (this.#child.stderr as Readable).setEncoding("utf8").on("data", (text: string) => {
      this.#errors += text;
    });
    this.#monitor = new JsonLines(this.#child.stdio[3] as Duplex);
    this.#agent = new JsonLines(this.#child.stdio[4] as Duplex);
    this.exited = new Promise((resolve, reject) => {
      this.#child.once("error", reject);
      this.#child.once("close", (code, signal) => {
        this.#ended = { code, signal };
        this.#notify();
        resolve(this.#ended);
      });
    });
    this.exited.catch(() => {});
  }

  /** Starts QEMU and waits until its monitor takes commands. @throws Error with what QEMU said, if it ends instead. */
  static async start(options: LabMachineOptions = {}): Promise<LabMachine> {
    const machine = new LabMachine([...(options.prefix ?? []), ...machineArguments(options)]);
    try {
      await Promise.race([
        machine.#monitor.execute("qmp_capabilities", {}, 30_000),
        machine.exited.then((exit) => {
          throw new Error(`QEMU ended at its start (${exit.code ?? exit.signal}): ${machine.#errors}`);
        }),
      ]);
      return machine;
    } catch (error) {
      await machine.kill();
      throw error;
    }
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** All that the guest has written to its serial port. */
  get serial(): string {
    return this.#serial;
  }

  get monitor(): JsonLines {
    return this.#monitor;
  }

  get agent(): JsonLines {
    return this.#agent;
  }

  get #stdin(): Writable {
    return this.#child.stdin as Writable;
  }

  /**
   * The first match of `pattern` in the serial output from `from` on.
   *
   * @throws Error with the end of the output when QEMU ends or the time is over.
   */
  waitForSerial(pattern: RegExp, { from = 0, timeoutMs = BOOT_TIMEOUT_MS } = {}): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const fail = (why: string): void =>
        reject(new Error(`${why}; serial: …${this.#serial.slice(-1500)} ${this.#errors}`));
      const look = (): boolean => {
        const match = pattern.exec(this.#serial.slice(from));
        if (match) resolve(match);
        else if (this.#ended) fail(`QEMU ended before ${pattern.source}`);
        else return false;
        stop();
        return true;
      };
      const stop = (): void => {
        clearTimeout(timer);
        this.#listeners.delete(look);
      };
      const timer = setTimeout(() => {
        stop();
        fail(`no ${pattern.source} in ${timeoutMs} ms`);
      }, timeoutMs);
      if (!look()) this.#listeners.add(look);
    });
  }

  /** Waits for the guest's HV-READY line. */
  async waitUntilReady(): Promise<string> {
    return (await this.waitForSerial(/HV-READY [^\r\n]*(?=\r?\n)/))[0];
  }

  /** Types into the serial port. */
  type(text: string): void {
    this.#stdin.write(text);
  }

  /** Runs a line in the guest's shell on the serial port. */
  async shell(line: string, timeoutMs = 30_000): Promise<{ readonly output: string; readonly exitCode: number }> {
    const tag = `T${randomBytes(6).toString("hex")}`;
    const from = this.#serial.length;
    // Two marks, each written in halves, so that an echo of the line is not taken for them.
    this.type(`echo ${tag[0]}""${tag.slice(1)}; ${line}; echo ${tag[0]}""${tag.slice(1)} $?\n`);
    const [, output = "", code = ""] = await this.waitForSerial(new RegExp(`${tag}\\r?\\n([^]*?)${tag} (\\d+)`), {
      from,
      timeoutMs,
    });
    return { output: output.replaceAll("\r", "").replace(/^\[ *\d+\.\d+\] .*\n/gm, ""), exitCode: Number(code) };
  }

  /** Kills QEMU and waits until it is gone. */
  async kill(): Promise<void> {
    if (!this.#ended) this.#child.kill("SIGKILL");
    await this.exited.catch(() => {});
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }

  #notify(): void {
    for (const look of [...this.#listeners]) look();
  }
}
