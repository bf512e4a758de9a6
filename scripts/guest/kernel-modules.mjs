// Picks kernel modules with all that they depend on out of an unpacked kernel package, and writes modprobe's tables for them.
import { readFileSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { moduleInfo } from "./elf.mjs";

/** @typedef {{ name: string, path: string, content: Buffer, requires: string[], aliases: string[] }} KernelModule */

const canonical = (name) => name.replaceAll("-", "_");

/**
 * @param {string} tree The directory that holds `kernel/` (that is, lib/modules/<version>).
 * @param {readonly string[]} wanted Names that the kernel may also have built in, or not have at all: those are left out.
 * @param {(path: string) => Promise<Buffer>} decompress Reads a compressed module.
 * @returns {Promise<{ modules: KernelModule[], absent: string[] }>} `absent`: neither a module here nor built in.
 */
export async function selectModules(tree, wanted, decompress) {
  const files = indexModules(tree);
  const builtIn = new Set(
    readFileSync(join(tree, "modules.builtin"), "utf8")
      .split("\n")
      .map((line) => canonical(basename(line, ".ko"))),
  );
  /** @type {Map<string, KernelModule>} */
  const chosen = new Map();
  const absent = [];
  const visit = async (name) => {
    if (chosen.has(name) || builtIn.has(name)) return;
    const file = files.get(name);
    if (file === undefined) {
      absent.push(name);
      return;
    }
    const compressed = !file.endsWith(".ko");
    const content = compressed ? await decompress(join(tree, file)) : readFileSync(join(tree, file));
    const info = moduleInfo(content);
    const requires = (info.get("depends") ?? [])
      .flatMap((list) => list.split(","))
      .filter(Boolean)
      .map(canonical);
    const path = file.replace(/\.ko(\.\w+)?$/, ".ko");
    chosen.set(name, { name, path, content, requires, aliases: info.get("alias") ?? [] });
    for (const required of requires) await visit(required);
  };
  for (const name of wanted) await visit(canonical(name));
  return { modules: [...chosen.values()], absent };
}

function indexModules(tree) {
  const files = new Map();
  for (const entry of readdirSync(join(tree, "kernel"), { recursive: true, encoding: "utf8" })) {
    const match = /([^/]+)\.ko(\.(xz|zst|gz))?$/.exec(entry);
    if (match) files.set(canonical(match[1]), join("kernel", entry));
  }
  return files;
}

/**
 * modules.dep: each module with everything it needs, the nearest first.
 *
 * @param {readonly KernelModule[]} modules
 * @returns {string}
 */
export function modulesDep(modules) {
  const byName = new Map(modules.map((module) => [module.name, module]));
  const closure = (module, seen) => {
    for (const name of module.requires) {
      const required = byName.get(name);
      if (!required) continue;
      // Deleting first moves a module that others need too behind them all.
      seen.delete(required);
      seen.add(required);
      closure(required, seen);
    }
    return seen;
  };
  return modules
    .map((module) => `${module.path}:${[...closure(module, new Set())].map(({ path }) => ` ${path}`).join("")}\n`)
    .join("");
}

/**
 * @param {readonly KernelModule[]} modules
 * @returns {string}
 */
export function modulesAlias(modules) {
  return modules.flatMap(({ name, aliases }) => aliases.map((alias) => `alias ${alias} ${name}\n`)).join("");
}
