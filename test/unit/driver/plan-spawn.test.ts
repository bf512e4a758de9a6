import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkDeviceName, deviceNameAt, DISK_BUSES } from "../../../src/driver/index.js";
import type { BlockDevice } from "../../../src/driver/index.js";
import { guestDefinitionOf } from "../../../src/driver/guest-definition-of.js";
import { plannedDefinition, planSpawn } from "../../../src/driver/plan-spawn.js";
import { storedSpec, validateInstanceSpec } from "../../../src/driver/validate-instance-spec.js";
import { blockDevice, fullSpec, smallSpec } from "./support/specs.js";

const devices = fc
  .uniqueArray(
    fc.record({
      id: fc.nat(99),
      bus: fc.option(fc.constantFrom(...DISK_BUSES), { nil: undefined }),
      named: fc.boolean(),
    }),
    {
      selector: ({ id }) => id,
      maxLength: 30,
    },
  )
  .map((list) =>
    list.map(({ id, bus, named }, i): BlockDevice => {
      const late = deviceNameAt(bus ?? "virtio", 26 * 26 + (i % 26));
      return {
        ...blockDevice(`v${id}`),
        ...(bus === undefined ? {} : { bus }),
        ...(named ? { deviceName: late } : {}),
      };
    }),
  );

describe("planSpawn", () => {
  it("gives every disk an id and a name of its own, on its bus", () => {
    fc.assert(
      fc.property(devices, fc.boolean(), (blockDevices, withImage) => {
        const names = new Set(blockDevices.flatMap(({ deviceName }) => deviceName ?? []));
        fc.pre(names.size === blockDevices.filter(({ deviceName }) => deviceName !== undefined).length);
        const { imageId, ...bare } = fullSpec({ blockDevices });
        const { disks } = plannedDefinition(planSpawn(withImage ? { ...bare, imageId: imageId ?? "" } : bare));
        expect(new Set(disks.map(({ id }) => id)).size).toBe(disks.length);
        expect(new Set(disks.map(({ deviceName }) => deviceName)).size).toBe(disks.length);
        for (const { bus, deviceName } of disks) {
          expect(checkDeviceName(deviceName, bus, "deviceName")).toBe(deviceName);
        }
        for (const { deviceName } of blockDevices) {
          if (deviceName !== undefined) expect(disks.map((disk) => disk.deviceName)).toContain(deviceName);
        }
      }),
    );
  });

  it("is the same for the same spec", () => {
    expect(planSpawn(fullSpec())).toEqual(planSpawn(fullSpec()));
  });

  it("stands in no way of the definition that comes of it", () => {
    const spec = storedSpec(validateInstanceSpec(fullSpec()));
    const plan = planSpawn(spec);
    const source = { type: "file", path: "/x", format: "raw" } as const;
    const definition = guestDefinitionOf({
      uuid: spec.uuid,
      name: spec.name,
      spec,
      disks: plan.disks.map(({ imageId: _imageId, ...disk }) => ({ ...disk, source })),
      volumes: plan.volumes.map((volume) => ({ ...volume, source })),
      vifs: plan.vifs.map((vif) => ({ vif, backend: { type: "user" } })),
    });
    const planned = plannedDefinition(plan);
    expect(definition.disks.map((disk) => ({ ...disk, source: undefined }))).toEqual(
      planned.disks.map((disk) => ({ ...disk, source: undefined })),
    );
    expect(definition.nics.map((nic) => ({ ...nic, backend: undefined }))).toEqual(
      planned.nics.map((nic) => ({ ...nic, backend: undefined })),
    );
  });

  it("marks what may not be written, and what may be shared", () => {
    const blockDevices = [
      { connection: { ...blockDevice("ro").connection, readOnly: true } },
      { connection: { ...blockDevice("shared").connection, multiattach: true } },
      { ...blockDevice("cd"), deviceType: "cdrom" as const, bus: "sata" as const },
    ];
    const { disks } = plannedDefinition(planSpawn(smallSpec({ blockDevices })));
    expect(disks.map(({ id, readOnly, shareable }) => [id, readOnly, shareable])).toEqual([
      ["root", false, false],
      ["volume-ro", true, false],
      ["volume-shared", false, true],
      ["drive-sda", true, false],
    ]);
  });

  it("gives the guest serial numbers that fit", () => {
    const { disks } = plannedDefinition(
      planSpawn(smallSpec({ blockDevices: [blockDevice("0123456789abcdef0123456789")] })),
    );
    expect(disks[1]?.serial).toBe("0123456789abcdef0123");
  });
});
