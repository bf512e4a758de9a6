import { readFileSync } from "node:fs";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Workspace, manifest, sourcesOf, specifiers } from "./support/consumer.js";
import type { Format } from "./support/consumer.js";

const formats: readonly Format[] = ["esm", "cjs"];

/** What importing a subpath may never bring in, as source files of ours. */
const strangers: Readonly<Record<string, RegExp>> = {
  hypervise: /^src\/(fake|hypervisor|kvm|libvirt|qmp|testing)\//,
  "hypervise/fake": /^src\/(kvm|libvirt|qmp|testing)\/|\.gen\.ts$/,
  "hypervise/kvm": /^src\/(fake|libvirt|testing)\//,
  "hypervise/libvirt": /^src\/(fake|kvm|testing)\//,
  "hypervise/qmp": /^src\/(?!core|host|qmp)/,
  "hypervise/firewall": /^src\/(?!core|host|firewall)/,
  "hypervise/network": /^src\/(?!core|host|network)/,
  "hypervise/storage": /^src\/(?!core|host|storage)/,
  "hypervise/testing": /^src\/(fake|kvm|libvirt)\//,
};

const nativeAddon = /node_modules\/(koffi|@koromix|ioctl-napi)\/|\.node$/;
const xmlLibrary = /node_modules\/(xmlbuilder2|@oozcitak)\//;

let workspace: Workspace;

beforeAll(async () => {
  workspace = await Workspace.create();
});

afterAll(async () => {
  await workspace?.dispose();
});

/** Source text that imports `specifier` as `name`, for each format. */
function importing(format: Format, name: string, specifier: string): string {
  return format === "esm"
    ? `import * as ${name} from ${JSON.stringify(specifier)};\n`
    : `const ${name} = require(${JSON.stringify(specifier)});\n`;
}

function importingAll(format: Format): string {
  const lines = specifiers.map((specifier, index) => importing(format, `entry${index}`, specifier));
  const pairs = specifiers.map((specifier, index) => `[${JSON.stringify(specifier)}, entry${index}]`);
  return `${lines.join("")}const entries = [${pairs.join(", ")}];\n`;
}

