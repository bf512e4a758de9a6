/** What filters of bridges must know of a port. */
import { InvalidArgumentError } from "../../core/index.js";
import type { InstancePolicy } from "./port-policy.js";

/** @throws InvalidArgumentError when a port has no bridge, or `byAddress` groups but no addresses */
export function checkBridgedPorts(instance: InstancePolicy, byAddress: boolean): void {
  instance.ports.forEach((port, index) => {
    const field = `instance.ports[${index}]`;
    if (port.bridge === undefined)
      throw new InvalidArgumentError({
        field: `${field}.bridge`,
        value: undefined,
        expected: "the bridge that the interface is a port of",
      });
    if (port.groups !== undefined && !port.addressesKnown && byAddress)
      throw new InvalidArgumentError({
        field: `${field}.fixedIps`,
        value: undefined,
        expected: "the addresses of a port that has security groups",
      });
  });
}
