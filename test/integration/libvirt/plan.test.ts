/** What is planned, held against libvirt's schemas and defined on a real libvirtd. */
import { writeFile } from "node:fs/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isHyperviseError } from "../../../src/core/index.js";
import { libvirtHostFacts, metadataOf, planDomain, readDomain } from "../../../src/libvirt/driver/plan/index.js";
import type { LibvirtHostFacts } from "../../../src/libvirt/driver/plan/index.js";
import {
  LibvirtClient,
  formatDomainXml,
  parseCapabilitiesXml,
  parseDomainCapabilitiesXml,
  parseDomainXml,
} from "../../../src/libvirt/index.js";
import type { DomainXml } from "../../../src/libvirt/index.js";
import { requirePackages, withTemporaryDirectory } from "../../lab/index.js";
import { startLibvirtd } from "../../lab/libvirtd.js";
import type { LabLibvirtd } from "../../lab/libvirtd.js";
import { PLAN_CASES, factsOf } from "../../unit/libvirt/driver/plan-cases.js";
import { arbitraryPlan, plainPlan } from "../../unit/libvirt/driver/arbitrary-plan.js";
import { hostilePlan } from "../../unit/libvirt/driver/hostile-plan.js";
import { complaints, libvirtSources, reasonToSkip, schemaOf, validFiles } from "./xml-schemas.js";

const skip = reasonToSkip();
const T = { timeout: 120_000 };

interface Planned {
  readonly name: string;
  readonly xml: string;
}

/** Holds what is planned for each release of libvirt against that release's schema, all at once. */
async function expectAccepted(documentsFor: (libvirtVersion: number) => readonly Planned[]): Promise<void> {
  for (const source of await libvirtSources()) {
    const [major = 0, minor = 0, micro = 0] = source.version.split(".").map(Number);
    const documents = documentsFor(major * 1_000_000 + minor * 1_000 + micro);
    const schema = schemaOf("domain", source);
    await withTemporaryDirectory(async (directory) => {
      const files = documents.map((_, index) => directory.file(`${index}.xml`));
      // The schemas still have User Mode Linux, but no longer its word for what it runs.
      const texts = documents.map(({ xml }) => xml.replace("<type>uml</type>", "<type>hvm</type>"));
      await Promise.all(texts.map((text, index) => writeFile(directory.file(`${index}.xml`), text)));
      const valid = await validFiles(schema, files);
      const refused = files.findIndex((file) => !valid.has(file));
      if (refused < 0) return;
      const { name } = documents[refused] as Planned;
      expect(await complaints(schema, directory.file(`${refused}.xml`)), `${name}, ${source.version}`).toBe("");
    });
  }
}

describe("the schemas accept", T, () => {
  beforeAll(() => requirePackages("xmllint"));

  it("what is planned of guests of each kind", async (context) => {
    context.skip(skip !== undefined, skip);
    await expectAccepted((libvirtVersion) =>
      PLAN_CASES.filter(({ since = 0 }) => since <= libvirtVersion).map(({ name, virtType, definition, options }) => ({
        name,
        xml: formatDomainXml(planDomain(definition, factsOf(virtType, { libvirtVersion }), options)),
      })),
    );
  });

  it("whatever is planned", async (context) => {
    context.skip(skip !== undefined, skip);
    const plans = fc.sample(fc.oneof(arbitraryPlan, plainPlan), { numRuns: 1_500, seed: 6 });
    await expectAccepted((libvirtVersion) => {
      const documents = plans.flatMap(({ virtType, definition, options }) =>
        planned(JSON.stringify(definition), () =>
          planDomain(definition, factsOf(virtType, { libvirtVersion }), options),
        ),
      );
      expect(documents.length).toBeGreaterThan(150);
      return documents;
    });
  });

  it("what is planned of hostile texts that are not refused", async (context) => {
    context.skip(skip !== undefined, skip);
    const plans = fc.sample(hostilePlan, { numRuns: 150, seed: 6 });
    const documents = plans.flatMap(({ definition, options }) =>
      planned(JSON.stringify(definition), () => planDomain(definition, factsOf("qemu"), options)),
    );
    expect(documents.length).toBeGreaterThan(20);
    await expectAccepted(() => documents);
  });
});

/** The document; none for a definition that is refused as it should be. */
function planned(name: string, plan: () => DomainXml): Planned[] {
  try {
    return [{ name, xml: formatDomainXml(plan()) }];
  } catch (error) {
    expect(isHyperviseError(error, "INVALID_ARGUMENT") || isHyperviseError(error, "NOT_SUPPORTED")).toBe(true);
    return [];
  }
}

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

  it("is defined, whatever it is, if it is planned by what the daemon says of its host", T, async () => {
    const plans = fc.sample(fc.oneof(arbitraryPlan, plainPlan), { numRuns: 700, seed: 7 });
    const documents = plans.flatMap(({ virtType, definition, options }) =>
      virtType === "qemu" ? planned("", () => planDomain(definition, facts.qemu, options)) : [],
    );
    expect(documents.length).toBeGreaterThan(40);
    const refusals: string[] = [];
    for (const { xml } of documents)
      try {
        const guest = await qemu.defineDomainXmlFlags(xml, { flags: ["validate"] });
        await guest.undefineFlags({ flags: ["nvram"] });
      } catch (error) {
        refusals.push(`${isHyperviseError(error) ? error.detail : String(error)}\n${xml}`);
      }
    expect(refusals).toEqual([]);
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
        expect(found.metadata).toEqual(metadataOf(one.definition, one.options));
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
