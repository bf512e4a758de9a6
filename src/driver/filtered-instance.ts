/** An instance in the firewall's terms. */
import type { FilteredInstance, FilteredPort } from "../firewall/index.js";
import type { InstanceRef } from "./instance-spec.js";
import type { PluggedVif } from "./instance-record.js";

/** Pure. Ports without an interface on the host are included; a firewall has nothing to do for them. */
export function filteredInstance(instance: InstanceRef, vifs: readonly PluggedVif[]): FilteredInstance {
  return { uuid: instance.uuid, name: instance.name, ports: vifs.map(filteredPort) };
}

function filteredPort({ vif, backend }: PluggedVif): FilteredPort {
  const { id, macAddress, fixedIps, allowedAddressPairs, securityGroups, portSecurityEnabled, network } = vif;
  return {
    id,
    macAddress,
    ...(backend.type === "tap" ? { deviceName: backend.deviceName } : {}),
    ...(backend.type === "tap" && backend.bridge !== undefined ? { bridge: backend.bridge } : {}),
    ...(fixedIps === undefined ? {} : { fixedIps }),
    ...(allowedAddressPairs === undefined ? {} : { allowedAddressPairs }),
    ...(network.subnets === undefined ? {} : { subnets: network.subnets }),
    ...(securityGroups === undefined ? {} : { securityGroups }),
    ...(portSecurityEnabled === undefined ? {} : { portSecurityEnabled }),
  };
}
