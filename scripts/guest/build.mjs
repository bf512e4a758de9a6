// Builds the Linux guest that the demo and the tests boot: a distribution's kernel, and an initramfs of busybox, the QEMU guest
// agent and the scripts in rootfs/. The packages are unpacked, never installed; the result is kept in the cache.
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import zlib from "node:zlib";
import { cacheDirectory } from "../lib/cache-directory.mjs";
import { withExclusiveLock } from "../lib/exclusive-lock.mjs";
import { createLog } from "../lib/progress.mjs";
import { runCommand } from "../lib/run-command.mjs";
import { cpioArchive } from "./cpio.mjs";
import { DebianPackages, unpackPackages } from "./debian-packages.mjs";
import { neededLibraries } from "./elf.mjs";
import { modulesAlias, modulesDep, selectModules } from "./kernel-modules.mjs";

/**
 * @typedef {{
 *   directory: string, kernel: string, initrd: string, busybox: string, guestAgent: string, kernelVersion: string, packages: Record<string, string>,
 *   kernelArguments: string, memoryMiB: number,
 * }} TestGuest
 */

const here = fileURLToPath(new URL(".", import.meta.url));
/** Metapackages whose first dependency is the newest kernel for virtual machines: Debian's, then Ubuntu's. */
const KERNEL_METAPACKAGES = ["linux-image-cloud-amd64", "linux-image-virtual"];
const LIBRARY_DIRECTORIES = [
  "usr/lib/x86_64-linux-gnu",
  "lib/x86_64-linux-gnu",
  "usr/lib64",
  "lib64",
  "usr/lib",
  "lib",
];
const KEPT_BUILDS = 4;
const UNUSED_BUILD_MS = 30 * 86_400_000;

/** What the guest is best started with: the serial console, no chatter, a reboot after a panic, and no needless probing. */
export const KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 cryptomgr.notests";

/** Thrown where the guest can't be built or fetched; the message says why and what would help. */
export class GuestUnavailable extends Error {
  name = "GuestUnavailable";
}

/** Where the guests, and the packages that they are made of, are kept. */
export function guestCache() {
  const root = cacheDirectory();
  return {
    root,
    guests: join(root, "guest"),
    packages: join(root, "packages"),
    aptState: join(root, "apt"),
    lock: join(root, "guest.lock"),
  };
}

/** A hash of everything here that has a part in the Linux guest: the recipe, without the packages. */
export function recipeHash() {
  const hash = createHash("sha256");
  const files = readdirSync(here, { recursive: true, encoding: "utf8" }).filter(
    (path) => path !== "boot-sector.mjs" && statSync(join(here, path)).isFile(),
  );
  for (const path of files.sort())
    hash
      .update(`${path}\0`)
      .update(readFileSync(join(here, path)))
      .update("\0");
  return hash.digest("hex").slice(0, 12);
}

/**
 * The guest of this recipe, built if the cache has none. Two processes that ask at once build it once.
 *
 * @param {{ log?: import("../lib/progress.mjs").Log, refresh?: boolean }} [options]
 *   `refresh` asks the package archive whether there is a newer kernel; otherwise any build of this recipe will do.
 * @returns {Promise<TestGuest>}
 * @throws {GuestUnavailable} Where there is no apt, no package, or another processor architecture.
 */
export async function ensureTestGuest({ log = createLog(), refresh = false } = {}) {
  const recipe = recipeHash();
  const places = guestCache();
  const ready = refresh ? undefined : findBuild(places.guests, recipe);
  if (ready) return ready;
  refuseWhereImpossible();
  mkdirSync(places.guests, { recursive: true });
  return withExclusiveLock(
    places.lock,
    async () => (refresh ? undefined : findBuild(places.guests, recipe)) ?? (await build(places, recipe, log)),
    { onWait: () => log("Waiting for another process that builds the test guest") },
  );
}

function refuseWhereImpossible() {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new GuestUnavailable(
      `the test guest is made of amd64 packages; this is ${process.platform} on ${process.arch}`,
    );
  }
  const missing = DebianPackages.missingTools();
  if (missing.length > 0) {
    throw new GuestUnavailable(
      `the test guest is made of Debian or Ubuntu packages, and this system has no ${missing.join(", ")}; ` +
        "build it on such a system and point HYPERVISE_CACHE at a copy of its cache",
    );
  }
}

