import { describe, expect, it } from "vitest";
import { identifySystem, parseOsRelease } from "../../../scripts/lib/operating-system.mjs";

describe("parseOsRelease", () => {
  it("unquotes values, and passes over comments and nonsense", () => {
    const text = [
      "# comment",
      'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"',
      "ID=debian",
      "ID_LIKE='rhel fedora'",
      'X="say \\"hi\\" for \\$5"',
      "nonsense",
      "",
    ].join("\n");
    expect(parseOsRelease(text)).toEqual({
      PRETTY_NAME: "Debian GNU/Linux 12 (bookworm)",
      ID: "debian",
      ID_LIKE: "rhel fedora",
      X: 'say "hi" for $5',
    });
  });
});

describe("identifySystem", () => {
  it.each([
    [{ ID: "debian" }, "apt"],
    [{ ID: "linuxmint", ID_LIKE: "ubuntu debian" }, "apt"],
    [{ ID: "fedora" }, "dnf"],
    [{ ID: "rocky", ID_LIKE: "rhel centos fedora" }, "dnf"],
    [{ ID: "arch" }, "pacman"],
    [{ ID: "opensuse-tumbleweed", ID_LIKE: "opensuse suse" }, "zypper"],
    [{ ID: "alpine" }, "apk"],
    [{ ID: "nixos" }, undefined],
    [{}, undefined],
  ] as const)("tells the package manager of %j", (osRelease, manager) => {
    expect(identifySystem("linux", osRelease).manager).toBe(manager);
  });

  it("knows systems without an os-release file", () => {
    expect(identifySystem("darwin", {})).toEqual({ name: "macOS", manager: "brew" });
    expect(identifySystem("win32", {})).toEqual({ name: "win32" });
    expect(identifySystem("linux", {})).toEqual({ name: "Linux" });
  });
});
