/** A defined guest on a fake hypervisor, for tests of the seam itself. */
import type { Guest, GuestDefinition, HypervisorEvent } from "../../../src/driver/index.js";
import { createFakeParts } from "../../../src/fake/index.js";
import type { FakeCapabilities, FakeDriverOptions, FakeParts } from "../../../src/fake/index.js";

export const UUID = "11111111-2222-4333-8444-555555555555";

export function definitionOf(overrides: Partial<GuestDefinition> = {}): GuestDefinition {
  const { uuid = UUID } = overrides;
  return {
    uuid,
    name: `guest-${uuid.slice(0, 4)}`,
    vcpus: 2,
    memoryMiB: 1024,
    firmware: "bios",
    disks: [],
    nics: [],
    guestAgent: true,
    ...overrides,
  };
}

export interface Bench extends FakeParts {
  readonly events: HypervisorEvent[];
  readonly guest: Guest;
}

/** An open hypervisor with one guest that has a root disk and a NIC, not started. */
export async function bench(
  options: FakeDriverOptions & { readonly definition?: Partial<GuestDefinition> } = {},
  capabilities: FakeCapabilities = "full",
): Promise<Bench> {
  const { definition, ...rest } = options;
  const parts = createFakeParts(rest, capabilities);
  const events: HypervisorEvent[] = [];
  await parts.hypervisor.open({ clock: parts.world.clock, onEvent: (event) => events.push(event) });
  const { disks, vifs, images } = parts.collaborators;
  const image = await images.fetch("cirros");
  const source = await disks.create({ instanceUuid: UUID, name: "root", sizeBytes: 1024 ** 3, image });
  const vif = {
    type: "bridge",
    id: "port-1",
    macAddress: "52:54:00:00:00:01",
    bridge: "br0",
    network: { id: "net" },
  } as const;
  const backend = await vifs.plug(vif, UUID);
  const guest = await parts.hypervisor.define(
    definitionOf({
      disks: [
        { id: "root", source, bus: "virtio", deviceType: "disk", deviceName: "vda", readOnly: false, shareable: false },
      ],
      nics: [{ id: "port-1", macAddress: vif.macAddress, model: "virtio", backend, queues: 1 }],
      ...definition,
    }),
  );
  return { ...parts, events, guest };
}

/** The transitions of a list of events, in order. */
export function transitions(events: readonly HypervisorEvent[]): readonly string[] {
  return events.flatMap((event) => (event.type === "lifecycle" ? [event.transition] : []));
}
