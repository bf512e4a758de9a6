import assert from "node:assert/strict";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

export const volumesContract: ContractPart = (context, it) => {
  if (!context.has("volumes")) return;

  it("attaches a volume to a running guest and takes it out again; second calls succeed", async () => {
    const volume = await context.subject.volume();
    await context.withInstance(
      async (instance) => {
        const attached = await context.driver.attachVolume(instance, volume);
        assert.deepEqual(await context.driver.attachVolume(instance, volume), attached);
        const listed = (await context.driver.listDisks(instance)).filter(
          ({ volumeId }) => volumeId === volume.volumeId,
        );
        assert.deepEqual(listed, [attached]);
        for (const _again of [1, 2]) await context.driver.detachVolume(instance, volume);
        assert.equal(
          (await context.driver.listDisks(instance)).some(({ volumeId }) => volumeId === volume.volumeId),
          false,
        );
      },
      { booted: true },
    );
  });

  it("attaches to a stopped guest, which then starts with the volume", async () => {
    const volume = await context.subject.volume();
    await context.withInstance(
      async (instance) => {
        const { id } = await context.driver.attachVolume(instance, volume);
        await context.driver.powerOn(instance);
        assert((await context.driver.listDisks(instance)).some((disk) => disk.id === id));
        await context.driver.powerOff(instance, { graceMs: 0 });
        await context.driver.detachVolume(instance, volume);
      },
      { powerOn: false },
    );
  });

  it("spawns with volumes, which destroy lets go of", async () => {
    const volume = await context.subject.volume();
    const spec = { blockDevices: [{ connection: volume }] };
    await context.withInstance(
      async (instance) => {
        assert((await context.driver.listDisks(instance)).some(({ volumeId }) => volumeId === volume.volumeId));
      },
      { spec },
    );
    await context.withInstance((instance) => context.driver.attachVolume(instance, volume).then(() => undefined), {
      powerOn: false,
    });
  });

  it("gives a volume to one instance at a time", async () => {
    const volume = await context.subject.volume();
    await context.withInstance(
      async (first) => {
        await context.driver.attachVolume(first, volume);
        await context.withInstance(
          (second) => rejectsWith("CONFLICT", context.driver.attachVolume(second, volume)).then(() => undefined),
          { powerOn: false },
        );
      },
      { powerOn: false },
    );
  });

  it("refuses a device name that is taken", async () => {
    const [one, two] = [await context.subject.volume(), await context.subject.volume()];
    await context.withInstance(
      async (instance) => {
        const { deviceName } = await context.driver.attachVolume(instance, one);
        await rejectsWith("CONFLICT", context.driver.attachVolume(instance, two, { deviceName }));
      },
      { powerOn: false },
    );
  });

  it("refuses a volume of a type that nobody serves", async () => {
    const volume = await context.subject.volume();
    await context.withInstance(
      (instance) =>
        rejectsWith("NOT_SUPPORTED", context.driver.attachVolume(instance, { ...volume, type: "carrier-pigeon" })).then(
          () => undefined,
        ),
      { powerOn: false },
    );
  });

  it("detaches what is not attached, from an instance that is not there", async () => {
    const volume = await context.subject.volume();
    await context.driver.detachVolume(NOBODY, volume);
    await context.withInstance((instance) => context.driver.detachVolume(instance, volume), { powerOn: false });
    await rejectsWith("INSTANCE_NOT_FOUND", context.driver.attachVolume(NOBODY, volume));
  });

  if (context.has("volumeSnapshots")) {
    it("goes over to files over a volume's, one over the other, and merges what is in them back", async () => {
      const { subject } = context;
      assert(subject.overlay !== undefined, "the facet volumeSnapshots needs overlay()");
      const volume = await (subject.fileVolume?.() ?? subject.volume());
      const first = await subject.overlay(volume);
      const second = await subject.overlay(first);
      const stranger = await subject.overlay(volume);
      await context.withInstance(async (instance) => {
        const { driver } = context;
        await rejectsWith("DISK_NOT_FOUND", driver.volumeSnapshotCreate(instance, first));
        const attached = await driver.attachVolume(instance, volume);
        const disksAre = async (): Promise<void> => {
          const listed = await driver.listDisks(instance);
          const found = listed.filter(({ volumeId }) => volumeId === volume.volumeId);
          assert.deepEqual(
            found.map(({ id, deviceName }) => [id, deviceName]),
            [[attached.id, attached.deviceName]],
          );
        };
        await driver.volumeSnapshotCreate(instance, first);
        await driver.volumeSnapshotCreate(instance, second);
        await rejectsWith(["DEVICE_ATTACH_FAILED", "CONFLICT"], driver.volumeSnapshotCreate(instance, stranger));
        await disksAre();
        await driver.powerOff(instance, { graceMs: 0 });
        await rejectsWith("INVALID_STATE", driver.volumeSnapshotDelete(instance, first));
        await driver.powerOn(instance);
        await rejectsWith("CONFLICT", driver.volumeSnapshotDelete(instance, stranger));
        await driver.volumeSnapshotDelete(instance, first);
        await disksAre();
        await driver.volumeSnapshotCreate(instance, second);
        await rejectsWith("CONFLICT", driver.volumeSnapshotDelete(instance, stranger, { merge: "up" }));
        await driver.volumeSnapshotDelete(instance, volume, { merge: "up" });
        await disksAre();
        // What was between is not below any more.
        await rejectsWith("CONFLICT", driver.volumeSnapshotDelete(instance, first));
        await driver.volumeSnapshotDelete(instance, volume);
        await disksAre();
        await driver.powerOff(instance, { graceMs: 0 });
        for (const _again of [1, 2]) await driver.detachVolume(instance, volume);
        await rejectsWith("DISK_NOT_FOUND", driver.volumeSnapshotDelete(instance, volume));
      });
    });
  }

  if (context.has("volumeExtend")) {
    it("tells a running guest that a volume has grown", async () => {
      const volume = await context.subject.volume();
      await context.withInstance(async (instance) => {
        await context.driver.attachVolume(instance, volume);
        await context.subject.growVolume?.(volume, 128 * 1_048_576);
        await context.driver.extendVolume(instance, volume, 128 * 1_048_576);
      });
      await context.withInstance(
        (instance) =>
          rejectsWith("DISK_NOT_FOUND", context.driver.extendVolume(instance, volume, 128 * 1_048_576)).then(
            () => undefined,
          ),
        {
          powerOn: false,
        },
      );
    });
  }

  if (context.has("volumeSwap")) {
    it("goes over to another volume under a running guest", async () => {
      const [old, fresh] = [await context.subject.volume(), await context.subject.volume()];
      await context.withInstance(async (instance) => {
        await context.driver.attachVolume(instance, old);
        const { volumeId } = await context.driver.swapVolume(instance, old, fresh);
        assert.equal(volumeId, fresh.volumeId);
        const volumes = (await context.driver.listDisks(instance)).flatMap((disk) => disk.volumeId ?? []);
        assert.deepEqual(volumes, [fresh.volumeId]);
      });
    });
  }
};
