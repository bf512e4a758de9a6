/** Reads a RELAX NG schema with everything that it includes. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { readTree } from "../../src/libvirt/xml/read-tree.js";
import type { ParsedElement } from "../../src/libvirt/xml/xml-element.js";
import { XML_LIMITS } from "../../src/libvirt/xml/xml-limits.js";
import type { Grammar, Pattern } from "./pattern.js";

/** The patterns that a document may start with. */
export function readGrammar(file: string): Grammar {
  return grammarOf(root(file), dirname(file), "");
}

function root(file: string): ParsedElement {
  return readTree(readFileSync(file, "utf8"), XML_LIMITS);
}

function grammarOf(element: ParsedElement, folder: string, namespace: string): Grammar {
  const grammar: Grammar = { defines: new Map(), starts: [] };
  collect(element, { grammar, folder, namespace: element.attributes.ns ?? namespace }, new Set());
  return grammar;
}

interface Scope {
  readonly grammar: Grammar;
  readonly folder: string;
  readonly namespace: string;
}

/** Adds a grammar's definitions to the scope's, but for names that an including grammar overrides. */
function collect(element: ParsedElement, scope: Scope, overridden: ReadonlySet<string>): void {
  for (const child of elements(element)) {
    switch (child.name) {
      case "start":
        if (!overridden.has("start")) scope.grammar.starts.push(group(child, scope));
        break;
      case "define": {
        const name = attribute(child, "name");
        if (overridden.has(name)) break;
        const known = scope.grammar.defines.get(name) ?? [];
        scope.grammar.defines.set(name, [...known, group(child, scope)]);
        break;
      }
      case "div":
        collect(child, scope, overridden);
        break;
      case "include": {
        const inner = elements(child).map((c) => (c.name === "start" ? "start" : attribute(c, "name")));
        const included = root(join(scope.folder, attribute(child, "href")));
        const namespace = included.attributes.ns ?? scope.namespace;
        collect(included, { ...scope, namespace }, new Set([...overridden, ...inner]));
        collect(child, scope, overridden);
        break;
      }
      default:
        throw new Error(`<${child.name}> in a grammar`);
    }
  }
}

function group(element: ParsedElement, scope: Scope): Pattern {
  const members = elements(element).map((child) => patternOf(child, scope));
  return members.length === 1 ? members[0]! : { kind: "group", members };
}

function patternOf(element: ParsedElement, scope: Scope): Pattern {
  const namespace = element.attributes.ns ?? scope.namespace;
  const inner = { ...scope, namespace };
  switch (element.name) {
    case "element": {
      const { name, content } = named(element, inner);
      return { kind: "element", namespace, content, ...(name === undefined ? {} : { name }) };
    }
    case "attribute": {
      const { name, content } = named(element, inner);
      const isEmpty = content.kind === "group" && content.members.length === 0;
      return {
        kind: "attribute",
        content: isEmpty ? { kind: "text" } : content,
        ...(name === undefined ? {} : { name }),
      };
    }
    case "group":
      return group(element, inner);
    case "interleave":
    case "choice":
      return { kind: element.name, members: elements(element).map((child) => patternOf(child, inner)) };
    case "optional":
      return { kind: "choice", members: [group(element, inner), { kind: "empty" }] };
    case "zeroOrMore":
    case "oneOrMore":
      return { kind: "many", content: group(element, inner) };
    case "ref":
      return { kind: "ref", name: attribute(element, "name"), grammar: scope.grammar };
    case "value":
      return { kind: "value", value: text(element) };
    case "data": {
      const params = elements(element).filter((child) => child.name === "param");
      return {
        kind: "data",
        type: attribute(element, "type"),
        params: Object.fromEntries(params.map((param) => [attribute(param, "name"), text(param)])),
      };
    }
    case "text":
    case "empty":
    case "notAllowed":
      return { kind: element.name };
    case "grammar": {
      const nested = grammarOf(element, scope.folder, namespace);
      return { kind: "choice", members: nested.starts };
    }
    default:
      throw new Error(`<${element.name}> in a pattern`);
  }
}

/** The name of an element or attribute pattern, none for any name, and what else stands in it. */
function named(element: ParsedElement, scope: Scope): { name?: string; content: Pattern } {
  const children = elements(element).filter((child) => child.name !== "anyName");
  const content = group({ ...element, children }, scope);
  const { name } = element.attributes;
  if (name === undefined && children.length === elements(element).length) throw new Error("a pattern without a name");
  return name === undefined ? { content } : { name, content };
}

function elements(element: ParsedElement): ParsedElement[] {
  return element.children.filter((child): child is ParsedElement => typeof child !== "string");
}

function text(element: ParsedElement): string {
  return element.children
    .filter((child) => typeof child === "string")
    .join("")
    .trim();
}

function attribute(element: ParsedElement, name: string): string {
  const value = element.attributes[name];
  if (value === undefined) throw new Error(`<${element.name}> without ${name}`);
  return value;
}
