/** What network devices are called: as Nova and Neutron's agents have it, a prefix of three characters and 11 of an id, `vlan5`, `br5`. */
import { check, InvalidArgumentError } from "../core/index.js";

const checkVlan = check.integer({ min: 1, max: 4094 });
const checkId = check.uuid();

/** @param prefix three characters such as `tap`, `gw-`, `qvb`. @throws InvalidArgumentError */
export function deviceNameOf(prefix: string, id: string): string {
  if (!/^[a-z][a-z0-9-]{2}$/.test(prefix))
    throw new InvalidArgumentError({ field: "prefix", value: prefix, expected: "three characters such as tap or gw-" });
  return `${prefix}${checkId(id, "id").slice(0, 11)}`;
}

/** `vlan5`. @throws InvalidArgumentError unless 1 to 4094. */
export function vlanDeviceName(vlan: number): string {
  return `vlan${checkVlan(vlan, "vlan")}`;
}

/** `br5`. @throws InvalidArgumentError unless 1 to 4094. */
export function vlanBridgeName(vlan: number): string {
  return `br${checkVlan(vlan, "vlan")}`;
}

/** The name of a port's TAP: `tap` and the first 11 characters of the port's uuid. @throws InvalidArgumentError when the id is not a uuid. */
export function tapNameOf(portId: string): string {
  return `tap${check.uuid()(portId, "portId").slice(0, 11)}`;
}
