/** What is planned, held against libvirt's schemas and defined on a real libvirtd. */
import { writeFile } from "node:fs/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { InvalidArgumentError } from "../../../src/core/index.js";
import { libvirtHostFacts, planDomain, readDomain } from "../../../src/libvirt/driver/plan/index.js";
import type { LibvirtHostFacts } from "../../../src/libvirt/driver/plan/index.js";
import {
  LibvirtClient,
  formatDomainXml,
  parseCapabilitiesXml,
  parseDomainCapabilitiesXml,
  parseDomainXml,
} from "../../../src/libvirt/index.js";
import { requirePackages, withTemporaryDirectory } from "../../lab/index.js";
import { startLibvirtd } from "../../lab/libvirtd.js";
import type { LabLibvirtd } from "../../lab/libvirtd.js";
import { PLAN_CASES, factsOf } from "../../unit/libvirt/driver/plan-cases.js";
import { hostilePlan } from "../../unit/libvirt/driver/hostile-plan.js";
import { complaints, libvirtSources, reasonToSkip, schemaOf, validFiles } from "./xml-schemas.js";
import type { LibvirtSource } from "./xml-schemas.js";

const skip = reasonToSkip();
const cases = PLAN_CASES.map((one) => [one.name, one] as const);

describe("a planned domain", () => {
  let sources: LibvirtSource[];

  beforeAll(async () => {
    requirePackages("xmllint");
    if (skip === undefined) sources = await libvirtSources();
  });

  it.for(cases)("is what the schemas accept: %s", async ([, { virtType, definition, options }], context) => {
    context.skip(skip !== undefined, skip);
    const xml = formatDomainXml(planDomain(definition, factsOf(virtType), options));
    // The schemas still have User Mode Linux, but no longer its word for what it runs.
    const text = xml.replace("<type>uml</type>", "<type>hvm</type>");
    await withTemporaryDirectory(async (directory) => {
      const file = directory.file("domain.xml");
      await writeFile(file, text);
      for (const source of sources) expect(await complaints(schemaOf("domain", source), file), source.version).toBe("");
    });
  });
});

describe("definitions with hostile texts", () => {
  it("are refused, or become domains that the schemas accept", { timeout: 60_000 }, async (context) => {
    context.skip(skip !== undefined, skip);
    requirePackages("xmllint");
    const facts = factsOf("qemu");
    const texts = fc.sample(hostilePlan, { numRuns: 150, seed: 6 }).flatMap(({ definition, options }) => {
      try {
        return [formatDomainXml(planDomain(definition, facts, options))];
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidArgumentError);
        return [];
      }
    });
    expect(texts.length).toBeGreaterThan(20);
    await withTemporaryDirectory(async (directory) => {
      const files = texts.map((_, index) => directory.file(`${index}.xml`));
      await Promise.all(texts.map((text, index) => writeFile(directory.file(`${index}.xml`), text)));
      for (const source of await libvirtSources()) {
        const schema = schemaOf("domain", source);
        const valid = await validFiles(schema, files);
        for (const file of files.filter((one) => !valid.has(one)))
          expect.soft(await complaints(schema, file), source.version).toBe("");
        expect(valid.size).toBe(files.length);
      }
    });
  });
});

describe("a planned domain on a real libvirtd", () => {
  let daemon: LabLibvirtd;
  let qemu: LibvirtClient;
  let lxc: LibvirtClient;
  let facts: Readonly<Record<"qemu" | "lxc", LibvirtHostFacts>>;

  beforeAll(async () => {
    daemon = await startLibvirtd({ port: 16_859 });
    qemu = await LibvirtClient.open(daemon.uri("qemu"));
    lxc = await LibvirtClient.open(daemon.uri("lxc"));
    facts = { qemu: await readFacts(qemu, "qemu"), lxc: await readFacts(lxc, "lxc") };
  }, 120_000);

  afterAll(async () => {
    await qemu?.close();
    await lxc?.close();
    await daemon?.remove();
  });

  const definable = PLAN_CASES.filter(
    ({ virtType, schemaOnly }) => (virtType === "qemu" || virtType === "lxc") && schemaOnly !== true,
  );
  it.for(definable.map((one) => [one.name, one] as const))(
    "is defined, and its devices are found: %s",
    async ([, one]) => {
      const isQemu = one.virtType === "qemu";
      const domain = planDomain(one.definition, facts[isQemu ? "qemu" : "lxc"], one.options);
      const guest = await (isQemu ? qemu : lxc).defineDomainXml(formatDomainXml(domain));
      try {
        const found = readDomain(parseDomainXml(await guest.getXmlDesc()));
        expect(found).toMatchObject({ uuid: one.definition.uuid, name: one.definition.name });
        expect(found.metadata?.uuid).toBe(one.definition.uuid);
        expect(found.metadata?.entries).toEqual(one.options?.metadata ?? {});
        if (!isQemu) return;
        expect(found.disks.map(({ id }) => id).sort()).toEqual(one.definition.disks.map(({ id }) => id).sort());
        expect(found.nics.map(({ id, macAddress }) => [id, macAddress])).toEqual(
          one.definition.nics.map(({ id, macAddress }) => [id, macAddress]),
        );
        expect(found.devices.map(({ id }) => id).sort()).toEqual(
          (one.definition.hardware?.devices ?? []).map(({ id }) => id).sort(),
        );
      } finally {
        await (isQemu ? guest.undefineFlags({ flags: ["nvram"] }) : guest.undefine());
      }
    },
  );
});

async function readFacts({ connection }: LibvirtClient, virtType: "qemu" | "lxc"): Promise<LibvirtHostFacts> {
  const { capabilities } = await connection.call("connectGetCapabilities");
  const { libVer } = await connection.call("connectGetLibVersion");
  const documents = await Promise.all(
    (virtType === "qemu" ? ["q35", "pc"] : []).map(async (machine) =>
      connection.call("connectGetDomainCapabilities", {
        arch: "x86_64",
        machine,
        virttype: virtType,
        flags: 0,
      }),
    ),
  );
  return libvirtHostFacts({
    virtType,
    libvirtVersion: Number(libVer),
    capabilities: parseCapabilitiesXml(capabilities),
    domainCapabilities: documents.map((document) => parseDomainCapabilitiesXml(document.capabilities)),
  });
}
