/** Taking a device out of a guest: out of what it starts with first, then out of the guest, when that lets go of it. */
import { asError, isHyperviseError, throwIfAborted } from "../../../core/index.js";
import { DeviceDetachError } from "../../../driver/index.js";
import type { DetachOptions, DetachOutcome } from "../../../driver/index.js";
import { ErrorNumber, LibvirtError, isLibvirtError } from "../../rpc/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestSignal } from "../events/guest-signal.js";
import type { GuestCore } from "../guest-core.js";
import { deviceAlias } from "../plan/index.js";
import { hasDevice, phaseOf, withPhase } from "./alter-definition.js";
import type { DeviceKind, DeviceRef } from "./alter-definition.js";
import { findDevice, readDomainOf } from "./find-device.js";
import type { FoundDevice } from "./find-device.js";
import { finishDetach, finishIfGone, takeFromConfiguration } from "./let-go.js";
import { requireNotSaved } from "./require-state.js";
import { configureAgain } from "./restore-configuration.js";

/** The seam's names of the operations. */
const OPERATIONS: { readonly [K in DeviceKind]: string } = {
  disk: "detachDisk",
  nic: "detachNic",
  device: "detachDevice",
};

/**
 * Takes a device out of a guest and of its definition, in memory or not. Called again while the guest has not let go, it goes on waiting. `virDomainDetachDeviceAlias`.
 * @throws InvalidStateError while the guest's memory is on disk; DeviceDetachError when libvirt refuses; HypervisorUnavailableError, AbortedError, after which the guest may still let go
 */
export async function detachDevice(core: GuestCore, device: DeviceRef, options: DetachOptions): Promise<DetachOutcome> {
  const { instance } = core;
  const operation = OPERATIONS[device.kind];
  throwIfAborted(options.signal, "taking a device out of the guest");
  if (!hasDevice(core.definition, device)) return "absent";
  requireNotSaved(core, operation);
  return asDriverErrors({ operation, instance }, () =>
    core.devices.whileDetaching(device, async () => {
      if (core.inMemory) return takeOut(core, device, options);
      try {
        await finishDetach(core, device);
      } catch (error) {
        await configureAgain(core, device).catch(() => undefined);
        throw error;
      }
      return "detached";
    }),
  );
}

/** What libvirt has said to the request. */
interface Answer {
  readonly alias: string | undefined;
  /** Whether the request has left. */
  readonly sent: boolean;
  /** Absent: the guest was asked, or has let go already. */
  readonly error?: Error;
}

async function takeOut(core: GuestCore, device: DeviceRef, options: DetachOptions): Promise<DetachOutcome> {
  const phase = phaseOf(core.state, device);
  const asked = phase === "detaching";
  // What was being attached is taken out whatever becomes of this call.
  if (phase !== "attaching") await core.update((state) => withPhase(state, device, "detaching"));
  const listener = core.listen();
  let answer: Answer | undefined;
  let [asking, looked] = [asked, false];
  try {
    if (!asked) await takeFromConfiguration(core, device);
    asking = true;
    void core.devices
      .request(device, () => ask(core, device))
      .then((given) => {
        answer = given;
        core.notify({ type: "view" });
      });
    // One look that fails says nothing; who is gone makes no other sign.
    const isGone = (): Promise<boolean> => finishIfGone(core, device).catch(() => finishIfGone(core, device));
    const look = async (signal: GuestSignal | undefined): Promise<DetachOutcome | undefined> => {
      if (!hasDevice(core.definition, device)) return "detached";
      if (!core.inMemory) return finishDetach(core, device).then(() => "detached");
      if (answer?.error !== undefined && !answer.sent) throw answer.error;
      if (isAbout(signal, "deviceRemovalFailed", device, answer)) return "refused";
      const tells = signal?.type === "gap" || isAbout(signal, "deviceRemoved", device, answer);
      if ((tells || (answer !== undefined && !looked)) && (await isGone())) return "detached";
      if (answer === undefined || looked) return undefined;
      looked = true;
      // Who was cut off has asked perhaps: once the daemon is back there is a look at what has become of it.
      if (asked || !(answer.error instanceof LibvirtError)) return undefined;
      return refusalOf(core, device, answer.error);
    };
    const outcome = await listener.until(look, {
      operation: `waiting until the guest lets go of ${device.id}`,
      deadlineMs: options.timeoutMs,
      signal: options.signal,
    });
    if (outcome === "refused") await configureAgain(core, device);
    return outcome;
  } catch (error) {
    if (isHyperviseError(error, "DEADLINE_EXCEEDED") && options.signal?.aborted !== true) return "pending";
    // What can't be put back now is marked, for the next look at the guest.
    const mayLetGo = asked || (asking && answer?.sent !== false);
    if (!mayLetGo || error instanceof LibvirtError || error instanceof DeviceDetachError)
      await configureAgain(core, device).catch(() => undefined);
    throw error;
  } finally {
    listener.close();
  }
}

/** A refusal is told by an event, too, but may come before it. @throws DeviceDetachError when it was not the guest that refused */
function refusalOf({ instance }: GuestCore, { id }: DeviceRef, error: LibvirtError): DetachOutcome {
  const { libvirtCode, detail } = error;
  if (libvirtCode === ErrorNumber.operationFailed) return "refused";
  throw new DeviceDetachError("libvirt does not take the device out", {
    instance,
    device: id,
    cause: error,
    ...(detail === undefined ? {} : { detail }),
  });
}

/** Asks the guest. Nobody's signal cuts this off: the request can't be taken back, and libvirt waits some seconds for the guest. */
async function ask(core: GuestCore, device: DeviceRef): Promise<Answer> {
  const { domain, host } = core;
  const limits = { deadlineMs: host.timeouts.callMs };
  let found: FoundDevice | undefined;
  const answer = (error?: Error): Answer => ({
    alias: found?.alias,
    sent: found !== undefined,
    ...(error === undefined ? {} : { error }),
  });
  try {
    found = findDevice(core, await readDomainOf(core, "live", limits), device);
    if (found?.alias !== undefined) await domain.detachDeviceAlias(found.alias, { flags: ["live"], ...limits });
    else if (found !== undefined) await domain.detachDeviceFlags(found.xml, { flags: ["live"], ...limits });
    return answer();
  } catch (error) {
    // Without a domain there is nothing to let go of; who waits looks at it.
    return isLibvirtError(error, "domainNotFound") ? answer() : answer(asError(error));
  }
}

function isAbout(
  signal: GuestSignal | undefined,
  type: "deviceRemoved" | "deviceRemovalFailed",
  { kind, id }: DeviceRef,
  answer: Answer | undefined,
): boolean {
  if (signal?.type !== type) return false;
  return signal.alias === deviceAlias(kind, id) || signal.alias === answer?.alias;
}
