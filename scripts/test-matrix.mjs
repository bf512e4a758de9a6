// `npm run test:matrix`: the integration and long tests with another release's QEMU, libvirt and tools, in a Debian system of
// their own below the cache directory, which is made on first use (a minute, 1 GB). Wants root, on Debian or what descends from it.
// `npm run test:matrix -- [--release trixie] [--project integration] [--minutes 120] [FILE…]` runs only the test files whose paths contain one
// of the words: `libvirt` those of the libvirt driver and its client.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { aptInstall } from "./lib/apt-install.mjs";
import { cacheDirectory } from "./lib/cache-directory.mjs";
import { ensureDependencies, projectRoot } from "./lib/dependencies.mjs";
import { createLog } from "./lib/progress.mjs";
import { runCommand } from "./lib/run-command.mjs";
import { runInherited } from "./lib/run-inherited.mjs";
import { findCommand, packagesFor, SYSTEM_NEEDS } from "./lib/system-packages.mjs";
import { ensureSetup } from "./setup.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    release: { type: "string", default: "trixie" },
    project: { type: "string", multiple: true, default: ["integration", "long"] },
    minutes: { type: "string", default: "120" },
  },
});
const { release, project: projects, minutes } = values;
if (!/^[a-z]+$/.test(release)) throw new Error(`no name of a Debian release: ${release}`);
if (!/^[1-9]\d{0,3}$/.test(minutes)) throw new Error(`no number of minutes: ${minutes}`);

/** What the tests need beside their packages, and minimal systems lack. */
const BESIDES = ["ca-certificates", "cpio", "curl", "iputils-ping", "kmod", "openssl", "procps"];
/** Parts of QEMU and SASL that later releases have packaged on their own; those that a release lacks are left out. */
const SPLIT_OFF = ["libsasl2-modules", "qemu-system-modules-spice", "virtiofsd"];
const LIBVIRT = ["network", "nwfilter", "storage", "nodedev", "secret", "interface", "lxc"].map(
  (driver) => `libvirt-daemon-driver-${driver}`,
);
const DIRECTORIES = ["/proc", "/sys", "/dev"];
const NODE = "/usr/local/bin/node";
/** What timeout(1) ends with. */
const TIMED_OUT = 124;

const log = createLog();
const root = join(cacheDirectory(), "releases", release);
const mark = join(root, ".complete");

/** The archive that this machine's own packages come from. */
async function archive() {
  const { stdout } = await runCommand(["apt-get", "indextargets", "--format", "$(REPO_URI)"]);
  const found = stdout.split("\n").find((line) => line.includes("debian/") && !line.includes("security"));
  if (found === undefined) throw new Error("apt-get names no Debian archive; is this a Debian system?");
  return found;
}

async function ensureSystem() {
  const made = existsSync(mark);
  if (!made) await bootstrap();
  const there = made ? new Set(readFileSync(mark, "utf8").split("\n")) : new Set();
  const wanted = [...new Set([...packagesFor(SYSTEM_NEEDS, "apt"), ...LIBVIRT, ...BESIDES, ...SPLIT_OFF])];
  if (wanted.every((name) => there.has(name))) return;
  const apt = (...words) => ["chroot", root, "apt-get", "--yes", ...words];
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C.UTF-8" };
  if (made) await runCommand(apt("update"), { env, timeoutMs: 300_000 });
  const known = async (name) =>
    (await runCommand(["chroot", root, "apt-cache", "show", name], { check: false })).code === 0;
  const splitOff = [];
  for (const name of SPLIT_OFF) if (await known(name)) splitOff.push(name);
  const packages = [...wanted.filter((name) => !SPLIT_OFF.includes(name)), ...splitOff];
  log(`Installing what is not there yet of ${packages.length} packages`);
  await runCommand(apt("install", "--no-install-recommends", ...packages), { env, timeoutMs: 1_800_000 });
  writeFileSync(mark, wanted.join("\n"));
}

async function bootstrap() {
  if (!findCommand("debootstrap"))
    await aptInstall(["debootstrap"], { log, logDirectory: join(cacheDirectory(), "logs") });
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root, { recursive: true });
  log(`Making a minimal Debian ${release} in ${root}`);
  await runCommand(["debootstrap", "--variant=minbase", release, root, await archive()], { timeoutMs: 900_000 });
  writeFileSync(join(root, "usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n", { mode: 0o755 });
}

/** A shell script's words that make the system our root, with this project, its cache and this Node in it. */
function enter() {
  const shared = [projectRoot, cacheDirectory()];
  return [
    "set -e",
    'mount --bind "$ROOT" "$ROOT"',
    ...DIRECTORIES.map((directory) => `mount --rbind ${directory} "$ROOT${directory}"`),
    ...shared.flatMap((_, index) => [
      `mkdir -p "$ROOT$SHARED${index}"`,
      `mount --bind "$SHARED${index}" "$ROOT$SHARED${index}"`,
    ]),
    `touch "$ROOT${NODE}"`,
    `mount --bind "$NODE" "$ROOT${NODE}"`,
    'exec chroot "$ROOT" /bin/sh -c \'cd "$SHARED0" && exec "$@"\' sh "$@"',
  ].join("\n");
}

function environment() {
  return {
    ...process.env,
    TMPDIR: "/tmp",
    ROOT: root,
    SHARED0: projectRoot,
    SHARED1: cacheDirectory(),
    NODE: process.execPath,
    HYPERVISE_CACHE: cacheDirectory(),
    HYPERVISE_NO_INSTALL: "1",
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  };
}

if (process.getuid?.() !== 0) {
  console.error("The tests with another release's programs want root.");
  process.exit(2);
}
await ensureDependencies({ log });
// The test guest is this machine's own; both releases boot the same one.
const { ready, advice } = await ensureSetup({ need: "test", log });
if (!ready) throw new Error(advice.join("\n"));
await ensureSystem();
// The sandbox takes all that runs in it along when it is told to end.
const limit = ["--foreground", "--kill-after=60", `${minutes}m`];
const inside = (argv) =>
  runInherited("timeout", [...limit, "unshare", "--mount", "sh", "-c", enter(), "sh", ...argv], { env: environment() });
await inside(["sh", "-c", "qemu-system-x86_64 --version | head -n 1; libvirtd --version"]);
const chosen = projects.flatMap((project) => ["--project", project]);
const vitest = [NODE, "node_modules/vitest/vitest.mjs", "run", ...chosen, ...positionals];
const exitCode = await inside([NODE, "scripts/in-sandbox.mjs", "--strict", "--", ...vitest]);
if (exitCode === TIMED_OUT) console.error(`The tests were not through after ${minutes} minutes.`);
process.exitCode = exitCode;
