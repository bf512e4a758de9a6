import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { XML_KINDS, formatDeviceXml, formatXml, parseDeviceXml, parseXml } from "../../../src/libvirt/index.js";
import type { DeviceKind, XmlKind } from "../../../src/libvirt/index.js";
import { requirePackages, withTemporaryDirectory } from "../../lab/index.js";
import { canonicalForms, libvirtSources, reasonToSkip, schemaOf, validFiles, xmlFiles } from "./xml-schemas.js";
import type { LibvirtSource } from "./xml-schemas.js";

/** Devices that libvirt's tests plug into running domains. */
const DEVICES: readonly DeviceKind[] = ["disk", "hostdev", "interface", "graphics", "watchdog", "controller"];
const ROOTS: Readonly<Record<string, XmlKind>> = {
  ...Object.fromEntries(XML_KINDS.map((kind) => [kind.toLowerCase(), kind])),
  filter: "nwFilter",
  filterbinding: "nwFilterBinding",
  pool: "storagePool",
  storagepoolcapabilities: "storagePoolCapabilities",
  volume: "storageVolume",
  device: "nodeDevice",
};

const skip = reasonToSkip();

describe("libvirt's own test data", () => {
  let sources: LibvirtSource[];

  beforeAll(async () => {
    requirePackages("xmllint");
    if (skip === undefined) sources = await libvirtSources();
  });

  it("is written back as it was read, every document that the schemas accept", async (context) => {
    context.skip(skip !== undefined, skip);
    let documents = 0;
    let reworded = 0;
    const broken: (string | undefined)[] = [];
    for (const source of sources) {
      for (const [kind, files] of byKind(xmlFiles(`${source.folder}/tests`))) {
        const valid = await validFiles(schemaOf(kind, source), files);
        const chosen = files.filter((file) => valid.has(file));
        documents += chosen.length;
        const different = await differences(chosen, (text) => formatXml(kind, parseXml(kind, text)));
        reworded += different.reworded;
        broken.push(...different.broken);
      }
    }
    const versions = sources.map(({ version }) => version).join(" and ");
    console.log(
      `${documents} documents of libvirt ${versions}: ${documents - reworded} canonically equal, ${reworded - broken.length} ` +
        `with another prefix for a namespace or without leading zeros, ${broken.length} changed`,
    );
    expect(documents).toBeGreaterThan(6_000);
    expect(reworded).toBeLessThan(30);
    expect(broken).toEqual([]);
  });

  it("is written back as it was read, every device that is a document of its own", async (context) => {
    context.skip(skip !== undefined, skip);
    for (const source of sources) {
      const files = xmlFiles(`${source.folder}/tests/qemuhotplugtestdevices`);
      const kinds = DEVICES.map((kind) => [kind, files.filter((file) => rootOf(file) === kind)] as const);
      expect(kinds.reduce((sum, [, some]) => sum + some.length, 0)).toBeGreaterThan(20);
      for (const [kind, some] of kinds) {
        const rewrite = (text: string): string => formatDeviceXml(kind, parseDeviceXml(kind, text));
        expect(await differences(some, rewrite)).toEqual({ reworded: 0, broken: [] });
      }
    }
  });
});

/** The files by the kind of document that their root element says they are. */
function byKind(files: readonly string[]): Map<XmlKind, string[]> {
  const kinds = new Map<XmlKind, string[]>();
  for (const file of files) {
    const root = rootOf(file);
    const kind = root === undefined ? undefined : ROOTS[root.toLowerCase()];
    if (kind !== undefined) kinds.set(kind, [...(kinds.get(kind) ?? []), file]);
  }
  return kinds;
}

function rootOf(file: string): string | undefined {
  return /<([A-Za-z]+)[\s>/]/.exec(readFileSync(file, "utf8").replace(/<!--.*?-->/gs, ""))?.[1];
}

async function differences(
  files: readonly string[],
  rewrite: (text: string) => string,
): Promise<{ reworded: number; broken: (string | undefined)[] }> {
  const before = files.map((file) => readFileSync(file, "utf8"));
  const after = before.map(rewrite);
  return withTemporaryDirectory(async (directory) => {
    const expected = await canonicalForms(before, directory.file("before"));
    const actual = await canonicalForms(after, directory.file("after"));
    expect([expected.length, actual.length]).toEqual([files.length, files.length]);
    const unlike = files.flatMap((_file, index) => (expected[index] === actual[index] ? [] : [index]));
    return {
      reworded: unlike.length,
      broken: unlike
        .filter((index) => meaning(expected[index]) !== meaning(actual[index]))
        .map((index) => files[index]),
    };
  });
}

/**
 * A canonical document without the prefixes of libvirt's extension namespaces, which are written as usual whatever they were,
 * and without the leading zeros of numbers.
 */
function meaning(canonical = ""): string {
  const declarations = [...canonical.matchAll(/ xmlns:?(\w*)="http:\/\/libvirt\.org\/schemas\/[^"]*"/g)];
  let text = canonical;
  for (const [declaration, prefix = ""] of declarations) {
    text = text.replace(declaration, "");
    if (prefix !== "") text = text.replace(new RegExp(`(</?)${prefix}:`, "g"), "$1");
  }
  return text.replace(/>0+(?=[0-9]+<\/(?:owner|group)>)/g, ">");
}
