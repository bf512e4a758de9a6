/** Gives a guest that is not in memory the definition that a record describes. */
import type { Guest } from "./guest.js";
import { guestDefinitionOf } from "./guest-definition-of.js";
import type { InstanceRecord } from "./instance-record.js";
import type { Operation } from "./operation.js";

/** A failing operation gives it back the one that it had. */
export async function redefineGuest(operation: Operation, guest: Guest, record: InstanceRecord): Promise<Guest> {
  const { host, signal } = operation;
  const definition = guestDefinitionOf(record);
  host.hypervisor.check(definition);
  const previous = await guest.definition();
  return operation.effect("definition", { uuid: guest.uuid, previous }, () =>
    host.hypervisor.redefine(definition, { signal }),
  );
}
