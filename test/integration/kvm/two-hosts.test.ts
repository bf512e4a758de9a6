import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import type { InstanceRef } from "../../../src/driver/index.js";
import { DirectoryImageStore } from "../../../src/storage/index.js";
import { requirePackages, temporaryDirectory } from "../../lab/index.js";
import { isAlphabet, writeFullGuest } from "./busy-guest.js";
import { Cable, finish, prepare } from "./cabled-hosts.js";

beforeAll(() => requirePackages("qemu-system-x86_64", "qemu-img", "ip"));

describe("two hosts with a network between them", () => {
  it("give each other a guest, and keep it when the network goes", async () => {
    await using shared = await temporaryDirectory("hvh-");
    const images = new DirectoryImageStore({ directory: shared.file("images") });
    await images.import({ id: "full", format: "raw", path: await writeFullGuest(shared.file("full.img")) });
    await using cable = await Cable.lay();
    await cable.begin(shared);
    const [one, other] = cable.hosts;
    const instance: InstanceRef = { uuid: randomUUID(), name: "traveller" };
    const flavor = { vcpus: 1, memoryMiB: 32, rootGiB: 1 };
    await one.call("spawn", { ...instance, flavor, imageId: "full", vifs: [], guestAgent: false });
    await one.speaks(instance);

    // There by IPv4, back by IPv6.
    let said = "";
    const places = [one, other, one];
    for (const [index, from] of places.slice(0, 2).entries()) {
      const to = places[index + 1]!;
      const data = await prepare(from, to, instance);
      await from.call("liveMigration", instance, data);
      said += await from.letters(instance);
      await finish(from, to, instance, data);
      await to.speaks(instance);
    }

    // Without a network the guest stays, and can be used as if nothing had been.
    {
      const data = await prepare(one, other, instance);
      await cable.pull();
      const leaving = one.call("liveMigration", instance, data, { bandwidthMiBps: 1 });
      leaving.catch(() => undefined);
      await one.event(({ transition }) => transition === "migrationStarted");
      await one.call("liveMigrationAbort", instance).catch(() => undefined);
      await expect(leaving).rejects.toMatchObject({
        code: expect.stringMatching(/ABORTED|MIGRATION_FAILED/) as string,
      });
      await other.call("rollbackLiveMigrationAtDestination", instance, data);
      await one.call("rollbackLiveMigrationAtSource", instance, data);
      await cable.plug();
      expect(await other.pid(instance)).toBeUndefined();
      await one.speaks(instance);
    }

    said += await one.letters(instance);
    expect(isAlphabet(said), said).toBe(true);
    await one.call("destroy", instance);
  });
});
