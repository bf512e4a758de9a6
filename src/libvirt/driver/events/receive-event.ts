/** What one event of libvirt's is to a guest. */
import { readDeviceAlias } from "../plan/index.js";
import type { GuestCore } from "../guest-core.js";
import { interpretLifecycle } from "../power.js";
import type { FollowedEvent } from "./followed-events.js";

/** `virConnectDomainEventAgentLifecycleState`: the agent has its channel open. */
const AGENT_CONNECTED = 1;

export function receiveEvent(core: GuestCore, { name, data }: FollowedEvent): void {
  switch (name) {
    case "lifecycle":
      return core.step(interpretLifecycle(core.view, data));
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
    case "deviceRemovalFailed":
      return core.notify({ type: name, alias: data.devAlias });
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
