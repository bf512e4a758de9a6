/** Devices of the user and the host, checked before anything is touched. */
import { NotSupportedError } from "../../core/index.js";
import type { GuestDevice } from "../../driver/index.js";
import type { QemuCapabilities } from "../plan/capabilities.js";
import { guestDeviceDriver } from "../plan/guest-devices.js";

export { guestDeviceCheck } from "../../driver/index.js";

/** @throws NotSupportedError for a device that this QEMU is built without */
export function checkGuestDevice(device: GuestDevice, { devices }: Pick<QemuCapabilities, "devices">): void {
  const driver = guestDeviceDriver(device);
  if (devices.includes(driver)) return;
  throw new NotSupportedError({
    capability: `${device.type} devices`,
    message: `this QEMU is built without ${driver}`,
  });
}
