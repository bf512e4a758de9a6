// A daemon learns of the death of a guest's process a moment after it.
import { DomainState } from "../../../src/libvirt/index.js";
import type { LibvirtClient } from "../../../src/libvirt/index.js";
import { waitFor } from "../../lab/index.js";

/** Resolves when libvirt counts the guest as gone. */
export async function untilNoticed(client: LibvirtClient, uuid: string): Promise<void> {
  const domain = await client.lookupDomainByUuid(uuid);
  const gone = async (): Promise<boolean> => (await domain.getState()).state === DomainState.shutoff;
  await waitFor(gone, { timeoutMs: 30_000, what: "libvirt's notice of a dead guest" });
}
