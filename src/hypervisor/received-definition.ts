/** What a guest is on the host that it comes to. Pure. */
import { MigrationPreCheckError } from "../driver/index.js";
import type { GuestDefinition, GuestDisk, GuestNic } from "../driver/index.js";

/**
 * The definition under which a guest is received: its hardware as on the source, what the host gives it as on the destination.
 * @throws MigrationPreCheckError when the two don't describe one guest
 */
export function receivedDefinition(here: GuestDefinition, there: GuestDefinition): GuestDefinition {
  if (there.uuid !== here.uuid || there.name !== here.name) throw unlike(here, "its name");
  if (here.disks.length !== there.disks.length) throw unlike(here, "the number of its disks");
  if (here.nics.length !== there.nics.length) throw unlike(here, "the number of its NICs");
  const disks = there.disks.map((disk): GuestDisk => {
    const own = here.disks.find(({ id }) => id === disk.id);
    if (own === undefined) throw unlike(here, `disk ${disk.id}`);
    const { source: _, ...rest } = disk;
    return own.source === undefined ? rest : { ...rest, source: own.source };
  });
  const nics = there.nics.map((nic): GuestNic => {
    const own = here.nics.find(({ id }) => id === nic.id);
    if (own === undefined) throw unlike(here, `NIC ${nic.id}`);
    return { ...nic, backend: own.backend };
  });
  const { kernel: _, ...rest } = there;
  return { ...rest, ...(here.kernel === undefined ? {} : { kernel: here.kernel }), disks, nics };
}

function unlike({ uuid, name }: GuestDefinition, what: string): MigrationPreCheckError {
  return new MigrationPreCheckError(`the destination knows the guest otherwise than the source: ${what} differs`, {
    instance: { uuid, name },
  });
}
