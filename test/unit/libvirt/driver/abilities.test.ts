// What libvirt and QEMU can do since when, and what a host says that it can't.
import { describe, expect, it } from "vitest";
import {
  LIBVIRT_ABILITIES,
  LIBVIRT_FEATURES,
  MIN_LIBVIRT_VERSION,
  MIN_QEMU_VERSION,
} from "../../../../src/libvirt/driver/index.js";
import { featuresOf } from "../../../../src/libvirt/driver/features.js";
import { libvirtHostFacts } from "../../../../src/libvirt/driver/plan/index.js";
import { parseCapabilitiesXml, parseDomainCapabilitiesXml } from "../../../../src/libvirt/index.js";
import type { LibvirtHostFacts } from "../../../../src/libvirt/driver/index.js";

function versionOf(text: string): number {
  const [major = 0, minor = 0, micro = 0] = text.split(".").map(Number);
  return major * 1_000_000 + minor * 1_000 + micro;
}

/** A host whose libvirt says this of its guests. */
function facts(...documents: readonly string[]): LibvirtHostFacts {
  const capabilities = parseCapabilitiesXml(
    "<capabilities><host/><guest><os_type>hvm</os_type><arch name='x86_64'><domain type='qemu'/></arch></guest></capabilities>",
  );
  return libvirtHostFacts({
    virtType: "qemu",
    libvirtVersion: MIN_LIBVIRT_VERSION,
    capabilities,
    domainCapabilities: documents.map((inner) =>
      parseDomainCapabilitiesXml(`<domainCapabilities>${inner}</domainCapabilities>`),
    ),
  });
}

describe("the table of abilities", () => {
  it("has each feature of the driver's once", () => {
    const names = LIBVIRT_ABILITIES.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(expect.arrayContaining([...LIBVIRT_FEATURES.qemu]));
  });

  it("asks of no feature more than the least releases have", () => {
    const features: ReadonlySet<string> = new Set(LIBVIRT_FEATURES.qemu);
    for (const { name, libvirt, qemu = "0.0.0" } of LIBVIRT_ABILITIES.filter((one) => features.has(one.name))) {
      expect(versionOf(libvirt), name).toBeLessThanOrEqual(MIN_LIBVIRT_VERSION);
      expect(versionOf(qemu), name).toBeLessThanOrEqual(MIN_QEMU_VERSION);
    }
  });
});

describe("what a host says of itself", () => {
  it("decides, whatever its release", () => {
    const all = new Set(LIBVIRT_FEATURES.qemu);
    expect(featuresOf(facts())).toEqual(all);
    const noBackups = featuresOf(facts("<features><backup supported='no'/></features>"));
    expect([...all].filter((feature) => !noBackups.has(feature))).toEqual(["backup"]);
    const vncOnly =
      "<devices><graphics supported='yes'><enum name='type'><value>vnc</value></enum></graphics></devices>";
    expect([...all].filter((feature) => !featuresOf(facts(vncOnly)).has(feature))).toEqual(["spiceConsole"]);
    const none = featuresOf(facts("<devices><graphics supported='no'/></devices>"));
    expect([...all].filter((feature) => !none.has(feature))).toEqual(["vncConsole", "spiceConsole", "consolePassword"]);
  });

  it("counts where one kind of machine has it", () => {
    const features = featuresOf(
      facts("<features><backup supported='no'/></features>", "<features><backup supported='yes'/></features>"),
    );
    expect(features.has("backup")).toBe(true);
  });

  it("is no more than looking for who only looks", () => {
    const features = featuresOf(facts(), { readOnly: true });
    expect([...features].sort()).toEqual([
      "compareCpu",
      "consoleLog",
      "hostCpuStatistics",
      "serialConsole",
      "spiceConsole",
      "statistics",
      "vncConsole",
    ]);
  });
});
