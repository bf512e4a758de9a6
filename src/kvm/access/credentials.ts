/** The user that QEMU runs as, where that is not the driver's own. */
import { systemCommandRunner } from "../../host/index.js";
import { HypervisorUnavailableError } from "../../driver/index.js";

export interface Credentials {
  readonly uid: number;
  readonly gid: number;
}

/** As an embedder names the user: by numbers, or by name with the user's own group. */
export type RunAs = Credentials | string;

const NOBODY_FOUND = 2;

/**
 * Finds the user. Undefined for none asked for, and where this process is that user itself.
 * @throws HypervisorUnavailableError when there is no such user, it is root, or this process may not become it
 */
export async function resolveCredentials(
  runAs: RunAs | undefined,
  signal: AbortSignal | undefined,
): Promise<Credentials | undefined> {
  if (runAs === undefined) return undefined;
  const credentials = typeof runAs === "string" ? await lookUp(runAs, signal) : runAs;
  if (credentials.uid === 0) throw unavailable("QEMU can't be run as root by runAs: leave it out instead");
  if (process.geteuid?.() === credentials.uid && process.getegid?.() === credentials.gid) return undefined;
  if (process.geteuid?.() !== 0) throw unavailable("only root can start QEMU as another user");
  return credentials;
}

async function lookUp(name: string, signal: AbortSignal | undefined): Promise<Credentials> {
  const { stdout } = await systemCommandRunner
    .run(["getent", "passwd", "--", name], { signal, timeoutMs: 10_000 })
    .catch((error: unknown) => {
      if ((error as { readonly exitCode?: number }).exitCode !== NOBODY_FOUND) throw error;
      throw unavailable(`there is no user ${name} on this host`);
    });
  const [, , uid, gid] = stdout.split("\n")[0]?.split(":") ?? [];
  if (uid === undefined || gid === undefined || !/^\d+$/.test(uid) || !/^\d+$/.test(gid))
    throw unavailable(`there is no user ${name} on this host`);
  return { uid: Number(uid), gid: Number(gid) };
}

function unavailable(message: string): HypervisorUnavailableError {
  return new HypervisorUnavailableError(message, { retryable: false });
}
