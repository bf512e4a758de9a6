import { describe, expect, it } from "vitest";
import {
  SYSTEM_NEEDS,
  findCommand,
  installAdvice,
  isPresent,
  missingNeeds,
  packagesFor,
} from "../../../scripts/lib/system-packages.mjs";
import { writeFile } from "node:fs/promises";
import { withTemporaryDirectory } from "../../lab/temporary-directory.js";

const nothing = () => false;

describe("the table of system needs", () => {
  it("names each need once, and a Debian package for each", () => {
    const names = SYSTEM_NEEDS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const need of SYSTEM_NEEDS) expect(need.packages.apt, need.name).toMatch(/^[a-z0-9][a-z0-9+.-]+$/);
  });

  it("asks less of a demo than of the tests, and nothing that the tests do without", () => {
    const demo = missingNeeds("demo", nothing);
    const test = missingNeeds("test", nothing);
    expect(demo.length).toBeLessThan(test.length);
    expect(test).toEqual(expect.arrayContaining(demo));
    expect(missingNeeds("test", () => true)).toEqual([]);
  });
});

describe("findCommand", () => {
  it("finds executables, also in sbin when PATH lacks it, and nothing else", async () => {
    expect(findCommand("sh")).toMatch(/\/sh$/);
    expect(findCommand("sh", "")).toMatch(/\/sh$/);
    expect(findCommand("no-such-command-here")).toBeUndefined();
    await withTemporaryDirectory(async (directory) => {
      await writeFile(directory.file("plain"), "", { mode: 0o644 });
      expect(findCommand("plain", directory.path)).toBeUndefined();
      await writeFile(directory.file("tool"), "", { mode: 0o755 });
      expect(findCommand("tool", directory.path)).toBe(directory.file("tool"));
    });
  });
});

describe("isPresent", () => {
  it("takes any of several files", () => {
    const base = { name: "x", purpose: "x", groups: ["test"], packages: {} } as const;
    expect(isPresent({ ...base, probe: { file: ["/no/such/file", "/dev/null"] } })).toBe(true);
    expect(isPresent({ ...base, probe: { file: ["/no/such/file"] } })).toBe(false);
  });
});

describe("installAdvice", () => {
  const needs = missingNeeds("test", ({ name }) => !["qemu-system-x86_64", "qemu-img", "nft"].includes(name));

  it("is one command, with sudo for those who are not root", () => {
    const system = { name: "Debian", manager: "apt" } as const;
    const command = "apt-get install --no-install-recommends qemu-system-x86 qemu-utils nftables";
    expect(installAdvice(needs, system)).toContain(`  sudo ${command}`);
    expect(installAdvice(needs, system, { isRoot: true })).toContain(`  ${command}`);
  });

  it("names each package once, and says what a system can't have", () => {
    expect(packagesFor(needs, "brew")).toEqual(["qemu"]);
    const advice = installAdvice(needs, { name: "macOS", manager: "brew" });
    expect(advice).toContain("  brew install qemu");
    expect(advice.at(-1)).toBe("Not to be had here: nft");
  });

  it("still names what is missing where the package manager is unknown", () => {
    const advice = installAdvice(needs, { name: "Plan 9" }).join("\n");
    expect(advice).toContain("Missing on this system (Plan 9)");
    expect(advice).toContain("nft: the nftables firewall");
  });
});
