/** Taking a device out of a guest: out of what it starts with first, then out of the guest, when that lets go of it. */
import { isHyperviseError, throwIfAborted } from "../../../core/index.js";
import { DeviceDetachError } from "../../../driver/index.js";
import type { DetachOptions, DetachOutcome } from "../../../driver/index.js";
import { ErrorNumber, LibvirtError } from "../../rpc/index.js";
import { asDriverErrors } from "../errors.js";
import type { GuestSignal } from "../events/guest-signal.js";
import type { GuestCore } from "../guest-core.js";
import { deviceAlias } from "../plan/index.js";
import { hasDevice, phaseOf, withPhase } from "./alter-definition.js";
import type { DeviceKind, DeviceRef } from "./alter-definition.js";
import { keepAsking } from "./ask-guest.js";
import type { Answer } from "./ask-guest.js";
import { finishDetach, finishIfGone, takeFromConfiguration } from "./let-go.js";
import type { GuestState } from "../state/guest-state.js";
import { requireNotSaved } from "./require-state.js";
import { configureAgain } from "./restore-configuration.js";

/** The seam's names of the operations. */
const OPERATIONS: { readonly [K in DeviceKind]: string } = {
  disk: "detachDisk",
  nic: "detachNic",
  device: "detachDevice",
};

/**
 * Takes a device out of a guest and of its definition, in memory or not. A guest that does not answer is asked again; called again while it has not let go, it goes on waiting.
 * `virDomainDetachDeviceAlias`.
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

async function takeOut(core: GuestCore, device: DeviceRef, options: DetachOptions): Promise<DetachOutcome> {
  const phase = phaseOf(core.state, device);
  const asked = phase === "detaching";
  // What was being attached is taken out whatever becomes of this call.
  // A former call that was given up may just have come to its end.
  const mark = (state: GuestState): GuestState =>
    hasDevice(state.definition, device) ? withPhase(state, device, "detaching") : state;
  if (phase !== "attaching") await core.update(mark);
  const listener = core.listen();
  let answer: Answer | undefined;
  let [asking, looked, repeated] = [asked, false, false];
  let stopAsking: (() => void) | undefined;
  try {
    if (!asked) await takeFromConfiguration(core, device);
    asking = true;
    stopAsking = keepAsking(core, device, (given, again) => {
      answer = { ...given, alias: given.alias ?? answer?.alias, sent: given.sent || answer?.sent === true };
      repeated ||= again;
      // What was not answered to a repeated request is for the next one to find out.
      looked = again && given.error !== undefined && !(given.error instanceof LibvirtError);
      core.notify({ type: "view" });
    });
    // One look that fails says nothing; who is gone makes no other sign.
    const isGone = (): Promise<boolean> => finishIfGone(core, device).catch(() => finishIfGone(core, device));
    const look = async (signal: GuestSignal | undefined): Promise<DetachOutcome | undefined> => {
      if (!hasDevice(core.definition, device)) return "detached";
      if (!core.inMemory) return finishDetach(core, device).then(() => "detached");
      if (answer?.error !== undefined && !answer.sent && !repeated) throw answer.error;
      if (isAbout(signal, "deviceRemovalFailed", device, answer)) return "refused";
      const tells = signal?.type === "gap" || isAbout(signal, "deviceRemoved", device, answer);
      if ((tells || (answer !== undefined && !looked)) && (await isGone())) return "detached";
      if (answer === undefined || looked) return undefined;
      looked = true;
      // Who was cut off has asked perhaps: once the daemon is back there is a look at what has become of it.
      if (asked || repeated || !(answer.error instanceof LibvirtError)) return undefined;
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
    const mayLetGo = asked || repeated || (asking && answer?.sent !== false);
    if (!mayLetGo || error instanceof LibvirtError || error instanceof DeviceDetachError)
      await configureAgain(core, device).catch(() => undefined);
    throw error;
  } finally {
    stopAsking?.();
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

function isAbout(
  signal: GuestSignal | undefined,
  type: "deviceRemoved" | "deviceRemovalFailed",
  { kind, id }: DeviceRef,
  answer: Answer | undefined,
): boolean {
  if (signal?.type !== type) return false;
  return signal.alias === deviceAlias(kind, id) || signal.alias === answer?.alias;
}
