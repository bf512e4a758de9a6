// Downloads packages of any Debian release, with apt and a private configuration: this system's own is neither used nor changed.
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runCommand } from "./run-command.mjs";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/**
 * Prepares a release for downloading.
 *
 * @param {string} release `bookworm`, `trixie`
 * @param {string} work A directory for apt's lists and for what is downloaded; the caller removes it.
 * @throws When apt knows no Debian archive or can't reach it.
 */
export async function openDebianRelease(release, work) {
  for (const sub of ["lists/partial", "cache/archives/partial", "download"]) {
    mkdirSync(join(work, sub), { recursive: true });
  }
  const list = join(work, "sources.list");
  const signed = existsSync(KEYRING) ? `[signed-by=${KEYRING}] ` : "";
  const uris = await archives();
  if (uris.length === 0) throw new Error("apt knows no Debian archive");
  const lines = uris.flatMap((uri) => ["deb", "deb-src"].map((kind) => `${kind} ${signed}${uri} ${release} main\n`));
  writeFileSync(list, lines.join(""));
  const downloads = join(work, "download");
  const apt = (...args) => {
    const options = {
      "Dir::Etc::sourcelist": list,
      "Dir::Etc::sourceparts": "/dev/null",
      "Dir::State::lists": join(work, "lists"),
      "Dir::Cache": join(work, "cache"),
      "APT::Sandbox::User": "root",
      "APT::Update::Error-Mode": "any",
    };
    const flags = Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
    return runCommand(["apt-get", "--quiet", ...flags, ...args], { cwd: downloads, timeoutMs: 600_000 });
  };
  /** @param {RegExp} pattern */
  const downloaded = (pattern) => {
    const name = readdirSync(downloads).find((entry) => pattern.test(entry));
    if (name === undefined) throw new Error(`apt downloaded nothing that is called like ${pattern}`);
    return join(downloads, name);
  };
  await apt("update");
  return {
    /**
     * The upstream tarball of a source package.
     *
     * @param {string} name
     */
    async upstreamTarball(name) {
      await apt("source", "--download-only", "--tar-only", name);
      return downloaded(new RegExp(`^${name}_.*\\.orig\\.tar\\.\\w+$`));
    },
    /**
     * A binary package.
     *
     * @param {string} name
     */
    async binaryPackage(name) {
      await apt("download", name);
      return downloaded(new RegExp(`^${name}_.*\\.deb$`));
    },
  };
}

/** The Debian archives that this machine's apt has the main component of. */
async function archives() {
  const format = "$(REPO_URI)|$(COMPONENT)";
  const { stdout } = await runCommand(["apt-get", "indextargets", "--format", format, "Created-By: Packages"]);
  const lines = stdout.split("\n").filter((line) => line.endsWith("/debian/|main"));
  return [...new Set(lines.map((line) => line.slice(0, line.lastIndexOf("|"))))];
}
