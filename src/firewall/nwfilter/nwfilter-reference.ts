/** How a domain's interface comes to its filter. Pure. */
import type { InterfaceFilter } from "../../libvirt/xml/index.js";
import type { FilteredInstance, FilteredPort } from "../firewall-driver.js";
import { checkPrefix, DEFAULT_PREFIX, portName } from "./names.js";

/**
 * What `<filterref>` of a port's `<interface>` refers to: the option `filter` of `interfaceXml`. `undefined` for a port that is not filtered. It has no parameters: addresses stand in the
 * filter itself, where they can change while the domain runs. The filter is there from `setupBasicFiltering` on, before which a domain that refers to it does not start.
 */
export function nwfilterReference(
  instance: Pick<FilteredInstance, "name">,
  port: FilteredPort,
  prefix: string = DEFAULT_PREFIX,
): InterfaceFilter | undefined {
  if (port.deviceName === undefined || port.portSecurityEnabled === false) return undefined;
  return { name: portName(checkPrefix(prefix, "prefix"), instance.name, port.macAddress) };
}
