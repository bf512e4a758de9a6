/** What libvirt's domain of a guest says of its instance, while the guest stays as it is. */
import type { GuestDefinition } from "../../driver/index.js";
import { DomainMetadataType } from "../rpc/index.js";
import { formatXmlElement } from "../xml/index.js";
import type { GuestCore } from "./guest-core.js";
import { METADATA_NAMESPACE, METADATA_PREFIX, metadataElement, metadataOf } from "./plan/index.js";

/** Writes the metadata that a definition has into the domain, in memory and in its configuration. `virDomainSetMetadata`. @throws LibvirtError */
export async function writeMetadata({ domain, host, inMemory }: GuestCore, definition: GuestDefinition): Promise<void> {
  await domain.setMetadata(DomainMetadataType.element, {
    metadata: formatXmlElement(metadataElement(metadataOf(definition), { prefixed: false })),
    key: METADATA_PREFIX,
    uri: METADATA_NAMESPACE,
    flags: inMemory ? ["config", "live"] : ["config"],
    deadlineMs: host.timeouts.callMs,
  });
}
