// The dependency rules hold something: each is broken on purpose in a small tree of its own.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { cruise } from "dependency-cruiser";
import type { ICruiseResult, IFlattenedRuleSet, ICruiseOptions } from "dependency-cruiser";
import { afterEach, describe, expect, it } from "vitest";

type Tree = Readonly<Record<string, string>>;

interface Config {
  readonly forbidden: NonNullable<IFlattenedRuleSet["forbidden"]>;
  readonly options: ICruiseOptions;
}

const configUrl = new URL("../../.dependency-cruiser.mjs", import.meta.url).href;
const { forbidden, options } = ((await import(configUrl)) as { default: Config }).default;

const packages: Tree = {
  "package.json": JSON.stringify({
    name: "house",
    dependencies: { bitset: "1.0.0", xmlbuilder2: "1.0.0" },
    optionalDependencies: { koffi: "1.0.0" },
    devDependencies: { vitest: "1.0.0" },
  }),
  ...Object.fromEntries(
    ["bitset", "xmlbuilder2", "koffi", "vitest"].flatMap((name) => [
      [`node_modules/${name}/package.json`, JSON.stringify({ name, version: "1.0.0", main: "index.js" })],
      [`node_modules/${name}/index.js`, "export default 1;"],
    ]),
  ),
};

const roots: string[] = [];

async function brokenRules(tree: Tree): Promise<readonly string[]> {
  const root = mkdtempSync(join(tmpdir(), "hypervise-rules-"));
  roots.push(root);
  for (const [path, text] of Object.entries({ ...packages, ...tree })) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const { tsConfig, ...rest } = options;
  expect(tsConfig).toBeDefined();
  const result = await cruise(["src"], { ...rest, baseDir: root, validate: true, ruleSet: { forbidden } });
  const { violations } = (result.output as ICruiseResult).summary;
  return [...new Set(violations.map((violation) => violation.rule.name))].sort();
}

afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true, force: true });
});

const face = "export const face = 1;";
const imports = (target: string): string => `import { face } from "${target}";\nexport const use = face;`;

describe("the dependency rules", () => {
  it("let a house stand that keeps to them", async () => {
    const rules = await brokenRules({
      "src/core/index.ts": 'export { inner } from "./inner.js";\nexport const face = 1;',
      "src/core/inner.ts": 'import { inspect } from "node:util";\nexport const inner = inspect;',
      "src/host/index.ts": `${imports("../core/index.js")}\nexport const native = () => import("koffi");\n${face}`,
      "src/libvirt/rpc/index.ts": face,
      "src/libvirt/index.ts": imports("./rpc/index.js"),
      "src/storage/index.ts": 'export { face } from "../host/index.js";',
      "src/firewall/index.ts": `export const protocol = () => import("../libvirt/rpc/index.js");\n${face}`,
      "src/driver/index.ts": `${imports("../storage/index.js")}\nexport { face } from "../firewall/index.js";`,
      "src/kvm/index.ts": `${imports("../driver/index.js")}\nimport bitset from "bitset";\nexport const set = bitset;`,
      "src/index.ts": imports("./core/index.js"),
    });
    expect(rules).toEqual([]);
  });

  const oneRoomInAnother: readonly (readonly [from: string, to: string])[] = [
    ["core", "host"],
    ["core", "driver"],
    ["host", "qmp"],
    ["host", "storage"],
    ["qmp", "libvirt/rpc"],
    ["qmp", "network"],
    ["libvirt/rpc", "libvirt/xml"],
    ["libvirt/xml", "libvirt"],
    ["firewall", "network"],
    ["network", "storage"],
    ["storage", "driver"],
    ["driver", "fake"],
    ["driver", "kvm"],
    ["kvm", "fake"],
    ["kvm", "libvirt"],
    ["libvirt", "kvm"],
    ["testing", "fake"],
    ["testing", "kvm"],
    ["fake", "testing"],
  ];

  it.each(oneRoomInAnother)("keep src/%s from importing src/%s", async (from, to) => {
    const up = "../".repeat(from.split("/").length);
    const rules = await brokenRules({
      [`src/${from}/index.ts`]: imports(`${up}${to}/index.js`),
      [`src/${to}/index.ts`]: face,
    });
    expect(rules).toEqual([`floor-of-${from}`]);
  });

  it("refuse an import of a type from a floor above", async () => {
    const rules = await brokenRules({
      "src/storage/index.ts": 'import type { T } from "../driver/index.js";\nexport type U = T;',
      "src/driver/index.ts": "export type T = number;",
    });
    expect(rules).toEqual(["floor-of-storage"]);
  });

  it("refuse an import past a room's face", async () => {
    const rules = await brokenRules({
      "src/core/index.ts": face,
      "src/core/secret.ts": face,
      "src/driver/index.ts": imports("../core/secret.js"),
    });
    expect(rules).toEqual(["face-of-core"]);
  });

  const single: readonly (readonly [rule: string, tree: Tree])[] = [
    ["core-does-no-io", { "src/core/index.ts": 'import { readFile } from "node:fs";\nexport const read = readFile;' }],
    ["core-has-no-packages", { "src/core/index.ts": 'import bitset from "bitset";\nexport const set = bitset;' }],
    ["declared-packages", { "src/host/index.ts": 'import vitest from "vitest";\nexport const test = vitest;' }],
    ["native-on-first-use", { "src/host/index.ts": 'import koffi from "koffi";\nexport const native = koffi;' }],
    ["no-unresolved", { "src/host/index.ts": imports("./nowhere.js") }],
    ["inside-the-house", { "src/host/index.ts": imports("../../test/helper.js"), "test/helper.ts": face }],
    ["main-entry", { "src/index.ts": imports("./kvm/index.js"), "src/kvm/index.ts": face }],
    ["main-entry", { "src/index.ts": imports("./host/index.js"), "src/host/index.ts": face }],
    ["nothing-imports-main", { "src/index.ts": face, "src/host/index.ts": imports("../index.js") }],
    [
      "no-cycles",
      {
        "src/host/a.ts": 'import { b } from "./b.js";\nexport const a = () => b;',
        "src/host/b.ts": 'import { a } from "./a.js";\nexport const b = () => a;',
      },
    ],
    [
      "fake-speaks-no-protocol",
      {
        "src/fake/index.ts": imports("../driver/index.js"),
        "src/driver/index.ts": 'export { face } from "../qmp/index.js";',
        "src/qmp/index.ts": face,
      },
    ],
    [
      "fake-speaks-no-protocol",
      {
        "src/fake/index.ts": imports("../driver/index.js"),
        "src/driver/index.ts": 'import xml from "xmlbuilder2";\nexport const face = xml;',
      },
    ],
  ];

  it.each(single)("know %s", async (rule, tree) => {
    expect(await brokenRules(tree)).toEqual([rule]);
  });
});
