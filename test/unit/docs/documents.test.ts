import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import * as main from "hypervise";
import * as fake from "hypervise/fake";
import * as kvm from "hypervise/kvm";
import * as network from "hypervise/network";
import * as qmp from "hypervise/qmp";
import * as storage from "hypervise/storage";
import * as testing from "hypervise/testing";
import {
  GENERATED_DOCUMENTS,
  errorClasses,
  timeoutInterfaces,
  timeoutTables,
  withGeneratedParts,
  withoutPadding,
} from "../../../scripts/docs/generated-parts.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const documents = [...readdirSync(root), ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)].filter(
  (name) => name.endsWith(".md"),
);

describe("generated parts of the documents", () => {
  it.each(GENERATED_DOCUMENTS)("%s says what the code says (npm run docs)", (path) => {
    const document = read(path);
    expect(withoutPadding(document)).toBe(withoutPadding(withGeneratedParts(document)));
  });

  it("refuses a part that is not known", () => {
    expect(() => withGeneratedParts("<!-- begin nothing, made by scripts/docs -->\n<!-- end nothing -->")).toThrow(
      /no generated part/,
    );
  });
});

/** Whether an exported value is a class of our errors. */
function isErrorClass(value: unknown): boolean {
  return (
    typeof value === "function" && (value as { readonly prototype?: unknown }).prototype instanceof main.HyperviseError
  );
}

describe("docs/errors.md", () => {
  const listed = [...errorClasses().values()].flat();
  const document = withoutPadding(read("docs/errors.md"));

  it("has every class of error that an entry point exports", () => {
    const exported = [main, fake, kvm, network, qmp, storage, testing]
      .flatMap((entry) => Object.entries(entry))
      .filter(([, value]) => isErrorClass(value))
      .map(([name]) => name);
    expect(listed.map(({ name }) => name)).toEqual(expect.arrayContaining([...new Set(exported)]));
  });

  it("has every code", () => {
    const withoutCode = listed.filter(({ code }) => code === "").map(({ name }) => name);
    expect(withoutCode).toEqual(["QmpError"]);
    expect(listed.filter(({ code }) => !document.includes(`\`${code}\``))).toEqual([]);
  });

  it("gives each code to one class", () => {
    const codes = listed.map(({ code }) => code).filter((code) => code !== "");
    expect(codes.filter((code, index) => codes.indexOf(code) !== index)).toEqual([]);
  });

  it("says of each class what it means", () => {
    expect(listed.filter(({ meaning }) => meaning.length < 20)).toEqual([]);
  });

  it("says of a new error whether to try again as the class does", () => {
    const retryable = new Map(listed.map((entry) => [entry.name, entry.retryable]));
    const samples = [
      new main.NoCapacityError("x"),
      new main.DeviceDetachError("x"),
      new main.ConflictError("x"),
      new main.BusyError("x"),
      new main.DeadlineExceededError({ operation: "x", timeoutMs: 1 }),
      new main.HypervisorUnavailableError("x"),
      new storage.DiskFullError("x"),
      new network.VifPlugError("x"),
    ];
    expect(samples.map((error) => [error.name, error.retryable])).toEqual(
      samples.map(({ name }) => [name, retryable.get(name) === "yes"]),
    );
  });
});

describe("docs/timeouts.md", () => {
  it("has every interface of waits that the sources declare", () => {
    const documented = Object.values(timeoutTables()).map(({ path, name }) => `${path} ${name}`);
    const declared = timeoutInterfaces().map(({ path, name }) => `${path} ${name}`);
    expect(documented.sort()).toEqual(declared.sort());
  });

  it("has every table once", () => {
    const parts = [...read("docs/timeouts.md").matchAll(/<!-- begin ([a-z-]+), made/g)].map(([, name]) => name);
    expect(parts.sort()).toEqual(Object.keys(timeoutTables()).sort());
  });
});

describe("docs/events.md", () => {
  it("has every type of event and every change", () => {
    const types = [
      "lifecycle",
      "instance",
      "device",
      "agent",
      "ioError",
      "connection",
      "overflow",
    ] satisfies readonly main.DriverEvent["type"][];
    const changes = [
      "spawned",
      "adopted",
      "destroyed",
      "migratedIn",
      "migratedOut",
      "attached",
      "detached",
      "detachFailed",
    ];
    const document = read("docs/events.md");
    expect([...types, ...changes].filter((word) => !document.includes(`\`${word}\``))).toEqual([]);
  });
});

describe("links between documents", () => {
  it.each(documents)("%s leads only to what is there", (path) => {
    const targets = [...read(path).matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g)].map((match) => match[1] ?? "");
    expect(targets.filter((target) => !existsSync(join(root, dirname(path), target)))).toEqual([]);
  });

  it("SPECIFICATION.md names tests that are there", () => {
    const named = [...read("SPECIFICATION.md").matchAll(/`((?:test|examples|bench)\/[^`]+)`/g)].map(
      (match) => match[1] ?? "",
    );
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  it("docs/README.md has every page", () => {
    const index = read("docs/README.md");
    const pages = documents
      .filter((name) => name.startsWith("docs/") && name !== "docs/README.md")
      .map((name) => relative("docs", name));
    expect(pages.filter((name) => !index.includes(`(${name})`))).toEqual([]);
  });
});
