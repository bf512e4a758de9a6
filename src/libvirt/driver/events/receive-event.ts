/** What one event of libvirt's is to a guest. */
import { readDeviceAlias } from "../plan/index.js";
import type { GuestCore } from "../guest-core.js";
import { onDeviceRemoved, onGuestEnded, onRemovalFailed } from "../hotplug/device-events.js";
import { interpretLifecycle } from "../power.js";
import type { FollowedEvent } from "./followed-events.js";

/** `virConnectDomainEventAgentLifecycleState`: the agent has its channel open. */
const AGENT_CONNECTED = 1;

export function receiveEvent(core: GuestCore, { name, data }: FollowedEvent): void {
  switch (name) {
    case "lifecycle":
      core.step(interpretLifecycle(core.view, data));
      return core.inMemory ? undefined : onGuestEnded(core);
    case "reboot":
      return core.step({ view: core.view, report: { transition: "rebooted", cause: "guest" } });
    case "agentLifecycle":
      return core.noteAgent(data.state === AGENT_CONNECTED);
    case "ioErrorReason":
      return core.emit({
        type: "ioError",
        device: diskOf(core, data.devAlias),
        ...(data.reason === "" ? {} : { reason: data.reason }),
      });
    case "deviceRemoved":
      onDeviceRemoved(core, data.devAlias);
      return core.notify({ type: name, alias: data.devAlias });
    case "deviceRemovalFailed":
      onRemovalFailed(core, data.devAlias);
      return core.notify({ type: name, alias: data.devAlias });
    case "memoryDeviceSizeChange":
      return core.notify({ type: "memorySize", alias: data.alias });
    case "blockJob2":
      return core.notify({ type: "blockJob", target: data.dst, job: data.type, status: data.status });
    case "jobCompleted":
      return core.notify({ type: "jobCompleted", parameters: data.params });
    case "migrationIteration":
      return core.notify({ type: "migrationIteration", iteration: data.iteration });
    case "trayChange":
      return core.notify({ type: "trayChange", alias: data.devAlias, reason: data.reason });
  }
}

/** Our id of the disk with an alias; libvirt's name where it is none of ours. */
function diskOf(core: GuestCore, alias: string): string {
  const ours = readDeviceAlias(alias);
  return ours?.kind === "disk" && core.definition.disks.some(({ id }) => id === ours.id) ? ours.id : alias;
}
