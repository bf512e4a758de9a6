/** Opens macvtap devices, which are files of their own, not of /dev/net/tun. */
import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { TapError } from "./errors.js";
import { checkLinkName } from "./link-name.js";

/**
 * The descriptor of a macvtap device of this process's network namespace, in a list as TAPs have it. It has virtio-net headers.
 * @throws InvalidArgumentError for a name that is none; TapError when it is not there or not to be opened
 */
export function openMacvtap(name: string): readonly number[] {
  checkLinkName(name);
  try {
    const index = readFileSync(`/sys/class/net/${name}/ifindex`, "latin1").trim();
    const fd = openSync(`/dev/tap${index}`, constants.O_RDWR | constants.O_NONBLOCK);
    try {
      // The device of a namespace that has gone may have left its number to another.
      if (readFileSync(`/sys/class/net/${name}/ifindex`, "latin1").trim() === index) return [fd];
    } catch {
      // It is gone by now.
    }
    closeSync(fd);
    throw Object.assign(new Error("the device has changed"), { code: "ENODEV" });
  } catch (error) {
    throw new TapError({ operation: "opening the macvtap device of a NIC", tap: name, cause: error });
  }
}