describe.each(formats)("the packed package in an %s project", (format) => {
  it.each(specifiers)("%s loads alone, silently, and lets the process end", async (specifier) => {
    const { exitCode, stdout, stderr, loadedFiles } = await workspace.importAlone(format, specifier);
    expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 0, stdout: "", stderr: "" });

    const extension = format === "esm" ? ".js" : ".cjs";
    const own = loadedFiles.filter((file) => file.includes("/node_modules/hypervise/dist/"));
    expect(own.length).toBeGreaterThan(0);
    expect(own.filter((file) => !file.endsWith(extension))).toEqual([]);
    expect(loadedFiles.filter((file) => nativeAddon.test(file))).toEqual([]);

    const sources = own.flatMap(sourcesOf);
    expect(sources.length).toBeGreaterThan(0);
    const unwanted = strangers[specifier];
    expect(unwanted).toBeDefined();
    expect(sources.filter((source) => unwanted?.test(source))).toEqual([]);
    if (specifier !== "hypervise/libvirt") expect(loadedFiles.filter((file) => xmlLibrary.test(file))).toEqual([]);
  });

  it.each(specifiers)("%s leaves the process and its globals as they were", async (specifier) => {
    const look = `() => ({
      globals: Object.getOwnPropertyNames(globalThis).sort(),
      buffer: Object.getOwnPropertyNames(Buffer.prototype).sort(),
      promise: Object.getOwnPropertyNames(Promise.prototype).sort(),
      listeners: process.eventNames().map(String).sort(),
      resources: process.getActiveResourcesInfo().filter((name) => !/^(TTY|Pipe|FS|CloseReq)/.test(name)).sort(),
      addons: process.report.getReport().sharedObjects.filter((name) => name.endsWith(".node")),
    })`;
    const load =
      format === "esm" ? `await import(${JSON.stringify(specifier)});` : `require(${JSON.stringify(specifier)});`;
    const seen = (await workspace.evaluate(
      format,
      `const look = ${look};\nconst before = look();\n${load}\nconsole.log(JSON.stringify({ before, after: look() }));`,
    )) as { before: unknown; after: unknown };
    expect(seen.after).toEqual(seen.before);
  });

  it("has one error class, whichever subpath it came from", async () => {
    const result = await workspace.evaluate(
      format,
      `${importingAll(format)}
      const { HyperviseError } = entries[0][1];
      const strays = [];
      const seen = new Map();
      let errors = 0;
      for (const [specifier, entry] of entries) {
        for (const [name, value] of Object.entries(entry)) {
          if (typeof value !== "function" || !name.endsWith("Error") || !/^[A-Z]/.test(name)) continue;
          errors += 1;
          if (value !== HyperviseError && !(value.prototype instanceof HyperviseError)) strays.push(specifier + " " + name);
          if (seen.has(name) && seen.get(name) !== value) strays.push(specifier + " has its own " + name);
          seen.set(name, value);
        }
      }
      console.log(JSON.stringify({ strays, some: errors > 0 }));`,
    );
    expect(result).toEqual({ strays: [], some: true });
  });

  it("has types for every subpath, which compile under NodeNext", async () => {
    const lines = specifiers.flatMap((specifier, index) => [
      `import * as entry${index} from "${specifier}";`,
      `export const name${index}: keyof typeof entry${index} | undefined = undefined;`,
      `// @ts-expect-error -- the types are there: they are not any`,
      `export const wrong${index}: { readonly isNotThere: true } = entry${index};`,
    ]);
    const finished = await workspace.compile(format, { "user.ts": lines.join("\n") });
    expect(finished).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  });

  it("knows an error of the other format's copy by its brand", async () => {
    const other: Format = format === "esm" ? "cjs" : "esm";
    const source =
      format === "esm"
        ? `import { isHyperviseError } from "hypervise";
           import { createRequire } from "node:module";
           const copy = createRequire(import.meta.url)("hypervise");`
        : `const { isHyperviseError } = require("hypervise");
           const load = import("hypervise");`;
    const body = `const error = new copy.HyperviseError("no", { code: "NO" });
           console.log(JSON.stringify([isHyperviseError(error), isHyperviseError(error, "NO"), isHyperviseError(error, "YES")]));`;
    const script = format === "esm" ? `${source}\n${body}` : `${source}\nload.then((copy) => { ${body} });`;
    expect(await workspace.evaluate(format, script), `an error of the ${other} copy`).toEqual([true, true, false]);
  });
});

describe("the packed package", () => {
  it("exports the same names in both formats", async () => {
    const list = (format: Format): Promise<unknown> =>
      workspace.evaluate(
        format,
        `${importingAll(format)}
        console.log(JSON.stringify(entries.map(([name, entry]) => [name, Object.keys(entry).sort()])));`,
      );
    expect(await list("cjs")).toEqual(await list("esm"));
  });

  it("passes publint", async () => {
    const file = readFileSync(workspace.tarball);
    const tarball = file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength);
    const { messages, pkg } = await publint({ pack: { tarball }, strict: true, level: "suggestion" });
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
    expect(pkg?.["name"]).toBe(manifest.name);
  });

  it("has types that every resolver of Node 16 and later and of bundlers finds", async () => {
    const { exitCode, stdout } = await workspace.areTheTypesWrong();
    expect(exitCode, stdout).toBe(0);
  });

  it("runs no install script and carries nothing but the library and its papers", async () => {
    const { stdout } = await workspace.listFiles();
    const files = stdout.trim().split("\n");
    expect(files).toContain("package/LICENSE");
    expect(files.filter((file) => !/^package\/(dist|docs)\/|^package\/[A-Za-z-]+(\.md|\.json)?$/.test(file))).toEqual(
      [],
    );
    const packed = JSON.parse((await workspace.readPacked("package/package.json")).stdout) as {
      scripts?: Record<string, string>;
    };
    const scripts = Object.keys(packed.scripts ?? {});
    expect(scripts.filter((name) => /^(pre|post)?(install|prepare)$/.test(name))).toEqual([]);
  });
});