/** The newest whole build of a recipe; its time of change is when it was last asked for. */
function findBuild(directory, recipe) {
  if (!existsSync(directory)) return undefined;
  const builds = readdirSync(directory)
    .filter((name) => name.endsWith(`-${recipe}`))
    .map((name) => readBuild(join(directory, name)))
    .filter((guest) => guest !== undefined)
    .sort((a, b) => statSync(b.kernel).mtimeMs - statSync(a.kernel).mtimeMs);
  return builds[0];
}

/** @returns {TestGuest | undefined} */
function readBuild(directory) {
  const description = join(directory, "guest.json");
  if (!existsSync(description)) return undefined;
  try {
    const now = new Date();
    utimesSync(directory, now, now);
  } catch {
    // A cache that is shared read-only.
  }
  return {
    directory,
    kernel: join(directory, "vmlinuz"),
    initrd: join(directory, "initrd.gz"),
    busybox: join(directory, "busybox"),
    guestAgent: join(directory, "qemu-ga"),
    ...JSON.parse(readFileSync(description, "utf8")),
  };
}

async function build(places, recipe, log) {
  const startedAt = Date.now();
  removeAbandoned(places.root);
  log("Building the test guest from distribution packages (once; kept in the cache)");
  const archive = new DebianPackages({ directory: places.packages, state: places.aptState, log });
  const kernel = await findKernel(archive);
  const target = join(places.guests, `${kernel.image.name}_${kernel.image.version}-${recipe}`.replaceAll(/[:/]/g, "."));
  const existing = readBuild(target);
  if (existing) return existing;

  const work = mkdtempSync(join(places.root, "build-"));
  try {
    const userRecords = [...(await archive.lookUp(["qemu-guest-agent", "busybox-static"])).values()];
    const used = await archive.download([...kernel.records, ...userRecords]);
    const files = (records) => records.map(({ name }) => /** @type {string} */ (used.get(name)));
    log.progress?.("  unpacking");
    await unpackPackages(files(kernel.records), join(work, "kernel"));
    await unpackPackages(files(userRecords), join(work, "user"));
    const libraries = await collectLibraries(archive, userRecords, join(work, "user"), used);

    log.progress?.("  packing the initramfs");
    const { entries, absent } = await initramfs(work, kernel.version, libraries, archive);
    if (absent.length > 0) log(`  this kernel has no ${absent.join(", ")}, which the guest loads at its start`);
    const staged = join(work, "result");
    mkdirSync(staged);
    const description = {
      kernelVersion: kernel.version,
      packages: Object.fromEntries([...kernel.records, ...userRecords].map(({ name, version }) => [name, version])),
      kernelArguments: KERNEL_ARGUMENTS,
      // A distribution kernel that is not cut down for clouds needs more to unpack itself.
      memoryMiB: kernel.version.includes("cloud") ? 128 : 320,
    };
    copyFileSync(join(work, "kernel", "boot", `vmlinuz-${kernel.version}`), join(staged, "vmlinuz"));
    copyFileSync(findBusybox(join(work, "user")), join(staged, "busybox"));
    copyFileSync(join(work, "user", "usr/sbin/qemu-ga"), join(staged, "qemu-ga"));
    writeFileSync(join(staged, "initrd.gz"), zlib.gzipSync(cpioArchive(entries), { level: 9 }));
    writeFileSync(join(staged, "guest.json"), `${JSON.stringify(description, undefined, 2)}\n`);
    rmSync(target, { recursive: true, force: true });
    renameSync(staged, target);
    archive.keepOnly(used.values());
    removeUnused(places.guests);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  log(
    `Built the test guest: Linux ${kernel.version}, in ${((Date.now() - startedAt) / 1000).toFixed(1)} s (${target})`,
  );
  return /** @type {TestGuest} */ (readBuild(target));
}

async function findKernel(archive) {
  const metapackages = await archive.lookUp(KERNEL_METAPACKAGES, { enough: 1 });
  for (const name of KERNEL_METAPACKAGES) {
    const imageName = metapackages.get(name)?.depends.find((dependency) => /^linux-image-\d/.test(dependency));
    const image = imageName && (await archive.lookUp([imageName])).get(imageName);
    if (!image) continue;
    const modulesName = image.depends.find((dependency) => /^linux-modules-\d/.test(dependency));
    const records = modulesName ? [image, ...(await archive.lookUp([modulesName])).values()] : [image];
    return { image, records, version: image.name.replace(/^linux-image-/, "") };
  }
  throw new GuestUnavailable(
    `none of the kernel packages ${KERNEL_METAPACKAGES.join(", ")} is in this system's archive`,
  );
}

/**
 * The shared libraries of the guest agent, found by following what each file says it needs through the packages' dependencies.
 *
 * @returns {Promise<Map<string, Buffer>>} Path in the guest to content.
 */
async function collectLibraries(archive, userRecords, tree, used) {
  const seen = new Set();
  let frontier = userRecords.filter(({ name }) => name === "qemu-guest-agent");
  for (;;) {
    const { found, missing } = resolveLibraries(join(tree, "usr/sbin/qemu-ga"), tree);
    if (missing.length === 0) return found;
    const names = frontier.flatMap(({ depends }) => depends).filter((name) => /^lib/.test(name) && !seen.has(name));
    if (names.length === 0) throw new GuestUnavailable(`no package brings the guest agent's ${missing.join(", ")}`);
    for (const name of names) seen.add(name);
    frontier = [...(await archive.lookUp([...new Set(names)])).values()];
    // Where the missing libraries can be told by their packages' names (libpcre2-8.so.0 is in libpcre2-8-0), only those.
    const likely = frontier.filter(({ name }) =>
      missing.some((soname) => name.startsWith(soname.replace(/\.so.*$/, ""))),
    );
    const chosen = likely.length > 0 && seen.size > names.length ? likely : frontier;
    const files = await archive.download(chosen);
    for (const [name, file] of files) used.set(name, file);
    await unpackPackages(files.values(), tree);
  }
}

function resolveLibraries(program, tree) {
  const found = new Map();
  const missing = [];
  const queue = neededLibraries(readFileSync(program));
  const visited = new Set();
  for (let soname = queue.pop(); soname !== undefined; soname = queue.pop()) {
    if (visited.has(soname)) continue;
    visited.add(soname);
    const directory = LIBRARY_DIRECTORIES.find((candidate) => existsSync(join(tree, candidate, soname)));
    if (directory === undefined) {
      missing.push(soname);
      continue;
    }
    const content = readFileSync(join(tree, directory, soname));
    found.set(soname.startsWith("ld-linux") ? `lib64/${soname}` : `lib/x86_64-linux-gnu/${soname}`, content);
    queue.push(...neededLibraries(content));
  }
  // The program interpreter is not among the needed libraries of every program.
  const interpreter = "ld-linux-x86-64.so.2";
  const directory = LIBRARY_DIRECTORIES.find((candidate) => existsSync(join(tree, candidate, interpreter)));
  if (directory && missing.length === 0)
    found.set(`lib64/${interpreter}`, readFileSync(join(tree, directory, interpreter)));
  return { found, missing };
}

async function initramfs(work, kernelVersion, libraries, archive) {
  const user = join(work, "user");
  const busybox = findBusybox(user);
  /** @type {import("./cpio.mjs").CpioEntry[]} */
  const entries = ["dev", "proc", "sys", "run", "tmp", "mnt", "root", "var/run", "var/log", "usr/bin"].map((path) => ({
    path,
    type: "directory",
  }));
  entries.push({ path: "bin/busybox", type: "file", content: readFileSync(busybox), mode: 0o755 });
  const { stdout } = await runCommand([busybox, "--list"]);
  for (const applet of stdout.split("\n").filter((name) => name && name !== "busybox")) {
    entries.push({ path: `bin/${applet}`, type: "symlink", target: "/bin/busybox" });
  }
  // The guest agent and the kernel call these by their full paths.
  for (const applet of ["hwclock", "modprobe"]) {
    entries.push({ path: `sbin/${applet}`, type: "symlink", target: "/bin/busybox" });
  }
  entries.push({
    path: "usr/sbin/qemu-ga",
    type: "file",
    content: readFileSync(join(user, "usr/sbin/qemu-ga")),
    mode: 0o755,
  });
  for (const [path, content] of libraries) entries.push({ path, type: "file", content, mode: 0o755 });
  entries.push(...rootfsEntries());

  const tree = [join(work, "kernel/lib/modules"), join(work, "kernel/usr/lib/modules")]
    .map((directory) => join(directory, kernelVersion))
    .find((directory) => existsSync(directory));
  if (!tree) throw new GuestUnavailable(`the kernel package has no modules for ${kernelVersion}`);
  const listed = (list) =>
    readFileSync(join(here, "rootfs/etc", list), "utf8")
      .split("\n")
      .filter(Boolean);
  const atStart = listed("modules");
  const { modules, absent } = await selectModules(tree, [...atStart, ...listed("modules-on-demand")], (path) =>
    decompressModule(path, work, archive),
  );
  const modulesPath = `lib/modules/${kernelVersion}`;
  for (const { path, content } of modules) entries.push({ path: `${modulesPath}/${path}`, type: "file", content });
  entries.push({ path: `${modulesPath}/modules.dep`, type: "file", content: modulesDep(modules) });
  entries.push({ path: `${modulesPath}/modules.alias`, type: "file", content: modulesAlias(modules) });
  entries.push({
    path: `${modulesPath}/modules.builtin`,
    type: "file",
    content: readFileSync(join(tree, "modules.builtin")),
  });
  return { entries, absent: absent.filter((name) => atStart.includes(name)) };
}

function findBusybox(tree) {
  const path = ["usr/bin/busybox", "bin/busybox"].map((name) => join(tree, name)).find((name) => existsSync(name));
  if (!path) throw new GuestUnavailable("the package busybox-static has no busybox");
  return path;
}

/** The files of rootfs/; what is run is executable whatever the checkout made of file modes. */
function rootfsEntries() {
  const root = join(here, "rootfs");
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const path = relative(root, join(entry.parentPath ?? entry.path, entry.name));
      const content = readFileSync(join(root, path));
      const mode = path === "etc/shadow" ? 0o600 : content.subarray(0, 2).toString() === "#!" ? 0o755 : 0o644;
      return { path, type: /** @type {const} */ ("file"), content, mode };
    });
}

