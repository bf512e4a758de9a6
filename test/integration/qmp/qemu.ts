/** Starts a QEMU without a guest for one test: 50 ms to a monitor. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { QmpExitInfo } from "../../../src/qmp/index.js";

export const QEMU = "qemu-system-x86_64";

export interface TestQemu extends AsyncDisposable {
  readonly folder: string;
  readonly path: string;
  readonly child: ChildProcess;
  /** The monitor on a socketpair, when it was asked for. */
  readonly stream: Duplex;
  readonly exited: Promise<QmpExitInfo>;
}

export interface TestQemuOptions {
  readonly machine?: string;
  readonly args?: readonly string[] | ((folder: string) => readonly string[]);
  /** Gives QEMU one end of a socketpair as its descriptor 3, and no socket by path. */
  readonly socketpair?: boolean;
}

export async function startQemu(options: TestQemuOptions = {}): Promise<TestQemu> {
  const folder = await mkdtemp(join(tmpdir(), "qmp-qemu-"));
  const path = join(folder, "qmp.sock");
  const monitor =
    options.socketpair === true
      ? ["-chardev", "socket,id=mon,fd=3", "-mon", "chardev=mon,mode=control"]
      : ["-qmp", `unix:${path},server=on,wait=off`];
  const extra = typeof options.args === "function" ? options.args(folder) : (options.args ?? []);
  const argv = [
    "-machine",
    options.machine ?? "none",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    ...monitor,
    ...extra,
  ];
  const child = spawn(QEMU, argv, { stdio: ["ignore", "ignore", "pipe", "pipe"] });
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const exited = new Promise<QmpExitInfo>((resolve) => {
    child.once("close", (code, signal) =>
      resolve({ exitCode: code ?? undefined, signal: signal ?? undefined, stderr }),
    );
  });
  return {
    folder,
    path,
    child,
    stream: child.stdio[3] as Duplex,
    exited,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      (child.stdio[3] as Duplex).destroy();
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
