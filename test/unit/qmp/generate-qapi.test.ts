import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { buildModel } from "../../../scripts/generate-qapi/build-model.js";
import { emitTypes } from "../../../scripts/generate-qapi/emit-types.js";
import { namesOf } from "../../../scripts/generate-qapi/member-names.js";
import { mergeModels } from "../../../scripts/generate-qapi/merge-models.js";
import type { Model } from "../../../scripts/generate-qapi/model.js";
import { readSchema } from "../../../scripts/generate-qapi/read-schema.js";

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function model(version: string, files: { readonly [name: string]: string } | string): Model {
  const folder = mkdtempSync(join(tmpdir(), "qapi-test-"));
  folders.push(folder);
  const all = typeof files === "string" ? { "main.json": files } : files;
  for (const [name, text] of Object.entries(all)) writeFileSync(join(folder, name), text);
  return buildModel(version, readSchema(join(folder, "main.json")));
}

/** The types without their first comment, spaces made one. */
function emit(...models: Model[]): string {
  const text = emitTypes(mergeModels(models), { title: "Test.", commandsName: "Commands", eventsName: "Events" });
  return text.slice(text.indexOf("/** No members. */")).replace(/\s+/g, " ");
}

describe("the generator of QAPI types", () => {
  it("reads comments, inclusions, lists and conditions", () => {
    const main = `# a comment
      { 'include': 'other.json' }
      { 'include': 'other.json' }
      { 'pragma': { 'doc-required': true } }
      ##
      # @get:
      #
      # Since: 4.1
      ##
      { 'command': 'get', 'data': { 'name': 'str', '*sizes': ['size'] }, 'returns': ['Thing'],
        'allow-oob': true, 'if': { 'all': ['CONFIG_A', { 'not': 'CONFIG_B' }] } }`;
    const text = emit(
      model("1.0", { "main.json": main, "other.json": "{ 'struct': 'Thing', 'data': { 'at': 'uint16' } }" }),
    );
    expect(text).toContain("export interface Thing { readonly at: number; }");
    expect(text).toContain("readonly name: string; readonly sizes?: readonly Int64[] | undefined;");
    expect(text).toContain("readonly result: readonly Thing[]");
    expect(text).toContain("May be executed out of band.");
    expect(text).toContain("CONFIG_A and not CONFIG_B");
    expect(text).toContain("@since QEMU 4.1");
  });

  it("makes unions that narrow by their discriminator, and enumerations that are open", () => {
    const text = emit(
      model(
        "1.0",
        `{ 'enum': 'Kind', 'data': ['a', 'b', { 'name': 'c', 'features': ['unstable'] }] }
         { 'struct': 'A', 'data': { 'x-y': 'int' } }
         { 'struct': 'Empty', 'data': {} }
         { 'union': 'U', 'base': { 'kind': 'Kind', 'id': 'str' }, 'discriminator': 'kind', 'data': { 'a': 'A', 'b': 'Empty' } }
         { 'alternate': 'Alt', 'data': { 'one': 'U', 'name': 'str', 'none': 'null' } }
         { 'event': 'HAPPENED', 'data': 'A' }
         { 'event': 'EMPTY' }`,
      ),
    );
    expect(text).toContain('export type Kind = "a" | "b" | "c" | (string & {});');
    expect(text).toContain("Unstable values: c.");
    expect(text).toContain('readonly "x-y": Int64');
    expect(text).toContain(
      '{ readonly id: string; } & ( | ({ readonly kind: "a" } & A) | { readonly kind: "b" | "c" } )',
    );
    expect(text).toContain("export type Alt = U | string | null;");
    expect(text).toContain("readonly EMPTY: Nothing; readonly HAPPENED: A;");
  });

  it("unites releases: what not all of them have is optional, and says so", () => {
    const older = model(
      "1.0",
      "{ 'command': 'set', 'data': { 'a': 'str', 'b': 'int32' } } { 'command': 'gone', 'features': ['unstable'] }",
    );
    const newer = model(
      "2.0",
      `{ 'struct': 'Args', 'data': { 'a': 'str', 'c': 'str' } }
       { 'command': 'set', 'data': 'Args', 'features': ['deprecated'] }`,
    );
    const text = emit(older, newer);
    expect(text).toContain("readonly a: string;");
    expect(text).toContain("readonly b?: number | undefined;");
    expect(text).toContain("readonly c?: string | undefined;");
    expect(text).toContain("Of QEMU 1.0 and 2.0 only in 1.0.");
    expect(text).toContain("@deprecated");
    expect(text).toContain("@experimental");
    expect(namesOf(mergeModels([older, newer]))).toEqual({
      versions: ["1.0", "2.0"],
      commands: { gone: [], set: ["a", "b", "c"] },
      results: {},
      events: {},
    });
  });

  it.each([
    ["{ 'command': 'x', ", "expected a value"],
    ["{ 'command' 'x' }", 'expected ":"'],
    ["{ command: 'x' }", "expected a token"],
    ["['x']", "expected an object"],
  ])("says where %s is wrong", (text, message) => {
    expect(() => model("1.0", text)).toThrow(message);
    expect(() => model("1.0", text)).toThrow(/main\.json:1/);
  });

  it("refuses types that nothing defines", () => {
    expect(() => emit(model("1.0", "{ 'command': 'x', 'returns': 'Nowhere' }"))).toThrow("Nowhere");
  });
});
