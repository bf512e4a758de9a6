/** A guest that goes over by post-copy between two libvirtds while links break and driver processes die: it arrives wholly, or it is lost, and who asks is told. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { InstanceRef } from "../../../../src/driver/index.js";
import { requirePackages, waitFor } from "../../../lab/index.js";
import { diesOfPostcopyRecovery } from "../../../lab/libvirt-release.js";
import { MigrationHosts } from "./migration-hosts.js";

let hosts: MigrationHosts;
let instance: InstanceRef;

beforeAll(async () => {
  requirePackages("libvirtd", "qemu-system-x86_64", "qemu-img", "openssl");
  hosts = await MigrationHosts.open();
}, 180_000);
afterAll(() => hosts?.remove());

afterEach(async () => {
  for (const place of ["a", "b"] as const) await (await hosts.reopen(place)).destroy(instance);
  for (const place of ["a", "b"] as const) expect(await hosts.domains(place), place).toEqual([]);
});

describe("a guest that goes over by post-copy", () => {
  it("is lost when its source's driver process dies before the destination has heard of it", async () => {
    await hosts.openBoth();
    instance = await hosts.spawn({ imageId: "full" });
    const data = await hosts.prepare(instance);
    await hosts.crash(instance, data, { what: "Finish", when: "before", postcopy: true });
    const a = await hosts.reopen("a");
    expect(await a.getInfo(instance)).toMatchObject({ state: "crashed" });
    await hosts.takeBack(instance, data);
    expect(await hosts.domains("b")).toEqual([]);
    await a.powerOn(instance);
    await hosts.speaks("a", instance);
  }, 120_000);

  it.each(diesOfPostcopyRecovery() ? ["stands"] : ["stands", "has broken"])(
    "arrives when that process dies, and the link %s",
    async (link) => {
      await hosts.openBoth();
      instance = await hosts.spawn({ imageId: "full" });
      const data = await hosts.prepare(instance);
      await hosts.crash(instance, data, { what: "postcopy", when: "after", postcopy: true });
      if (link === "has broken") await hosts.breakLink();
      const a = await hosts.reopen("a");
      await hosts.reopen("b");
      expect(await a.getInfo(instance)).toMatchObject({ state: "shutdown", task: "migratingOut" });
      await expect(a.powerOn(instance)).rejects.toMatchObject({ code: "INVALID_STATE" });
      await expect(hosts.takeBack(instance, data)).rejects.toMatchObject({ code: "INVALID_STATE" });
      const said = await hosts.letters("a", instance);
      await hosts.finish(instance, data);
      await hosts.expectHere("b", instance, said);
    },
    120_000,
  );

  it("is lost when there is no other link, and runs nowhere then", async () => {
    await hosts.openBoth(true, { libvirtTimeouts: { recoveryMs: 2_000, arrivalMs: 5_000 } });
    instance = await hosts.spawn({ imageId: "full" });
    const data = await hosts.prepare(instance);
    await hosts.crash(instance, data, { what: "postcopy", when: "after", postcopy: true });
    // Who has the rest of its memory is gone.
    const [domain] = await hosts.clients.a.listAllDomains();
    await domain?.destroyFlags();
    const a = await hosts.reopen("a", { libvirtTimeouts: { recoveryMs: 2_000 } });
    expect(await a.getInfo(instance)).toMatchObject({ task: "migratingOut" });
    await expect(hosts.at("b").postLiveMigrationAtDestination(instance, data)).rejects.toMatchObject({
      code: "GUEST_CRASHED",
    });
    expect(await hosts.at("b").getInfo(instance)).toMatchObject({ state: "crashed" });
    await expect(a.powerOn(instance)).rejects.toMatchObject({ code: "INVALID_STATE" });
    await a.postLiveMigration(instance, data);
    await a.postLiveMigrationAtSource(instance, data);
    await waitFor(async () => (await hosts.domains("a")).length === 0, { timeoutMs: 60_000, what: "its departure" });
  }, 120_000);
});
