// Fetches and unpacks Debian packages without installing them: apt-get download and dpkg-deb, as any user. Where apt's own package
// lists are missing, lists of our own are fetched into the cache, and the system's are left as they are.
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findCommand } from "../lib/system-packages.mjs";
import { CommandFailed, runCommand } from "../lib/run-command.mjs";

/** @typedef {{ name: string, version: string, depends: string[] }} PackageRecord */

const LISTS_RECENT_MS = 6 * 3_600_000;

/**
 * The names in a Depends field: of alternatives the first, without version or architecture.
 *
 * @param {string} field
 * @returns {string[]}
 */
export function parseDepends(field) {
  return field
    .split(",")
    .map((group) => /^\s*([a-z0-9][a-z0-9+.-]*)/.exec(group)?.[1])
    .filter((name) => name !== undefined);
}

/**
 * @param {string} text What `apt-cache show` prints.
 * @returns {PackageRecord[]}
 */
export function parsePackageRecords(text) {
  return text
    .split(/\n\n+/)
    .map((paragraph) => {
      const field = (name) => new RegExp(`^${name}: (.*)$`, "m").exec(paragraph)?.[1] ?? "";
      return {
        name: field("Package"),
        version: field("Version"),
        depends: parseDepends([field("Pre-Depends"), field("Depends")].filter(Boolean).join(", ")),
      };
    })
    .filter(({ name, version }) => name && version);
}

export class DebianPackages {
  #directory;
  #state;
  #log;
  /** @type {string[]} */
  #options = ["-o", "APT::Sandbox::User=root"];
  #ownLists = false;

  /**
   * @param {{ directory: string, state: string, log: import("../lib/progress.mjs").Log }} options `directory` keeps the packages for
   *   the next time; `state` the package lists, where the system has none.
   */
  constructor({ directory, state, log }) {
    this.#directory = directory;
    this.#state = state;
    this.#log = log;
    mkdirSync(directory, { recursive: true });
  }

  /** The tools that are missing for this to work at all; empty on Debian and Ubuntu. */
  static missingTools() {
    return ["apt-get", "apt-cache", "dpkg-deb"].filter((command) => findCommand(command) === undefined);
  }

  /**
   * What the archive offers under these names; names that it does not have are left out.
   *
   * @param {readonly string[]} names
   * @param {{ enough?: number }} [options] With fewer answers than `enough` (by default, than names) the system's lists are taken
   *   for incomplete: without them apt knows only what is installed.
   * @returns {Promise<Map<string, PackageRecord>>}
   */
  async lookUp(names, { enough = new Set(names).size } = {}) {
    let records = await this.#show(names);
    if (records.size < enough && !this.#ownLists) {
      await this.#fetchOwnLists();
      records = await this.#show(names);
    }
    return records;
  }

  async #show(names) {
    const { stdout } = await runCommand(["apt-cache", ...this.#options, "show", "--no-all-versions", ...names], {
      check: false,
    });
    return new Map(parsePackageRecords(stdout).map((record) => [record.name, record]));
  }

  /**
   * Downloads the packages that are not here yet, in one go.
   *
   * @param {readonly PackageRecord[]} records
   * @returns {Promise<Map<string, string>>} Package name to .deb file.
   */
  async download(records) {
    const absent = records.filter((record) => this.#find(record) === undefined);
    if (absent.length > 0) {
      this.#log.progress?.(`  downloading ${absent.map(({ name }) => name).join(" ")}`);
      try {
        await this.#downloadOnce(absent);
      } catch (error) {
        if (!(error instanceof CommandFailed) || this.#ownLists) throw error;
        // The lists name a version that the archive has replaced.
        await this.#fetchOwnLists({ evenIfRecent: true });
        await this.#downloadOnce([...(await this.lookUp(absent.map(({ name }) => name))).values()]);
      }
    }
    return new Map(
      records.map((record) => {
        const file = this.#find(record) ?? this.#find({ ...record, version: "" });
        if (file === undefined) throw new Error(`apt-get download left no file for ${record.name}`);
        return [record.name, file];
      }),
    );
  }

  async #downloadOnce(records) {
    const requests = records.map(({ name, version }) => `${name}=${version}`);
    await runCommand(["apt-get", ...this.#options, "--quiet", "download", ...requests], {
      cwd: this.#directory,
      timeoutMs: 600_000,
    });
  }

  /** A version may hold a colon, which apt writes as %3a in file names. */
  #find({ name, version }) {
    const prefix = `${name}_${version.replaceAll(":", "%3a")}${version ? "_" : ""}`;
    const file = readdirSync(this.#directory).find((entry) => entry.startsWith(prefix) && entry.endsWith(".deb"));
    return file === undefined ? undefined : join(this.#directory, file);
  }

  /**
   * Removes every package from the cache but these.
   *
   * @param {Iterable<string>} files
   */
  keepOnly(files) {
    const kept = new Set(files);
    for (const entry of readdirSync(this.#directory)) {
      const path = join(this.#directory, entry);
      if (entry.endsWith(".deb") && !kept.has(path)) rmSync(path, { force: true });
    }
  }

  /** @param {{ evenIfRecent?: boolean }} [options] */
  async #fetchOwnLists({ evenIfRecent = false } = {}) {
    const state = this.#state;
    const fetchedAt = join(state, "fetched");
    for (const path of ["lists/partial", "cache/archives/partial"]) mkdirSync(join(state, path), { recursive: true });
    this.#options = [
      ...this.#options,
      "-o",
      `Dir::State::Lists=${join(state, "lists")}`,
      "-o",
      `Dir::Cache=${join(state, "cache")}`,
    ];
    this.#ownLists = true;
    if (!evenIfRecent && existsSync(fetchedAt) && Date.now() - statSync(fetchedAt).mtimeMs < LISTS_RECENT_MS) return;
    this.#log("  fetching package lists (into the cache; the system's stay as they are)");
    // Without this, apt-get says that all is well when it could fetch nothing.
    const update = ["-o", "APT::Update::Error-Mode=any", "--quiet", "update"];
    await runCommand(["apt-get", ...this.#options, ...update], { timeoutMs: 300_000 });
    writeFileSync(fetchedAt, "");
  }
}

/**
 * @param {Iterable<string>} files
 * @param {string} target
 */
export async function unpackPackages(files, target) {
  if (!existsSync(target)) mkdirSync(target, { recursive: true });
  for (const file of files) await runCommand(["dpkg-deb", "--extract", file, target], { timeoutMs: 120_000 });
}
