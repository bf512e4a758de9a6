/** What a port's TAP is called. */
import { check } from "../core/index.js";

/**
 * The name of a port's TAP: `tap` and the first 11 characters of the port's uuid, as Nova and Neutron's agents have it.
 * @throws InvalidArgumentError when the id is not a uuid.
 */
export function tapNameOf(portId: string): string {
  return `tap${check.uuid()(portId, "portId").slice(0, 11)}`;
}
