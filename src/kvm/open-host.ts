/** Opening a host: the lock on its state directory, the binary and what it can do, the accelerator that works. */
import { throwIfAborted, withRollback } from "../core/index.js";
import { HypervisorUnavailableError } from "../driver/index.js";
import type { HypervisorContext } from "../driver/index.js";
import { FileStateStore, LockedError, acquireFileLock, ensureDirectory } from "../host/index.js";
import type { FileLock } from "../host/index.js";
import { MemorySecretStore } from "../storage/index.js";
import { AccessLedger, openDirectories } from "./access/access-ledger.js";
import { resolveCredentials } from "./access/credentials.js";
import type { Credentials } from "./access/credentials.js";
import { findQemu } from "./binary.js";
import type { QemuBinary } from "./binary.js";
import type { KvmHost } from "./host.js";
import { readHostFacts } from "./host-facts.js";
import { requireCapabilities } from "./migration/settings.js";
import { openExistingTap, probeNetworkAccess } from "./network-access.js";
import type { ResolvedKvmOptions } from "./options.js";
import type { QemuCapabilities } from "./plan/capabilities.js";
import type { Accelerator } from "./plan/command-line.js";
import { probeKvm } from "./probe/accelerator-probe.js";
import { probeCapabilities } from "./probe/capability-probe.js";
import { probeCpus } from "./probe/cpu-probe.js";
import { probeHostSupport } from "./probe/host-support.js";
import { ProbeCache, bootId } from "./probe/probe-cache.js";
import { layoutOf } from "./state/guest-files.js";
import { GuestStore } from "./state/guest-store.js";

export interface AcceleratorInUse {
  readonly name: Accelerator;
  /** Why this one, in one sentence for people. */
  readonly reason: string;
}

export interface OpenHost {
  readonly host: KvmHost;
  readonly accelerator: AcceleratorInUse;
  readonly lock: FileLock;
}

/** The file in the state directory that tells other drivers that it is in use. */
const LOCK_NAME = "kvm-driver";
const DEFAULT_CPU_MODELS: { readonly [A in Accelerator]: string } = { kvm: "host", tcg: "max" };

/**
 * Takes the state directory and probes; what was probed before is not probed again.
 * @throws HypervisorUnavailableError when another process has the directory, or QEMU or the accelerator asked for is missing; NotSupportedError when QEMU can't migrate guests
 * as the options say; HostIoError; AbortedError.
 * Then nothing is held.
 */
export async function openHost(
  options: ResolvedKvmOptions,
  context: HypervisorContext,
  signal: AbortSignal | undefined,
): Promise<OpenHost> {
  const layout = layoutOf(options.stateDirectory);
  const { clock, onEvent, secrets = new MemorySecretStore() } = context;
  const { timeouts } = options;
  return withRollback(async (undo) => {
    throwIfAborted(signal, "opening the host");
    const lock = await acquireFileLock(layout.root, { name: LOCK_NAME, clock }).catch((error: unknown) => {
      throw error instanceof LockedError ? locked(error) : error;
    });
    undo.defer("lock of the state directory", () => lock.release());
    const cache = new ProbeCache(new FileStateStore({ dir: layout.cache }));
    const binary = await findQemu(options.qemuBinary);
    const user = await resolveCredentials(options.runAs, signal);
    const access = new AccessLedger(new FileStateStore({ dir: layout.access }), layout.root, user);
    await access.load();
    if (user !== undefined) {
      await ensureDirectory(layout.guests);
      await openDirectories(layout.root, layout.guests);
    }
    const capabilities = await cache.capabilities(binary, () =>
      probeCapabilities(binary, { clock, timeoutMs: timeouts.probeMs, signal, user }),
    );
    requireCapabilities(options.migration, capabilities.migrationCapabilities);
    const accelerator = await chooseAccelerator(options, context, binary, capabilities, cache, user, signal);
    const cpus = await cache.cpus(binary, accelerator.name, () =>
      probeCpus(binary, accelerator.name, { clock, timeoutMs: timeouts.probeMs, signal, user }),
    );
    const support = await probeHostSupport(cpus);
    const network = probeNetworkAccess(options.openTap);
    const host: KvmHost = {
      binary: binary.path,
      capabilities,
      accelerator: accelerator.name,
      support,
      cpuModel: options.cpuModel ?? DEFAULT_CPU_MODELS[accelerator.name],
      network: network.launch,
      hotplugNetwork: network.hotplug,
      hotplugPorts: options.hotplugPorts,
      consoleLogBytes: options.consoleLogBytes,
      openTap: options.openTap ?? openExistingTap,
      migration: options.migration,
      hostAddress: async () => (await readHostFacts(capabilities, accelerator.name)).ipAddress,
      bootId: await bootId(),
      store: new GuestStore(layout),
      access,
      secrets,
      clock,
      timeouts,
      emit: onEvent,
    };
    throwIfAborted(signal, "opening the host");
    return { host, accelerator, lock };
  });
}

async function chooseAccelerator(
  options: ResolvedKvmOptions,
  { clock }: HypervisorContext,
  binary: QemuBinary,
  capabilities: QemuCapabilities,
  cache: ProbeCache,
  user: Credentials | undefined,
  signal: AbortSignal | undefined,
): Promise<AcceleratorInUse> {
  const { accelerator: choice, cpuModel = DEFAULT_CPU_MODELS.kvm, timeouts } = options;
  if (choice !== "auto") {
    if (capabilities.accelerators.includes(choice)) return { name: choice, reason: "it was asked for" };
    throw new HypervisorUnavailableError(`this QEMU is built without ${choice}`, {
      retryable: false,
      detail: binary.path,
    });
  }
  const probe = { clock, timeoutMs: timeouts.acceleratorProbeMs, cpuModel, signal, user };
  const { usable, reason } = await cache.accelerator(
    binary,
    cpuModel,
    () => probeKvm(binary, capabilities, probe),
    user,
  );
  if (usable) return { name: "kvm", reason };
  if (capabilities.accelerators.includes("tcg")) return { name: "tcg", reason: `KVM is not usable: ${reason}` };
  throw new HypervisorUnavailableError("KVM does not work here, and this QEMU is built without TCG", {
    retryable: false,
    detail: reason,
  });
}

function locked(error: LockedError): HypervisorUnavailableError {
  return new HypervisorUnavailableError("another driver process uses the state directory", {
    cause: error,
    ...(error.detail === undefined ? {} : { detail: error.detail }),
    ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
  });
}
