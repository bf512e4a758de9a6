import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { repository } from "./support/consumer.js";

interface LockedPackage {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const text = readFileSync(join(repository, "package-lock.json"), "utf8");
const { packages } = JSON.parse(text) as { packages: Readonly<Record<string, LockedPackage>> };

/** Where the lock file puts what the package at `path` calls `name`, by Node's rule of the nearest node_modules. */
function locate(path: string, name: string): string | undefined {
  const places = path
    .split("/node_modules/")
    .map((_, depth, parts) => parts.slice(0, depth + 1).join("/node_modules/"));
  return ["", ...places.filter((place) => place !== "")]
    .reverse()
    .map((place) => (place === "" ? `node_modules/${name}` : `${place}/node_modules/${name}`))
    .find((candidate) => candidate in packages);
}

describe("package-lock.json", () => {
  it("names no registry", () => {
    expect(Object.entries(packages).filter(([, { resolved }]) => resolved !== undefined)).toEqual([]);
    expect(text.match(/https?:\/\/[^"]*\.tgz/g) ?? []).toEqual([]);
  });

  it("has a checksum for each package", () => {
    const unchecked = Object.entries(packages).filter(([path, entry]) => path !== "" && entry.integrity === undefined);
    expect(unchecked.map(([path]) => path)).toEqual([]);
  });

  // npm leaves out the packages of other platforms when it writes the file beside an existing node_modules, and then
  // refuses the file in `npm ci`.
  it("names the optional packages of every platform", () => {
    const missing = Object.entries(packages).flatMap(([path, entry]) =>
      Object.keys({ ...entry.dependencies, ...entry.optionalDependencies })
        .filter((name) => locate(path, name) === undefined)
        .map((name) => `${name}, of ${path}`),
    );
    expect(missing).toEqual([]);
  });
});
