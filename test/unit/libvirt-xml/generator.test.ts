import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { buildClasses } from "../../../scripts/generate-libvirt-xml/build-classes.js";
import type { ClassGraph, ElementClass } from "../../../scripts/generate-libvirt-xml/build-classes.js";
import { mergeClasses } from "../../../scripts/generate-libvirt-xml/merge-classes.js";
import { readGrammar } from "../../../scripts/generate-libvirt-xml/read-grammar.js";
import { temporaryDirectory } from "../../lab/temporary-directory.js";
import type { TemporaryDirectory } from "../../lab/temporary-directory.js";

let directory: TemporaryDirectory;

beforeEach(async () => {
  directory = await temporaryDirectory();
});

afterEach(() => directory.remove());

function write(name: string, body: string): string {
  const head = `<grammar xmlns="http://relaxng.org/ns/structure/1.0"`;
  writeFileSync(directory.file(name), `${head}>${body}</grammar>`);
  return directory.file(name);
}

/** The classes of a schema in which the element `a` is the root. */
function classesOf(...bodies: readonly string[]): ClassGraph {
  const patterns = bodies.flatMap((body, index) => readGrammar(write(`${index}.rng`, body)).starts);
  return mergeClasses(buildClasses(new Map([["kind", { element: "a", patterns }]])));
}

function rootOf(...content: readonly string[]): ElementClass {
  const graph = classesOf(...content.map((inside) => `<start><element name="a">${inside}</element></start>`));
  return graph.classes[graph.roots.get("kind")!.type]!;
}

const empty = (name: string): string => `<element name="${name}"><empty/></element>`;
const repeats = (type: ElementClass): Record<string, boolean> =>
  Object.fromEntries(type.children.map((child) => [child.name, child.repeats]));

describe("a class of elements", () => {
  it("has what any alternative has, and repeats what any alternative repeats", () => {
    const type = rootOf(`
      <choice>
        <group><attribute name="x"/>${empty("b")}</group>
        <interleave><attribute name="y"/><zeroOrMore>${empty("c")}</zeroOrMore>${empty("d")}<optional>${empty("d")}</optional></interleave>
      </choice>`);
    expect([...type.attributes.keys()]).toEqual(["x", "y"]);
    expect(repeats(type)).toEqual({ b: false, c: true, d: true });
  });

  it("does not repeat what only stands in several alternatives", () => {
    expect(repeats(rootOf(`<choice>${empty("b")}${empty("b")}</choice>`))).toEqual({ b: false });
    expect(repeats(rootOf(empty("b"), empty("b")))).toEqual({ b: false });
  });

  it("is laid together from all versions of a schema", () => {
    const type = rootOf(
      `<attribute name="x"><value>1</value></attribute>`,
      `<attribute name="x"><value>2</value></attribute>${empty("b")}`,
    );
    expect(type.attributes.get("x")).toEqual({ kind: "string", literals: ["1", "2"] });
    expect(repeats(type)).toEqual({ b: false });
  });

  it("has an order only where the schema has one and does not contradict itself", () => {
    expect(rootOf(`${empty("b")}${empty("c")}`).order).toEqual([["b", "c"]]);
    expect(rootOf(`<interleave>${empty("b")}${empty("c")}</interleave>`).order).toEqual([]);
    expect(rootOf(`${empty("b")}${empty("c")}`, `${empty("c")}${empty("b")}`).order).toEqual([]);
  });

  it("is one with its likes, also where they are within themselves", () => {
    const graph = classesOf(`
      <start><element name="a"><ref name="b"/><ref name="c"/></element></start>
      <define name="b"><element name="x"><optional><ref name="b"/></optional></element></define>
      <define name="c"><element name="y"><optional><element name="x"><optional><ref name="b"/></optional></element></optional></element></define>`);
    const [x, y] = graph.classes[graph.roots.get("kind")!.type]!.children;
    expect(x?.type).toBe(y?.type);
    expect(graph.classes).toHaveLength(2);
  });

  it("takes anything where the schema does", () => {
    const type = rootOf(`<zeroOrMore><element><anyName/><text/></element></zeroOrMore>`);
    expect(type).toMatchObject({ isOpen: true, children: [] });
  });
});

describe("a value", () => {
  const kindOf = (pattern: string): unknown => rootOf(`<attribute name="x">${pattern}</attribute>`).attributes.get("x");
  const data = (type: string, params = ""): string => `<data type="${type}">${params}</data>`;
  const param = (name: string, value: string): string => `<param name="${name}">${value}</param>`;

  it("is a number only where nothing else may stand", () => {
    expect(kindOf(data("unsignedInt"))).toEqual({ kind: "int", literals: [] });
    expect(kindOf(data("unsignedLong", param("pattern", "[0-9]+")))).toEqual({ kind: "int64", literals: [] });
    expect(kindOf(`<choice>${data("int")}<value>-1</value></choice>`)).toEqual({ kind: "int", literals: [] });
    expect(kindOf(`<choice>${data("int")}<value>auto</value></choice>`)).toEqual({
      kind: "string",
      literals: ["auto"],
    });
    expect(kindOf(`<choice>${data("int")}${data("string")}</choice>`)).toEqual({ kind: "string", literals: [] });
  });

  it("is a small number where its bounds say so", () => {
    const bounds = param("minInclusive", "0") + param("maxInclusive", "100");
    expect(kindOf(data("unsignedLong", bounds))).toEqual({ kind: "int", literals: [] });
  });

  it("is a text where leading zeros mean something", () => {
    expect(kindOf(data("unsignedInt", param("pattern", "[0-7]+")))).toEqual({ kind: "string", literals: [] });
  });

  it("is any text where the schema says nothing", () => {
    expect(rootOf(`<attribute name="x"/>`).attributes.get("x")).toEqual({ kind: "string", literals: [] });
  });
});

describe("a schema", () => {
  it("includes others, adds to their definitions and overrides them", () => {
    write(
      "common.rng",
      `<define name="b">${empty("b")}</define><define name="c"><notAllowed/></define><define name="d">${empty("d")}</define>`,
    );
    const type = rootOf("<empty/>");
    expect(type.children).toEqual([]);
    const graph = classesOf(`
      <start><element name="a"><ref name="b"/><ref name="c"/><ref name="d"/></element></start>
      <include href="common.rng"><define name="b">${empty("other")}</define></include>
      <define name="c" combine="choice">${empty("c")}</define>`);
    expect(Object.keys(repeats(graph.classes[graph.roots.get("kind")!.type]!))).toEqual(["other", "c", "d"]);
  });

  it("hands its namespaces down, and gives them their usual prefix", () => {
    const uri = "http://libvirt.org/schemas/domain/qemu/1.0";
    const graph = classesOf(
      `<start><element name="a"><element name="b" ns="${uri}">${empty("c")}</element></element></start>`,
    );
    const [b] = graph.classes[graph.roots.get("kind")!.type]!.children;
    expect(b?.name).toBe("qemu:b");
    expect(graph.classes[b!.type]!.children[0]?.name).toBe("qemu:c");
    expect([...graph.namespaces]).toEqual([["qemu", uri]]);
  });

  it.each([
    ["<start><mixed/></start>", "<mixed> in a pattern"],
    ["<start><element name='a'><ref name='b'/></element></start>", "nothing is defined as b"],
    ["<start><element name='b'><empty/></element></start>", "no document of kind kind starts with <a>"],
    ["<list/>", "<list> in a grammar"],
  ])("is refused when it has what is not understood: %s", (body, message) => {
    expect(() => classesOf(body)).toThrow(message);
  });
});
