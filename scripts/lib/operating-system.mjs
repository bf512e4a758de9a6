// Which package manager a machine has, told from os-release and the platform.
import { existsSync, readFileSync } from "node:fs";

/** @typedef {"apt" | "dnf" | "pacman" | "zypper" | "apk" | "brew"} PackageManager */

/**
 * The fields of an os-release file, unquoted.
 *
 * @param {string} text
 * @returns {Record<string, string>}
 */
export function parseOsRelease(text) {
  const fields = {};
  for (const line of text.split("\n")) {
    const match = /^\s*([A-Z][A-Z0-9_]*)=(.*?)\s*$/.exec(line);
    if (!match) continue;
    const [, name, raw] = match;
    const quoted = /^"(.*)"$/.exec(raw) ?? /^'(.*)'$/.exec(raw);
    fields[name] = (quoted ? quoted[1] : raw).replace(/\\(["'$`\\])/g, "$1");
  }
  return fields;
}

const MANAGER_OF_FAMILY = {
  debian: "apt",
  ubuntu: "apt",
  fedora: "dnf",
  rhel: "dnf",
  centos: "dnf",
  arch: "pacman",
  suse: "zypper",
  opensuse: "zypper",
  alpine: "apk",
};

/**
 * @param {NodeJS.Platform} platform
 * @param {Record<string, string>} osRelease
 * @returns {{ name: string, manager?: PackageManager }}
 */
export function identifySystem(platform, osRelease) {
  if (platform === "darwin") return { name: "macOS", manager: "brew" };
  if (platform !== "linux") return { name: platform };
  const name = osRelease.PRETTY_NAME || osRelease.NAME || "Linux";
  const families = [osRelease.ID, ...(osRelease.ID_LIKE ?? "").split(/\s+/)].filter(Boolean);
  for (const family of families) {
    const manager = MANAGER_OF_FAMILY[family] ?? MANAGER_OF_FAMILY[family.split("-")[0]];
    if (manager) return { name, manager };
  }
  return { name };
}

/** @returns {{ name: string, manager?: PackageManager }} */
export function currentSystem() {
  for (const path of ["/etc/os-release", "/usr/lib/os-release"]) {
    if (existsSync(path)) return identifySystem(process.platform, parseOsRelease(readFileSync(path, "utf8")));
  }
  return identifySystem(process.platform, {});
}
