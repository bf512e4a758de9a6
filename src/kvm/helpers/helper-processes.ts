/** The processes that a guest needs beside QEMU: started before it, gone with it, and found by a mark in their environment. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { chownSync, closeSync, constants, openSync, renameSync } from "node:fs";
import { chown, mkdir } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { join } from "node:path";
import { GuestStartError } from "../../driver/index.js";
import { HostIoError, socketFd } from "../../host/index.js";
import type { Credentials } from "../access/credentials.js";
import { qemuEnvironment } from "../binary.js";
import type { HelperPlan } from "../plan/helper-plan.js";
import type { GuestFiles } from "../state/guest-files.js";
import { HELPER_MARK } from "./find-helpers.js";

export interface HelpersRequest {
  readonly plans: readonly HelperPlan[];
  readonly files: GuestFiles;
  /** Whom QEMU runs as; default: this process's own user. */
  readonly user?: Credentials | undefined;
}

/** Our ends of the socket pairs to helpers, by name, for QEMU to inherit. */
export interface HelperSockets {
  /** The descriptor that QEMU is to inherit. @throws GuestStartError when the helper is gone */
  fd(name: string): number;
  /** Closes what QEMU has inherited, in the same turn in which it was started: what comes over the sockets then is QEMU's to read. */
  release(): void;
}

/**
 * Starts the helpers in sessions of their own. A helper ends when QEMU hangs up, or when nobody takes over its socket.
 * @throws GuestStartError, HostIoError. Those that were started may still run: `endHelpers` ends them.
 */
export async function startHelpers({ plans, files, user }: HelpersRequest): Promise<HelperSockets> {
  const sockets = new Map<string, Socket>();
  const release = (): void => {
    for (const socket of sockets.values()) socket.destroy();
  };
  const log = plans.length === 0 ? undefined : openLog(files.helperLog);
  try {
    for (const plan of plans) {
      await makeDirectory(plan, files, user);
      const socket = await startHelper(plan, files, log as number, user);
      if (socket !== undefined) sockets.set(plan.name, socket);
    }
  } catch (error) {
    release();
    throw error;
  } finally {
    if (log !== undefined) closeSync(log);
  }
  return { fd: (name) => fdOf(name, sockets.get(name)), release };
}

function fdOf(name: string, socket: Socket | undefined): number {
  if (socket === undefined || socket.destroyed)
    throw new GuestStartError("a process that the guest needs beside QEMU has ended", { device: name });
  return socketFd(socket);
}

async function makeDirectory({ directory, asQemu }: HelperPlan, files: GuestFiles, user?: Credentials): Promise<void> {
  if (directory === undefined) return;
  const path = join(files.directory, directory);
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    if (asQemu && user !== undefined) await chown(path, user.uid, user.gid);
  } catch (error) {
    throw new HostIoError({ operation: "making a directory", path, cause: error });
  }
}

async function startHelper(
  plan: HelperPlan,
  files: GuestFiles,
  log: number,
  user?: Credentials,
): Promise<Socket | undefined> {
  if (plan.socket.type === "listening") {
    await started(plan, launchListening(plan, plan.socket.file, files, log, user));
    return undefined;
  }
  const child = launch(plan, files, log, "pipe", user);
  const socket = child.stdin as Socket | null;
  socket?.on("error", () => undefined);
  await started(plan, child);
  return socket ?? undefined;
}

/** All in one turn: what connects is the helper's to serve. */
function launchListening(
  plan: HelperPlan,
  file: string,
  files: GuestFiles,
  log: number,
  user?: Credentials,
): ChildProcess {
  const listener = listen(file, files, user);
  try {
    return launch(plan, files, log, listener.fd, user);
  } finally {
    listener.close();
  }
}

function launch(
  { binary, args, asQemu }: HelperPlan,
  files: GuestFiles,
  log: number,
  socket: "pipe" | number,
  user?: Credentials,
): ChildProcess {
  const child = spawn(binary, args, {
    cwd: files.directory,
    env: { ...qemuEnvironment(), [HELPER_MARK]: files.directory },
    stdio: [socket, log, log],
    detached: true,
    ...(asQemu ? user : undefined),
  });
  child.unref();
  return child;
}

function started({ name, binary }: HelperPlan, child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (error) =>
      reject(
        new GuestStartError("a process that the guest needs beside QEMU could not be started", {
          device: name,
          detail: binary,
          cause: error,
        }),
      ),
    );
  });
}

interface Listener {
  readonly fd: number;
  close(): void;
}

/**
 * A listening socket that this process does not serve: it is made, named and handed over before the event loop turns. So whoever connects later is
 * the helper's to serve, however slowly that starts.
 */
function listen(file: string, { directory }: GuestFiles, user?: Credentials): Listener {
  const folder = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  const server = createServer();
  try {
    // A short path, as long ones do not fit an address. Node removes the name that it has given when it closes the socket.
    const given = `/proc/self/fd/${folder}/${file}.new`;
    server.on("error", () => undefined);
    server.listen({ path: given, exclusive: true });
    const { fd } = (server as Server & { readonly _handle?: { readonly fd?: number } })._handle ?? {};
    if (fd === undefined || fd < 0)
      throw new HostIoError({ operation: "listening on a socket", path: join(directory, file) });
    renameSync(given, `/proc/self/fd/${folder}/${file}`);
    if (user !== undefined) chownSync(join(directory, file), user.uid, user.gid);
    return { fd, close: () => server.close() };
  } catch (error) {
    server.close();
    throw error instanceof HostIoError
      ? error
      : new HostIoError({ operation: "listening on a socket", path: join(directory, file), cause: error });
  } finally {
    closeSync(folder);
  }
}

function openLog(path: string): number {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_APPEND | constants.O_NOFOLLOW;
  try {
    return openSync(path, flags, 0o600);
  } catch (error) {
    throw new HostIoError({ operation: "opening a log", path, cause: error });
  }
}
