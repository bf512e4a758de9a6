/** Gets QEMU's schema files out of a distribution's source package, with apt and a private configuration. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** The Debian archives that this machine's apt has the main component of. */
function archives(): string[] {
  const format = "$(REPO_URI)|$(COMPONENT)";
  const output = execFileSync("apt-get", ["indextargets", "--format", format, "Created-By: Packages"], {
    encoding: "utf8",
  });
  const lines = output.split("\n").filter((line) => line.endsWith("/debian/|main"));
  return [...new Set(lines.map((line) => line.slice(0, line.lastIndexOf("|"))))];
}

/** Downloads the source package of QEMU of a Debian release into a folder and unpacks its schema files. Returns their folder. */
export function fetchSource(release: string, folder: string): string {
  const target = join(folder, release);
  const sources = join(target, "schema");
  if (existsSync(join(sources, "qapi", "qapi-schema.json"))) return sources;
  for (const sub of ["lists/partial", "cache/archives/partial", "download", "schema"])
    mkdirSync(join(target, sub), { recursive: true });
  const list = join(target, "sources.list");
  const signed = existsSync(KEYRING) ? `[signed-by=${KEYRING}] ` : "";
  const lines = archives().map((uri) => `deb-src ${signed}${uri} ${release} main\n`);
  if (lines.length === 0) throw new Error("apt knows no Debian archive; give the folders with --from VERSION=FOLDER");
  writeFileSync(list, lines.join(""));
  const apt = (...args: string[]): void => {
    const options = {
      "Dir::Etc::sourcelist": list,
      "Dir::Etc::sourceparts": "/dev/null",
      "Dir::State::lists": join(target, "lists"),
      "Dir::Cache": join(target, "cache"),
      "APT::Sandbox::User": "root",
    };
    const flags = Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
    execFileSync("apt-get", [...flags, ...args], { cwd: join(target, "download"), stdio: "inherit" });
  };
  apt("update");
  apt("source", "--download-only", "qemu");
  const tarball = readdirSync(join(target, "download")).find((name) => /\.orig\.tar\.\w+$/.test(name));
  if (tarball === undefined) throw new Error("the source package holds no upstream tarball");
  const members = ["*/qapi/*.json", "*/qga/qapi-schema.json"];
  execFileSync("tar", [
    "-xf",
    join(target, "download", tarball),
    "-C",
    sources,
    "--strip-components=1",
    "--wildcards",
    ...members,
  ]);
  return sources;
}
