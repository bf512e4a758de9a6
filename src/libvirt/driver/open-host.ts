/** Opening a host: the lock on its state directory, the connection, and what the daemon says that its host can do. */
import { join } from "node:path";
import { Deadline, withRollback } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import { HypervisorUnavailableError } from "../../driver/index.js";
import type { HypervisorContext } from "../../driver/index.js";
import { FileStateStore, LockedError, MediatedDevices, acquireFileLock } from "../../host/index.js";
import type { FileLock } from "../../host/index.js";
import { MemorySecretStore } from "../../storage/index.js";
import { LibvirtAuthenticationError, LibvirtClient, LibvirtConnectError, LibvirtProtocolError } from "../rpc/index.js";
import type { LibvirtHost } from "./host.js";
import { DirectIo } from "./host/direct-io.js";
import { SerialPorts } from "./console/serial-ports.js";
import { MediatedPool } from "./mediated/mediated-pool.js";
import type { ResolvedLibvirtOptions } from "./options.js";
import type { LibvirtHostFacts } from "./plan/index.js";
import { readLibvirtHost } from "./host/read-libvirt-host.js";
import { checkHostMemory } from "./host/host-memory.js";
import { GuestStore } from "./state/guest-store.js";

/** The file in the state directory that tells other drivers that it is in use. */
const LOCK_NAME = "libvirt-driver";

export interface OpenHost {
  readonly host: LibvirtHost;
  /** Absent: it only looks. */
  readonly lock: FileLock | undefined;
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
      const lock = options.readOnly ? undefined : await lockDirectory(stateDirectory, clock);
      if (lock !== undefined) undo.defer("lock of the state directory", () => lock.release());
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
      await deadline.race(checkHostMemory(client, facts, options.memory));
      const { readOnly } = options;
      const state = options.state ?? new FileStateStore({ dir: join(stateDirectory, "state"), readOnly });
      const host: LibvirtHost = {
        client,
        get facts() {
          return facts;
        },
        options,
        store: new GuestStore(state, join(stateDirectory, "guests")),
        secrets,
        serialPorts: new SerialPorts(options.serialConsole),
        mediated: new MediatedPool(new MediatedDevices(options.mediatedDevices)),
        directIo: new DirectIo(),
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

function lockDirectory(stateDirectory: string, clock: Clock): Promise<FileLock> {
  return acquireFileLock(stateDirectory, { name: LOCK_NAME, clock }).catch((error: unknown) => {
    throw error instanceof LockedError ? locked(error) : error;
  });
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
