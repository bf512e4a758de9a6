import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { XmlError, parseDomainXml, parseXml, parseXmlElement } from "../../../src/libvirt/xml/index.js";
import type { XmlErrorReason } from "../../../src/libvirt/xml/index.js";

function refusal(text: string, limits = {}): XmlError {
  try {
    parseXmlElement(text, { limits });
  } catch (error) {
    if (error instanceof XmlError) return error;
    throw error;
  }
  throw new Error(`not refused: ${text.slice(0, 80)}`);
}

describe("a hostile document", () => {
  const documents: readonly (readonly [XmlErrorReason, string])[] = [
    ["doctype", `<!DOCTYPE d [<!ENTITY a "aaaa">]><d>&a;</d>`],
    ["doctype", `<!DOCTYPE d SYSTEM "file:///etc/passwd"><d/>`],
    ["entity", "<d>&xxe;</d>"],
    ["entity", `<d a="&xxe;"/>`],
    ["syntax", ""],
    ["syntax", "   "],
    ["syntax", "text"],
    ["syntax", "<d>"],
    ["syntax", "<d><e></d></e>"],
    ["syntax", "</d>"],
    ["syntax", "<d/><d/>"],
    ["syntax", "<d/>text"],
    ["syntax", "text<d/>"],
    ["syntax", "<d a='1' a='2'/>"],
    ["syntax", "<d a=1/>"],
    ["syntax", "<d a/>"],
    ["syntax", "<d a='1'b='2'/>"],
    ["syntax", "<d a='<'/>"],
    ["syntax", "<d a='1/>"],
    ["syntax", "<d>]]></d>"],
    ["syntax", "<d>&</d>"],
    ["syntax", "<d>&#0;</d>"],
    ["syntax", "<d>&#xD800;</d>"],
    ["syntax", "<d>&#x110000;</d>"],
    ["syntax", "<d>&#99999999999999999999;</d>"],
    ["syntax", "<d>&lt</d>"],
    ["syntax", "<d>\u0000</d>"],
    ["syntax", "<d>\u0008</d>"],
    ["syntax", "<d>\ud800</d>"],
    ["syntax", "<d>\uffff</d>"],
    ["syntax", "<1d/>"],
    ["syntax", "<d:/>"],
    ["syntax", "<:d/>"],
    ["syntax", "<a:b:c/>"],
    ["syntax", "< d/>"],
    ["syntax", "<d / >"],
    ["syntax", "<!-- a -- b --><d/>"],
    ["syntax", "<!-- <d/>"],
    ["syntax", "<![CDATA[x]]><d/>"],
    ["syntax", "<d><![CDATA[x</d>"],
    ["syntax", "<d/><?xml version='1.0'?>"],
    ["syntax", " <?xml version='1.0'?><d/>"],
    ["syntax", "<?xml version='2.0'?><d/>"],
    ["syntax", "<?pi <d/>"],
    ["syntax", "<!ELEMENT d ANY><d/>"],
  ];

  it.each(documents)("is refused: %s, %s", (reason, text) => {
    const error = refusal(text);
    expect(error).toMatchObject({ code: "XML_INVALID", reason });
    expect(error.position.offset).toBeLessThanOrEqual(text.length);
  });

  it("is refused with the place of what is wrong", () => {
    expect(refusal("<d>\r\n  <e a='1'\n     a='2'/>\n</d>").position).toEqual({ line: 3, column: 6, offset: 20 });
    expect(refusal("<d>\n</e>")).toMatchObject({ message: "XML, line 2, column 1: <d> ended by </e>" });
  });

  it("is refused when it is too large, too deep, or has too many elements or attributes", () => {
    const deep = (levels: number): string => "<a>".repeat(levels) + "</a>".repeat(levels);
    const wide = (count: number): string => `<a>${"<b/>".repeat(count - 1)}</a>`;
    const attributes = (count: number): string =>
      `<a ${Array.from({ length: count }, (_, i) => `a${i}=''`).join(" ")}/>`;
    expect(refusal(deep(4), { maxDepth: 3 }).reason).toBe("limit");
    expect(refusal(deep(257)).reason).toBe("limit");
    expect(refusal(wide(11), { maxElements: 10 }).reason).toBe("limit");
    expect(refusal(wide(100_001)).reason).toBe("limit");
    expect(refusal(attributes(257)).reason).toBe("limit");
    expect(refusal("<a>€€</a>", { maxBytes: 12 }).reason).toBe("limit");
    expect(refusal(`<a>${"x".repeat(4_194_304)}</a>`).reason).toBe("limit");
    for (const [text, limits] of [
      [deep(256), {}],
      [wide(10), { maxElements: 10 }],
      [attributes(256), {}],
      ["<a>€€</a>", { maxBytes: 13 }],
    ] as const) {
      expect(parseXmlElement(text, { limits }).name).toBe("a");
    }
  });

  it("is refused when the limits are none", () => {
    expect(() => parseXmlElement("<a/>", { limits: { maxDepth: 100_000 } })).toThrow(/limits.maxDepth/);
    expect(() => parseXmlElement("<a/>", { limits: { maxBytes: -1 } })).toThrow(/limits.maxBytes/);
  });

  it("is refused when it is another kind than was asked for", () => {
    expect(() => parseDomainXml("<!-- a --><network/>")).toThrow("the root is <network>, not libvirt's <domain>");
    expect(() => parseDomainXml("<domain xmlns='urn:other'/>")).toThrow(XmlError);
    expect(() => parseXml("constructor" as "domain", "<a/>")).toThrow(/kind/);
  });

  it("is never anything but a tree or an XmlError, whatever its text", () => {
    const pieces = fc.constantFrom(
      ..."<>/?!-='\"&;#[] \n\r\tabx:10".split(""),
      "<a>",
      "</a>",
      "<a b='",
      "<!--",
      "-->",
      "<![CDATA[",
      "]]>",
      "&amp;",
      "&#",
      "<?xml version='1.0'?>",
      "<!DOCTYPE",
      "\u0000",
      "\ud83d",
      "😀",
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
        try {
          return typeof parseXmlElement(parts.join("")).name === "string";
        } catch (error) {
          return error instanceof XmlError;
        }
      }),
      { numRuns: 3_000 },
    );
  });
});

