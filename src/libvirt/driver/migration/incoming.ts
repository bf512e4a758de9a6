/** A guest's way to another host, seen from the destination: all is made ready for it, and it is waited for. libvirt knows of it when the source brings it. */
import { Deadline, isHyperviseError, throwIfAborted } from "../../../core/index.js";
import type { CommonOptions } from "../../../core/index.js";
import { GuestCrashedError, InvalidStateError, MigrationError, MigrationPreCheckError } from "../../../driver/index.js";
import type { GuestDefinition, IncomingMigration, IncomingMigrationRequest } from "../../../driver/index.js";
import { hostAddress } from "../../../host/index.js";
import { receivedDefinition } from "../../../hypervisor/index.js";
import { formatDomainXml } from "../../xml/index.js";
import { DomainPausedReason, DomainState, isLibvirtError } from "../../rpc/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestCore } from "../guest-core.js";
import type { GuestRegistry } from "../guest-registry.js";
import type { LibvirtHost } from "../host.js";
import { defineDomain } from "../lifecycle/define.js";
import { observe } from "../lifecycle/reconcile.js";
import { orUnknown } from "./compare-cpu.js";
import { planOnHost } from "../plan-on-host.js";
import { isInMemory } from "../power.js";
import { migrationDataUriOf, migrationUriOf } from "../plan/index.js";
import type { GuestState } from "../state/guest-state.js";
import { incomingOf, withMigration } from "./guard.js";
import { asJson, fingerprintOf, parseDescription } from "./token.js";
import type { GuestDescription, MigrationToken } from "./token.js";
import { dropWaiting, lookAt } from "./whereabouts.js";
import type { Whereabouts } from "./whereabouts.js";

/** What a guest that comes is defined as. */
export interface ExpectedGuest {
  readonly definition: GuestDefinition;
  /** What it keeps, as on the source. */
  readonly kept: Pick<GuestState, "machineType" | "generationId">;
}

/**
 * The guest as it will be here.
 * @throws MigrationPreCheckError when this host can't run what the source runs; what libvirt can't answer
 */
export async function expectedGuest(
  host: LibvirtHost,
  here: GuestDefinition,
  description: GuestDescription | undefined,
  options: CommonOptions,
): Promise<ExpectedGuest> {
  if (description === undefined) return { definition: here, kept: {} };
  const { virtType, machineType, generationId, cpu, definition } = description;
  const { uuid, name } = here;
  const refuse = (message: string): MigrationPreCheckError =>
    new MigrationPreCheckError(message, { instance: { uuid, name } });
  const { virtType: own, guests } = host.facts;
  if (virtType !== own) throw refuse(`it is a guest of ${virtType} on the source, of ${own} on the destination`);
  const machines = guests.flatMap((guest) => guest.machines.flatMap(({ name, canonical = name }) => [name, canonical]));
  if (machineType !== undefined && machines.length > 0 && !machines.includes(machineType))
    throw refuse(`the destination has no machine ${machineType}`);
  if (cpu !== undefined && !(await canHave(host, cpu, options)))
    throw refuse("the destination lacks something of the CPU that the guest has");
  if (description.tcpConsoles === true && !host.serialPorts.offered)
    throw refuse("the destination has no ports for the guest's serial consoles");
  return {
    definition: receivedDefinition(here, definition),
    kept: {
      ...(machineType === undefined ? {} : { machineType }),
      ...(generationId === undefined ? {} : { generationId }),
    },
  };
}

/** `virConnectCompareHypervisorCPU`; where libvirt can't say, QEMU finds out on arrival. */
async function canHave({ client, timeouts }: LibvirtHost, cpu: string, options: CommonOptions): Promise<boolean> {
  const limits = { signal: options.signal, deadlineMs: options.deadline ?? timeouts.callMs };
  try {
    return (await orUnknown(client.compareHypervisorCpu(cpu, { virttype: "kvm", ...limits }))) > 0;
  } catch (error) {
    if (isLibvirtError(error, "notSupported")) return true;
    throw error;
  }
}

/** Makes ready for a guest. @throws MigrationPreCheckError, ConflictError, InvalidArgumentError, NotSupportedError; then nothing is left */
export async function prepareIncoming(
  host: LibvirtHost,
  guests: GuestRegistry,
  here: GuestDefinition,
  request: IncomingMigrationRequest,
  options: CommonOptions,
): Promise<IncomingMigration> {
  const { uuid, name } = here;
  throwIfAborted(options.signal, "preparing for a guest");
  return asDriverErrors({ operation: "prepareIncoming", instance: { uuid, name } }, async () => {
    const description = request.guest === undefined ? undefined : parseDescription(request.guest);
    const { definition, kept } = await expectedGuest(host, here, description, options);
    await host.directIo.learn(definition.disks.map(({ source }) => source));
    planOnHost(host, definition, kept);
    const migration = { role: "destination", paused: request.paused === true } as const;
    await guests.define(definition, options, { ...kept, migration });
    try {
      throwIfAborted(options.signal, "preparing for a guest");
      if (description?.tcpConsoles === true) await host.serialPorts.claim(guests.core(uuid) as GuestCore);
      return { token: asJson(tokenFor(guests.core(uuid) as GuestCore, request)) };
    } catch (error) {
      await guests.undefine(uuid);
      throw error;
    }
  });
}

