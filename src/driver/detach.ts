/** Taking a device out of a guest. */
import { DeviceDetachError } from "./errors.js";
import type { GuestDevice } from "./guest-hardware.js";
import { NotSupportedError } from "../core/index.js";
import type { DetachOptions, DetachOutcome, Guest } from "./guest.js";
import type { GuestDisk, GuestNic } from "./guest-definition.js";
import type { Operation } from "./operation.js";
import { requireState } from "./guest-actions.js";

/** Asks the guest to let go of a disk and waits until it has. When the operation fails before its point of no return, the guest gets it back. @throws DeviceDetachError */
export function takeDisk(operation: Operation, guest: Guest, disk: GuestDisk): Promise<void> {
  const { uuid } = guest;
  return operation.effect("guestDiskDetach", { uuid, disk }, () =>
    letGo(operation, guest, disk.id, (options) => guest.detachDisk(disk.id, options)),
  );
}

/** As `takeDisk`, for a NIC. */
export function takeNic(operation: Operation, guest: Guest, nic: GuestNic): Promise<void> {
  const { uuid } = guest;
  return operation.effect("guestNicDetach", { uuid, nic }, () =>
    letGo(operation, guest, nic.id, (options) => guest.detachNic(nic.id, options)),
  );
}

/** As `takeDisk`, for another device. */
export function takeDevice(operation: Operation, guest: Guest, device: GuestDevice): Promise<void> {
  const { uuid } = guest;
  return operation.effect("guestDeviceDetach", { uuid, device }, () =>
    letGo(operation, guest, device.id, async (options) => {
      if (guest.detachDevice === undefined) throw new NotSupportedError({ capability: "devices" });
      return guest.detachDevice(device.id, options);
    }),
  );
}

async function letGo(
  { host, instance, kind, signal }: Operation,
  guest: Guest,
  device: string,
  ask: (options: DetachOptions) => Promise<DetachOutcome>,
): Promise<void> {
  await requireState(guest, kind, ["running", "paused", "shutdown", "crashed"], signal);
  const { detachMs } = host.timeouts;
  const outcome = await ask({ timeoutMs: detachMs, signal });
  if (outcome === "detached" || outcome === "absent") return;
  const why =
    outcome === "refused"
      ? "the guest refuses to let go of it"
      : `the guest has not let go of it within ${detachMs} ms`;
  throw new DeviceDetachError(`${device} is still attached: ${why}`, {
    instance,
    device,
    remedy: "See in the guest what uses the device, and call again.",
  });
}
