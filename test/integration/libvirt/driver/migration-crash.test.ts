/** A source's driver process that is killed in the middle of a live migration between two libvirtds, at each of its steps: one guest is left, and one only. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { InstanceRef, LiveMigrateData } from "../../../../src/driver/index.js";
import { requirePackages } from "../../../lab/index.js";
import { isAlphabet } from "../../kvm/busy-guest.js";
import type { DyingPoint } from "./migrating-child.js";
import { MigrationHosts } from "./migration-hosts.js";
import type { Place } from "./migration-hosts.js";

let hosts: MigrationHosts;
beforeAll(async () => {
  requirePackages("libvirtd", "qemu-system-x86_64");
  hosts = await MigrationHosts.open();
}, 180_000);
afterAll(() => hosts?.remove());

/** What an embedder does that finds a migration half-done: where the instance is, it goes on. Says where that is, and what it had said before. */
async function settle(
  instance: InstanceRef,
  data: LiveMigrateData,
): Promise<{ readonly place: Place; readonly said: string }> {
  const { state, task } = await hosts.at("a").getInfo(instance);
  const said = await hosts.letters("a", instance);
  if (task === "migratingOut") {
    expect(state).toBe("shutdown");
    await expect(hosts.at("a").powerOn(instance)).rejects.toMatchObject({ code: "INVALID_STATE" });
    await hosts.finish(instance, data);
    return { place: "b", said };
  }
  expect({ state, task }).toEqual({ state: "running", task: "none" });
  await hosts.takeBack(instance, data);
  return { place: "a", said: "" };
}

describe("an instance whose source's driver process dies", () => {
  const points: readonly (DyingPoint & { readonly places: readonly Place[] })[] = [
    { what: "Begin", when: "after", places: ["a"] },
    { what: "Prepare", when: "after", places: ["a"] },
    { what: "Perform", when: "after", places: ["a"] },
    { what: "memory", when: "after", places: ["a"] },
    { what: "Finish", when: "before", places: ["a"] },
    // A daemon may see the connection's end before it has begun with what came over it.
    { what: "Finish", when: "after", places: ["a", "b"] },
    { what: "Confirm", when: "before", places: ["b"] },
    { what: "Confirm", when: "after", places: ["b"] },
    { what: "gone", when: "after", places: ["b"] },
  ];
  it.each(points)(
    "$when $what of its migration is on one host, and on one only",
    { timeout: 240_000 },
    async ({ places, ...point }) => {
      await hosts.openBoth();
      const instance = await hosts.spawn();
      try {
        const data = await hosts.prepare(instance);
        await hosts.crash(instance, data, point);
        // The destination's may die, too.
        await hosts.reopen("b");
        await hosts.reopen("a");
        const { place, said } = await settle(instance, data);
        expect(places).toContain(place);
        const other = place === "a" ? "b" : "a";
        expect(await hosts.at(place).getInfo(instance)).toMatchObject({ state: "running", task: "none" });
        await hosts.speaks(place, instance);
        const all = said + (await hosts.letters(place, instance));
        expect(isAlphabet(all), all).toBe(true);
        expect(await hosts.domains(other)).not.toContain(instance.name);
        await expect(hosts.at(other).getInfo(instance)).rejects.toMatchObject({ code: "INSTANCE_NOT_FOUND" });
      } finally {
        for (const each of ["a", "b"] as const) await (await hosts.reopen(each)).destroy(instance);
      }
      for (const each of ["a", "b"] as const) expect(await hosts.domains(each), each).not.toContain(instance.name);
    },
  );
});