/**
 * What the source needs to bring a guest that is defined here as one that comes.
 * @throws NotSupportedError for kinds whose guests don't migrate, InvalidArgumentError, MigrationPreCheckError for disks that would have to go through a tunnel
 */
export function tokenFor(core: GuestCore, { copyDisks, listenAddress }: IncomingMigrationRequest): MigrationToken {
  const { host, definition, state } = core;
  const { migration, virtType } = host.options;
  const address = listenAddress ?? migration.address ?? hostAddress();
  const listen = migration.listenAddress ?? listenAddress;
  const { tunnel } = migration;
  if (tunnel && copyDisks.length > 0)
    throw new MigrationPreCheckError("disks don't go through a tunnel, and are not on storage that both hosts have", {
      instance: core.instance,
    });
  const dataUri = tunnel ? undefined : migrationDataUriOf(virtType, address);
  return {
    version: 1,
    uuid: definition.uuid,
    connectionUri: migration.connectionUri ?? migrationUriOf(virtType, address, migration.transport),
    ...(dataUri === undefined ? {} : { dataUri }),
    ...(listen === undefined || tunnel ? {} : { listenAddress: listen }),
    tunnel,
    encrypt: migration.encrypt,
    ...(migration.certificateName === undefined ? {} : { certificateName: migration.certificateName }),
    copyDisks,
    fingerprint: fingerprintOf(definition),
    xml: formatDomainXml(planOnHost(host, definition, state)),
  };
}

/**
 * The guest has left the source: waits until it is here wholly. Success when that was done already.
 * @throws MigrationError when it has not come and will not, which proves that it has not run here; GuestCrashedError when it runs here and the rest of its memory will not come:
 * it is ended then; DeadlineExceededError, AbortedError
 */
export async function takeGuest(core: GuestCore, options: CommonOptions): Promise<void> {
  const record = incomingOf(core);
  if (record === undefined) return;
  const { host, domain, instance } = core;
  const { arrivalMs, queryMs, callMs, killMs } = host.timeouts;
  await asDriverErrors({ operation: "finishIncoming", instance }, async () => {
    let at = "waiting" as Whereabouts;
    const look = async (): Promise<true | undefined> => {
      at = await lookAt(domain, { deadlineMs: queryMs });
      // Its source may send the rest by another link.
      return at === "waiting" || at === "arriving" || at === "lost" ? undefined : true;
    };
    const limits = core.limits(options, arrivalMs);
    await core.until(look, { operation: "waiting for the guest to arrive", ...limits }).catch((error: unknown) => {
      if (at !== "lost" || !isHyperviseError(error, "DEADLINE_EXCEEDED")) throw error;
    });
    if (at === "absent") throw new MigrationError("the guest has not arrived", { instance, retryable: false });
    if (!(await domain.isPersistent({ deadlineMs: callMs }))) await defineDomain(core);
    if (at === "lost") await domain.destroyFlags({ deadlineMs: killMs });
    if (at === "there" && !record.paused) await runOn(core);
    const startedAt = host.clock.now();
    await core.update((state) => ({ ...withMigration(state, undefined), startedAt }));
    core.see({ moving: false });
    await observe(core);
    if (at === "there" && isInMemory(core.powerState)) return;
    core.see({ state: "crashed" });
    core.emit({ type: "lifecycle", transition: "crashed", cause: "crash", detail: "lost in a migration" });
    throw new GuestCrashedError("the guest was lost in the middle of its migration", { instance });
  });
  const transition = record.paused ? "paused" : "resumed";
  core.emit({ type: "lifecycle", transition, cause: "self", detail: "migrated" });
}

/** A guest that stood still while its memory was copied by a tunnel does so here, too. */
async function runOn({ domain, host }: GuestCore): Promise<void> {
  const { state, reason } = await domain.getState({ deadlineMs: host.timeouts.callMs });
  if (state === DomainState.paused && reason === DomainPausedReason.user)
    await domain.resume({ deadlineMs: host.timeouts.callMs });
}

/**
 * Resolves when libvirt has nothing of a guest that is waited for.
 * @throws InvalidStateError when the guest is this host's own, or may have run here
 */
export async function dropIncoming(core: GuestCore, options: CommonOptions): Promise<void> {
  const { host, domain, definition, instance } = core;
  const { queryMs, callMs, arrivalMs } = host.timeouts;
  throwIfAborted(options.signal, "dropping a guest that has not come");
  const taken = (): InvalidStateError =>
    new InvalidStateError({
      operation: "abortIncoming",
      state: core.powerState,
      expected: ["migratingIn"],
      instance,
    });
  if (incomingOf(core) === undefined) throw taken();
  await asDriverErrors({ operation: "abortIncoming", instance }, async () => {
    const deadline = Deadline.after(arrivalMs, { operation: "dropping a guest that has not come", clock: host.clock });
    try {
      for (;;) {
        const at = await lookAt(domain, { deadlineMs: queryMs });
        if (at === "absent") break;
        if (at !== "waiting") throw taken();
        deadline.throwIfExpired();
        // Refused when the source has been quicker: then it has run.
        await dropWaiting(host.client, definition.name, { deadlineMs: callMs });
      }
    } finally {
      deadline.dispose();
    }
  });
  core.see({ state: "shutdown" });
}
