/** Opening a host: the lock on its state directory, the connection, and what the daemon says that its host can do. */
import { join } from "node:path";
import { Deadline, withRollback } from "../../core/index.js";
import { HypervisorUnavailableError } from "../../driver/index.js";
import type { HypervisorContext } from "../../driver/index.js";
import { FileStateStore, LockedError, acquireFileLock } from "../../host/index.js";
import type { FileLock } from "../../host/index.js";
import { MemorySecretStore } from "../../storage/index.js";
import { LibvirtAuthenticationError, LibvirtClient, LibvirtConnectError, LibvirtProtocolError } from "../rpc/index.js";
import type { LibvirtHost } from "./host.js";
import type { ResolvedLibvirtOptions } from "./options.js";
import type { LibvirtHostFacts } from "./plan/index.js";
import { readLibvirtHost } from "./host/read-libvirt-host.js";
import { GuestStore } from "./state/guest-store.js";

/** The file in the state directory that tells other drivers that it is in use. */
const LOCK_NAME = "libvirt-driver";

export interface OpenHost {
  readonly host: LibvirtHost;
  readonly lock: FileLock;
  /** Reads anew what the daemon says: it may have been replaced by another release. */
  readonly refresh: () => Promise<void>;
}

/**
 * Takes the state directory, connects and probes.
 * @throws HypervisorUnavailableError when another process has the directory, or the daemon can't be reached or is too old; HostIoError; AbortedError.
 * Then nothing is held.
 */
export async function openHost(
  options: ResolvedLibvirtOptions,
  context: HypervisorContext,
  signal: AbortSignal | undefined,
): Promise<OpenHost> {
  const { clock, onEvent, secrets = new MemorySecretStore() } = context;
  const { stateDirectory, timeouts } = options;
  const deadline = Deadline.after(timeouts.openMs, { operation: "opening the host", clock, signal });
  try {
    return await withRollback(async (undo) => {
      deadline.throwIfExpired();
      const lock = await acquireFileLock(stateDirectory, { name: LOCK_NAME, clock }).catch((error: unknown) => {
        throw error instanceof LockedError ? locked(error) : error;
      });
      undo.defer("lock of the state directory", () => lock.release());
      const client = await LibvirtClient.open(options.uri, {
        clock,
        ...options.connection,
        signal: deadline.signal,
        deadlineMs: Math.max(1, deadline.remainingMs),
      }).catch((error: unknown) => {
        throw unreachable(error);
      });
      undo.defer("connection", () => client.close());
      const read = (): Promise<LibvirtHostFacts> => readLibvirtHost(client, options);
      let facts = await deadline.race(read());
      const state = options.state ?? new FileStateStore({ dir: join(stateDirectory, "state") });
      const host: LibvirtHost = {
        client,
        get facts() {
          return facts;
        },
        options,
        store: new GuestStore(state, join(stateDirectory, "guests")),
        secrets,
        clock,
        timeouts,
        emit: onEvent,
      };
      const refresh = async (): Promise<void> => {
        facts = await read();
      };
      return { host, lock, refresh };
    });
  } finally {
    deadline.dispose();
  }
}

function unreachable(error: unknown): unknown {
  const final =
    error instanceof LibvirtConnectError ||
    error instanceof LibvirtAuthenticationError ||
    error instanceof LibvirtProtocolError;
  if (!final) return error;
  return new HypervisorUnavailableError("the libvirt daemon can't be reached", {
    cause: error,
    retryable: error.retryable,
    ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
  });
}

function locked(error: LockedError): HypervisorUnavailableError {
  return new HypervisorUnavailableError("another driver process uses the state directory", {
    cause: error,
    ...(error.detail === undefined ? {} : { detail: error.detail }),
    ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
  });
}
