/** Instance specs, flavors and ports for tests, with ids that never repeat within a process. */
import type { Flavor, InstanceSpec } from "../driver/index.js";
import type { BridgeVif } from "../network/index.js";

/** Where the ids of specs come from; a world has one whose ids its seed determines. */
export interface IdSource {
  uuid(): string;
  mac(): string;
}

export const FAKE_FLAVOR: Flavor = Object.freeze({ name: "fake.small", vcpus: 1, memoryMiB: 512, rootGiB: 1 });

/** Counts. The number stands at both ends of a uuid, as names of TAPs are made from the beginning of a port's id. */
class Counter implements IdSource {
  #count = 0;

  uuid(): string {
    const digits = this.#next(8);
    return `${digits}-0000-4000-8000-0000${digits}`;
  }
  mac(): string {
    const digits = this.#next(6);
    return `52:54:00:${digits.slice(0, 2)}:${digits.slice(2, 4)}:${digits.slice(4)}`;
  }

  #next(length: number): string {
    return (++this.#count).toString(16).padStart(length, "0");
  }
}

const counter = new Counter();

/** A port on the bridge `br0`. */
export function fakeVif(overrides: Partial<Omit<BridgeVif, "type">> = {}, ids: IdSource = counter): BridgeVif {
  return {
    type: "bridge",
    id: ids.uuid(),
    macAddress: ids.mac(),
    bridge: "br0",
    network: { id: "fake-network", subnets: [{ cidr: "192.0.2.0/24" }] },
    ...overrides,
  };
}

/** A small instance with one disk and one port that any driver takes. */
export function fakeSpec(overrides: Partial<InstanceSpec> = {}, ids: IdSource = counter): InstanceSpec {
  const uuid = overrides.uuid ?? ids.uuid();
  return {
    uuid,
    name: `instance-${uuid.slice(-12)}`,
    flavor: FAKE_FLAVOR,
    imageId: "cirros",
    vifs: overrides.vifs ?? [fakeVif({}, ids)],
    ...overrides,
  };
}
