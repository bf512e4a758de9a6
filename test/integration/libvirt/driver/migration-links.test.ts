/** The ways by which guests get from one libvirtd to another: by IPv6, encrypted, through a tunnel, and by post-copy over a link that breaks. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { liveMigrate } from "../../../../src/driver/index.js";
import type { InstanceRef } from "../../../../src/driver/index.js";
import type { LibvirtMigrationOptions } from "../../../../src/libvirt/driver/index.js";
import type { LibvirtHost } from "../../../../src/libvirt/driver/host.js";
import { compareCpu } from "../../../../src/libvirt/driver/migration/compare-cpu.js";
import { readDomain } from "../../../../src/libvirt/driver/plan/index.js";
import { parseDomainXml } from "../../../../src/libvirt/index.js";
import { requirePackages } from "../../../lab/index.js";
import { diesOfPostcopyRecovery } from "../../../lab/libvirt-release.js";
import { MigrationHosts } from "./migration-hosts.js";
import type { Place } from "./migration-hosts.js";

let hosts: MigrationHosts;
let instance: InstanceRef;

beforeAll(async () => {
  requirePackages("libvirtd", "qemu-system-x86_64", "qemu-img", "openssl");
  hosts = await MigrationHosts.open();
}, 180_000);
afterAll(() => hosts?.remove());

afterEach(async () => {
  for (const place of ["a", "b"] as const) await hosts.at(place).destroy(instance);
  for (const place of ["a", "b"] as const) expect(await hosts.domains(place), place).toEqual([]);
});

/** Both drivers, with options of migration of their own. */
async function open(shared: boolean, migration: LibvirtMigrationOptions): Promise<void> {
  await hosts.openBoth(shared, { migration: { copy: "running", ...migration } });
}

/** Where a domain has its disks and listeners: as it runs, and as libvirt keeps it. */
async function placesOf(place: Place): Promise<readonly (readonly string[])[]> {
  const [domain] = await hosts.clients[place].listAllDomains();
  const documents = [await domain?.getXmlDesc(), await domain?.getXmlDesc({ flags: ["inactive"] })];
  return documents.map((text) => {
    const document = parseDomainXml(text ?? "");
    const logs = [...(document.devices?.serial ?? []), ...(document.devices?.console ?? [])];
    return [...readDomain(document).disks.map(({ source }) => source ?? ""), ...logs.map(({ log }) => log?.file ?? "")];
  });
}

describe("a guest on two libvirtds", () => {
  it("goes by IPv6, encrypted, to a host that has the right name, and is there as it was planned", async () => {
    const own = (place: Place): LibvirtMigrationOptions => ({
      connectionUri: `qemu+tcp://[::1]:${hosts.daemons[place].tcpPort}/system`,
      address: "::1",
      listenAddress: "::1",
      encrypt: true,
      certificateName: "localhost",
    });
    await open(false, own("a"));
    await hosts.reopen("b", { migration: { ...own("b"), copy: "running", certificateName: "elsewhere" } });
    instance = await hosts.spawn();
    // Nobody else gets its memory.
    await expect(liveMigrate(hosts.at("a"), hosts.at("b"), instance).result).rejects.toMatchObject({
      code: "MIGRATION_FAILED",
    });
    await hosts.expectHere("a", instance);
    await hosts.reopen("b", { migration: { ...own("b"), copy: "running", encrypt: false } });
    await expect(liveMigrate(hosts.at("a"), hosts.at("b"), instance).result).rejects.toMatchObject({
      code: "MIGRATION_PRECHECK_FAILED",
    });
    await hosts.reopen("b", { migration: { ...own("b"), copy: "running" } });
    const said = await hosts.move(instance);
    await hosts.expectHere("b", instance, said);
    // What runs and what is kept are one, and the destination's.
    const [running = [], kept] = await placesOf("b");
    expect(kept).toEqual(running);
    const { disks, stateDirectory } = hosts.settings("b");
    for (const path of running)
      expect(
        [disks, stateDirectory].some((own) => path.startsWith(own)),
        path,
      ).toBe(true);
  }, 120_000);

  it("is not taken by a host whose CPU lacks something", async () => {
    await hosts.openBoth();
    instance = await hosts.spawn();
    const { sourceCpu } = await hosts.at("a").checkCanLiveMigrateSource(instance);
    // There is no KVM here; of CPUs libvirt says the same.
    const facts = { arch: sourceCpu.arch, virtType: "kvm" };
    const host = { client: hosts.clients.b, facts, timeouts: { callMs: 60_000 } } as unknown as LibvirtHost;
    const { model, features, ...rest } = sourceCpu;
    expect(await compareCpu(host, { ...rest, ...(model === undefined ? {} : { model }), features }, {})).toBe(
      "identical",
    );
    expect(await compareCpu(host, { ...rest, model: "qemu64", features: ["3dnowext", "amx-tile"] }, {})).toBe(
      "incompatible",
    );
    await expect(compareCpu(host, { ...rest, model: "Nobody-v9", features: [] }, {})).resolves.toBe("incompatible");
  }, 60_000);

  it("goes through a tunnel of the daemons, but not with disks", async () => {
    const options = (place: Place, copy: "auto" | "running"): { readonly migration: LibvirtMigrationOptions } => ({
      migration: { connectionUri: hosts.daemons[place].uri("qemu"), tunnel: true, copy },
    });
    await open(false, {});
    await hosts.reopen("b", options("b", "running"));
    instance = await hosts.spawn();
    await expect(liveMigrate(hosts.at("a"), hosts.at("b"), instance).result).rejects.toMatchObject({
      code: "MIGRATION_PRECHECK_FAILED",
    });
    await hosts.expectHere("a", instance);
    await hosts.at("a").destroy(instance);

    await hosts.openBoth(true);
    await hosts.reopen("a", options("a", "auto"));
    await hosts.reopen("b", options("b", "auto"));
    instance = await hosts.spawn();
    const data = await hosts.prepare(instance);
    await hosts.at("a").liveMigration(instance, data, { allowPostcopy: true }).result;
    const said = await hosts.letters("a", instance);
    await hosts.finish(instance, data);
    // It stood still while its memory was copied.
    await hosts.expectHere("b", instance, said);
    expect(hosts.told("a")).not.toContain("postcopyStarted self");
  }, 120_000);

  it.skipIf(diesOfPostcopyRecovery())(
    "gets the rest of its memory over another link when one breaks in post-copy",
    async () => {
      await hosts.openBoth();
      instance = await hosts.spawn({ imageId: "full" });
      const data = await hosts.prepare(instance);
      const asked: Promise<unknown>[] = [];
      const done = new Set<string>();
      let over = 0;
      await hosts.at("a").liveMigration(instance, data, {
        bandwidthMiBps: 4,
        downtimeMs: 1,
        allowPostcopy: true,
        onMigrationProgress: ({ iteration, phase }) => {
          // That it is to run there is asked after the first of these.
          const next =
            phase === "postcopy" ? (over++ > 0 ? "break" : undefined) : iteration >= 1 ? "hasten" : undefined;
          if (next === undefined || done.has(next)) return;
          done.add(next);
          asked.push(
            next === "hasten" ? hosts.at("a").liveMigrationForceComplete(instance, "postcopy") : hosts.breakLink(),
          );
        },
      }).result;
      await Promise.all(asked);
      const said = await hosts.letters("a", instance);
      await hosts.finish(instance, data);
      await hosts.expectHere("b", instance, said);
    },
    120_000,
  );
});
