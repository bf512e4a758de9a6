import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  diskXml,
  formatDeviceXml,
  formatDomainXml,
  formatXmlElement,
  parseDeviceXml,
  parseDomainXml,
  parseXmlElement,
} from "../../../src/libvirt/xml/index.js";
import type { XmlElement } from "../../../src/libvirt/xml/index.js";
import { anyCodePoint } from "../any-code-point.js";

const ILLEGAL = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u;
const nasty = fc.constantFrom(
  "&",
  "<",
  ">",
  '"',
  "'",
  "\n",
  "\r",
  "\t",
  " ",
  "]]>",
  "<!--",
  "&amp;",
  "&lt;",
  "&#65;",
  "&#x41;",
  "&;",
);
/** Any text that XML can hold. */
const text = fc
  .array(
    fc.oneof(nasty, fc.string({ unit: "grapheme", maxLength: 4 }), fc.string({ unit: anyCodePoint, maxLength: 3 })),
    {
      maxLength: 8,
    },
  )
  .map((parts) => parts.join(""))
  .filter((value) => !ILLEGAL.test(value));

describe("a value", () => {
  it("survives as an attribute and as a text, whatever it is", () => {
    fc.assert(
      fc.property(text, text, (attribute, content) => {
        const disk = diskXml({ target: attribute, source: { file: content }, serial: content });
        expect(parseDeviceXml("disk", formatDeviceXml("disk", disk))).toEqual({
          ...disk,
          serial: content,
        });
      }),
      { numRuns: 1_000 },
    );
  });

  it("can't make an element or attribute that was not there", () => {
    fc.assert(
      fc.property(text, (value) => {
        const written = formatDomainXml({
          name: value,
          metadata: { $content: [{ name: "m", attributes: { a: value } }] },
        });
        const tree = parseXmlElement(written);
        const shape = (element: XmlElement): unknown => [
          element.name,
          Object.keys(element.attributes ?? {}),
          (element.children ?? []).filter((child) => typeof child !== "string").map(shape),
        ];
        expect(shape(tree)).toEqual([
          "domain",
          [],
          [
            ["name", [], []],
            ["metadata", [], [["m", ["a"], []]]],
          ],
        ]);
      }),
      { numRuns: 1_000 },
    );
  });

  it("keeps its whitespace", () => {
    const description = "  two\n\tlines\r\n ";
    expect(parseDomainXml(formatDomainXml({ description, title: " " }))).toEqual({ description, title: " " });
  });

  it.each(["\u0000", "\u001b[2J", "\u0008", "\ud800", "\udfff", "\uffff"])(
    "is refused when XML can't hold it: %j",
    (value) => {
      expect(() => formatDomainXml({ devices: { disk: [{ source: { file: `a${value}` } }] } })).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", field: "domain.devices.disk[0].source.file" }),
      );
      expect(() => formatXmlElement({ name: "a", children: [value] })).toThrow(/element.children\[0\]/);
    },
  );
});

describe("a tree", () => {
  const name = fc.constantFrom("a", "b-c", "_d", "é", "__proto__", "xml.e");
  const { tree } = fc.letrec<{ tree: XmlElement }>((tie) => ({
    tree: fc.record({
      name,
      attributes: fc.dictionary(name, text, { maxKeys: 3 }),
      children: fc.array(fc.oneof({ depthSize: "small" }, text, tie("tree")), { maxLength: 4 }),
    }),
  }));

  it("is read as it was written", () => {
    fc.assert(
      fc.property(tree, fc.boolean(), (given, pretty) => {
        expect(plain(parseXmlElement(formatXmlElement(given, { pretty })))).toEqual(plain(given));
      }),
      { numRuns: 500 },
    );
  });

  /** Neighbouring texts are one, and empty ones none; between elements, whitespace is layout. */
  function plain(element: XmlElement): unknown {
    const children: unknown[] = [];
    for (const child of element.children ?? []) {
      const last = children.at(-1);
      if (typeof child !== "string") children.push(plain(child));
      else if (typeof last === "string") children[children.length - 1] = last + child;
      else if (child !== "") children.push(child);
    }
    const isLayout = children.every((child) => typeof child !== "string" || child.trim() === "");
    return {
      name: element.name,
      attributes: Object.entries(element.attributes ?? {}),
      children: isLayout && children.length > 1 ? children.filter((child) => typeof child !== "string") : children,
    };
  }

  it.each([
    [{ name: "a b" }, "element.name"],
    [{ name: "" }, "element.name"],
    [{ name: "a><b" }, "element.name"],
    [{ name: "a", attributes: { "b c": "" } }, 'element.attributes["b c"]'],
    [{ name: "a", attributes: { b: 1 } }, 'element.attributes["b"]'],
    [{ name: "a", children: [{ name: "b", children: [null] }] }, "element.children[0].children[0]"],
    [{ name: "a", children: "b" }, "element.children"],
    [{ name: "a", children: [{ name: "q:b" }] }, "a.q:b"],
  ])("is refused when it is none: %j", (given, field) => {
    expect(() => formatXmlElement(given as XmlElement)).toThrow(expect.objectContaining({ field }));
  });

  it("is refused when it is within itself", () => {
    const children: unknown[] = [];
    const circle = { name: "a", children };
    children.push(circle);
    expect(() => formatXmlElement(circle as XmlElement)).toThrow(/256 deep/);
  });
});
