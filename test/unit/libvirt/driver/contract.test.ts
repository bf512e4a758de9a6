// The contract suite on a simulated daemon: the driver's own part of it, without libvirt or QEMU.
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, it } from "vitest";
import { FACET_NAMES, capabilitiesOf } from "../../../../src/driver/index.js";
import type { InstanceSpec } from "../../../../src/driver/index.js";
import { fakeVif } from "../../../../src/fake/index.js";
import { LIBVIRT_FEATURES } from "../../../../src/libvirt/driver/index.js";
import { defineContractSuite } from "../../../../src/testing/contract/index.js";
import type { ContractSubject } from "../../../../src/testing/contract/index.js";
import { LibvirtStage } from "./support/libvirt-stage.js";

const { facets } = capabilitiesOf(new Set(LIBVIRT_FEATURES.qemu));
const FACETS = FACET_NAMES.filter((name) => facets[name]);

async function openSimulated(): Promise<ContractSubject> {
  const stage = await LibvirtStage.open({}, { initHost: false });
  return {
    driver: stage.driver,
    otherImageId: "rescue",
    spec: (overrides: Partial<InstanceSpec> = {}) => {
      const uuid = randomUUID();
      const flavor = { vcpus: 1, memoryMiB: 512, rootGiB: 1 };
      return {
        uuid,
        name: `simulated-${uuid.slice(0, 8)}`,
        flavor,
        imageId: "cirros",
        vifs: [fakeVif()],
        ...overrides,
      };
    },
    volume: async () => stage.world.volumes.create({ sizeBytes: 64 * 1_048_576 }),
    growVolume: async ({ volumeId }, sizeBytes) => stage.world.volumes.extend(volumeId, sizeBytes),
    vif: () => fakeVif(),
    restart: () => stage.restart({ initHost: false }),
    crashGuest: async ({ uuid }) => stage.host.crashGuest(uuid),
    waitUntilBooted: async () => undefined,
    residue: async () => (await stage.ledger()).filter((line) => !/"kind":"(image|exportedFile)"/.test(line)),
    dispose: () => stage.close(),
  };
}

/** What only disks with contents, a guest with an operating system, or a second host can show, as all exports of files: the suite on a real libvirtd does. */
const BEYOND_SIMULATION = new Set([
  "goes over to another volume under a running guest",
  "goes over to files over a volume's, one over the other, and merges what is in them back",
  "leaves a running guest running",
  "moves a running instance, of which nothing is left on the source",
  "keeps the instance when the destination was prepared in vain; what is repeated succeeds",
  "shows the last of what the guest wrote, and keeps it when the guest is stopped",
  "sets a password, writes and reads files, and runs programs in a guest that is up",
]);

defineContractSuite(
  { name: "libvirt (simulated)", facets: FACETS, cheapGuests: true, open: openSimulated },
  {
    describe: (name, body) => {
      if (name !== "exports") describe(name, body);
    },
    it: (name, body) => {
      if (!BEYOND_SIMULATION.has(name)) it(name, body);
    },
    beforeAll,
    afterAll,
  },
);