/**
 * Newer kernels' modules are compressed: Debian's with xz, which our busybox reads; Ubuntu's with zstd, for which an old Node needs
 * a program, unpacked like the rest.
 */
async function decompressModule(path, work, archive) {
  if (path.endsWith(".gz")) return zlib.gunzipSync(readFileSync(path));
  if (path.endsWith(".zst") && zlib.zstdDecompressSync) return zlib.zstdDecompressSync(readFileSync(path));
  const decompress = path.endsWith(".xz")
    ? [findBusybox(join(work, "user")), "xzcat"]
    : [await unpackedZstd(join(work, "tools"), archive), "-dc"];
  const plain = join(work, "module.ko");
  await runCommand(["sh", "-c", 'target=$1; shift; exec "$@" > "$target"', "sh", plain, ...decompress, path]);
  return readFileSync(plain);
}

async function unpackedZstd(tools, archive) {
  const program = join(tools, "usr/bin/zstd");
  if (!existsSync(program)) {
    const records = [...(await archive.lookUp(["zstd"])).values()];
    await unpackPackages((await archive.download(records)).values(), tools);
  }
  return program;
}

/** What builds that were killed have left; we hold the lock, so nobody is at work there. */
function removeAbandoned(root) {
  for (const name of readdirSync(root)) {
    if (name.startsWith("build-")) rmSync(join(root, name), { recursive: true, force: true });
  }
}

/** Other recipes' and older kernels' builds: all but a few, and those that nobody has asked for in a month. */
function removeUnused(directory) {
  const builds = readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => ({ path: join(directory, name), usedMs: statSync(join(directory, name)).mtimeMs }))
    .sort((a, b) => b.usedMs - a.usedMs);
  for (const [rank, { path, usedMs }] of builds.entries()) {
    if (rank >= KEPT_BUILDS || Date.now() - usedMs > UNUSED_BUILD_MS) rmSync(path, { recursive: true, force: true });
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const guest = await ensureTestGuest({ refresh: process.argv.includes("--refresh") });
  process.stdout.write(`${JSON.stringify(guest, undefined, 2)}\n`);
}
