/** Asking a guest to let go of a device. */
import { asError } from "../../../core/index.js";
import type { TimerHandle } from "../../../core/index.js";
import { isLibvirtError } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import type { DeviceRef } from "./alter-definition.js";
import { findDevice, readDomainOf } from "./find-device.js";
import type { FoundDevice } from "./find-device.js";

/** What libvirt has said to a request. */
export interface Answer {
  readonly alias: string | undefined;
  /** Whether the request has left. */
  readonly sent: boolean;
  /** Absent: the guest was asked, or has let go already. */
  readonly error?: Error;
}

/**
 * Asks, and again every `detachResendMs`: a guest whose operating system was not up yet has not heard it, and hears nothing of it later.
 * @param heard called with each answer; `again`: not the first
 * @returns ends the asking; what has left can't be taken back
 */
export function keepAsking(
  core: GuestCore,
  device: DeviceRef,
  heard: (answer: Answer, again: boolean) => void,
): () => void {
  const { clock, timeouts } = core.host;
  let timer: TimerHandle | undefined;
  let over = false;
  const send = (again: boolean): void => {
    void core.devices
      .request(device, () => ask(core, device))
      .then((answer) => {
        if (over) return;
        timer = clock.setTimeout(() => send(true), timeouts.detachResendMs);
        heard(answer, again);
      });
  };
  send(false);
  return () => {
    over = true;
    timer?.cancel();
  };
}

/** Nobody's signal cuts this off: libvirt waits some seconds for the guest. `virDomainDetachDeviceAlias`. */
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
