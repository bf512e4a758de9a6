/** Starts QEMU so that it outlives this process, with what it inherits opened for it. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { closeSync, constants, openSync } from "node:fs";
import type { Socket } from "node:net";
import { InvalidArgumentError } from "../core/index.js";
import type { Clock } from "../core/index.js";
import { GuestStartError } from "../driver/index.js";
import type { GuestNic } from "../driver/index.js";
import { HostIoError, openMacvtap, readProcess } from "../host/index.js";
import type { PrivateFile } from "../host/index.js";
import type { Credentials } from "./access/credentials.js";
import { shareGuestDirectory } from "./access/guest-directory.js";
import { qemuEnvironment, spawnFailed } from "./binary.js";
import { startHelpers } from "./helpers/helper-processes.js";
import type { HelperSockets } from "./helpers/helper-processes.js";
import type { CommandLine } from "./plan/command-line.js";
import { queuesOf } from "./plan/devices.js";
import { QemuProcess, removeSockets, tailOf } from "./process.js";
import type { GuestFiles } from "./state/guest-files.js";

export const VHOST_DEVICE = "/dev/vhost-net";

/** Opens an interface that is there, once for each of its queues. The caller closes the descriptors. */
export type TapOpener = (deviceName: string, queues: number) => readonly number[];

export interface LaunchRequest {
  readonly binary: string;
  readonly commandLine: CommandLine;
  readonly files: GuestFiles;
  readonly nics: readonly GuestNic[];
  readonly openTap: TapOpener;
  readonly clock: Clock;
  /** Open descriptors that QEMU inherits behind those of the command line. The caller closes them. */
  readonly inherited?: readonly number[];
  /** The disks' secrets, by the ids that QEMU has them under. The caller wipes them when QEMU has answered or ended. */
  readonly secrets?: ReadonlyMap<string, PrivateFile>;
  /** Whom QEMU runs as; default: this process's own user. */
  readonly user?: Credentials | undefined;
}

export interface LaunchedQemu {
  readonly process: QemuProcess;
  readonly monitor: Socket;
}

/**
 * Starts QEMU in a session of its own, without groups beside the user's where it runs as another user. Its output goes to a file. This process keeps none of the descriptors that it opened for it.
 * Processes that it needs beside it are started before it.
 * @throws HypervisorUnavailableError when the binary is gone; GuestStartError when it ends at once; TapError, HostIoError when something can't be
 * opened. Then no QEMU runs; processes beside it may, which the caller ends.
 */
export async function launchQemu(request: LaunchRequest): Promise<LaunchedQemu> {
  const { binary, commandLine, files, user } = request;
  await removeSockets(files);
  if (user !== undefined) await shareGuestDirectory(files, user);
  const helpers = await startHelpers({ plans: commandLine.helpers, files, user });
  const opened: number[] = [];
  try {
    const log = openFile(
      files.log,
      constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_APPEND | constants.O_NOFOLLOW,
      opened,
    );
    const inherited = openDescriptors(request, helpers, opened);
    const stdio = ["ignore" as const, log, log, ...inherited, ...(request.inherited ?? [])];
    const child = spawn(binary, commandLine.args, { stdio, env: qemuEnvironment(), cwd: "/", detached: true, ...user });
    helpers.release();
    return { process: await started(child, request), monitor: child.stdio[stdio.indexOf("pipe")] as Socket };
  } finally {
    helpers.release();
    for (const fd of opened) closeSync(fd);
  }
}

function openDescriptors(
  { commandLine, files, nics, openTap, secrets }: LaunchRequest,
  helpers: HelperSockets,
  opened: number[],
): (number | "pipe")[] {
  const taps = new Map<string, readonly number[]>();
  return commandLine.descriptors.map((descriptor) => {
    switch (descriptor.what) {
      case "monitor":
        return "pipe";
      case "tpm":
        return helpers.fd("tpm");
      case "directory":
        return openFile(files.directory, constants.O_RDONLY | constants.O_DIRECTORY, opened);
      case "secret":
        return secretFile(secrets, descriptor.object).fd;
      case "vhost":
        return openFile(VHOST_DEVICE, constants.O_RDWR, opened);
      case "tap": {
        const queues = taps.get(descriptor.nicId) ?? openNic(nics, descriptor.nicId, openTap, opened);
        taps.set(descriptor.nicId, queues);
        return queues[descriptor.queue] as number;
      }
    }
  });
}

function secretFile(secrets: ReadonlyMap<string, PrivateFile> | undefined, object: string): PrivateFile {
  const file = secrets?.get(object);
  if (file === undefined) throw new RangeError(`nobody has given the secret ${object}`);
  return file;
}

function openNic(nics: readonly GuestNic[], id: string, openTap: TapOpener, opened: number[]): readonly number[] {
  const nic = nics.find((candidate) => candidate.id === id);
  if (nic?.backend.type !== "tap" && nic?.backend.type !== "macvtap")
    throw new InvalidArgumentError({ field: "nics", value: id, expected: "a NIC on a TAP or a macvtap device" });
  const { type, deviceName } = nic.backend;
  const fds = type === "macvtap" ? openMacvtap(deviceName) : openTap(deviceName, queuesOf(nic));
  opened.push(...fds);
  return fds;
}

function openFile(path: string, flags: number, opened: number[]): number {
  try {
    const fd = openSync(path, flags, 0o600);
    opened.push(fd);
    return fd;
  } catch (error) {
    throw new HostIoError({ operation: "opening a file for QEMU", path, cause: error });
  }
}

async function started(child: ChildProcess, { binary, files, clock }: LaunchRequest): Promise<QemuProcess> {
  const failed = new Promise<never>((_, reject) => child.once("error", (error) => reject(spawnFailed(binary, error))));
  failed.catch(() => undefined);
  const { pid } = child;
  if (pid === undefined) return failed;
  const info = await readProcess(pid);
  child.unref();
  if (info !== undefined)
    return QemuProcess.child(child, { identity: { pid, startTime: info.startTime }, clock, log: files.log });
  throw new GuestStartError("QEMU ended as soon as it was started", { detail: await tailOf(files.log) });
}