describe("a document that is only unusual", () => {
  it("is read as XML says", () => {
    const text = `\uFEFF<?xml version="1.0" encoding="UTF-8"?>\r\n<!-- c --><?pi x?><d  a = 'x\ty\r\nz'\tb="&quot;&apos;&#10;&#x41;"\n>
      &lt;<![CDATA[<&]]>&amp;lt;&amp;#65;<!-- d -->]]&gt;</d ><!-- e -->\n`;
    expect(parseXmlElement(text)).toEqual({
      name: "d",
      attributes: { a: "x y z", b: `"'\nA` },
      children: ["\n      <<&&lt;&#65;]]>"],
    });
  });

  it("may have the names of what every object has", () => {
    const tree = parseXmlElement(`<__proto__ __proto__="1" constructor="2"><toString/></__proto__>`);
    expect(Object.keys(tree.attributes ?? {})).toEqual(["__proto__", "constructor"]);
    expect(Object.getPrototypeOf(tree.attributes)).toBe(Object.prototype);
    const domain = parseDomainXml(`<domain constructor="a" __proto__="b"><__proto__ c="d"/><hasOwnProperty/></domain>`);
    expect(Object.entries(domain.$attributes ?? {})).toEqual([
      ["constructor", "a"],
      ["__proto__", "b"],
    ]);
    expect({ ...domain, $attributes: undefined }).toEqual({
      $content: [
        { name: "__proto__", attributes: { c: "d" }, children: [] },
        { name: "hasOwnProperty", attributes: {}, children: [] },
      ],
      $attributes: undefined,
    });
    expect(({} as { c?: string }).c).toBeUndefined();
  });
});
