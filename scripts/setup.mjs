// Makes a fresh machine ready for the demo or the tests: npm dependencies, system packages, the test guest. Does nothing, quickly,
// where all is there. `node scripts/setup.mjs [--need=demo|test] [--no-guest] [--no-dependencies] [--no-install]`
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ensureBootDisk } from "./guest/boot-disk.mjs";
import { ensureBootSector } from "./guest/boot-sector.mjs";
import { GuestUnavailable } from "./guest/build.mjs";
import { aptInstall } from "./lib/apt-install.mjs";
import { cacheDirectory } from "./lib/cache-directory.mjs";
import { ensureDependencies } from "./lib/dependencies.mjs";
import { currentSystem } from "./lib/operating-system.mjs";
import { createLog } from "./lib/progress.mjs";
import { CommandFailed } from "./lib/run-command.mjs";
import { LIBVIRT_RELEASES, canFetchLibvirtSource, fetchLibvirtSource } from "./lib/libvirt-source.mjs";
import { findCommand, installAdvice, missingNeeds, packagesFor } from "./lib/system-packages.mjs";

/**
 * @typedef {{
 *   ready: boolean, installed: string[], missing: import("./lib/system-packages.mjs").SystemNeed[], advice: string[],
 *   guest?: import("./guest/build.mjs").TestGuest & { disk: string, bootSector: string }, guestProblem?: string,
 * }} SetupResult
 * `ready`: everything that was asked for is there. Otherwise `missing` and `guestProblem` say what is not, and `advice` is
 * what to print.
 */

/**
 * @param {{
 *   need?: import("./lib/system-packages.mjs").NeedGroup, log?: import("./lib/progress.mjs").Log, dependencies?: boolean,
 *   install?: boolean, guest?: boolean,
 * }} [options] `install: false`, or HYPERVISE_NO_INSTALL in the environment, leaves the system's packages alone even for root.
 * @returns {Promise<SetupResult>}
 * @throws When npm can't install the dependencies.
 */
export async function ensureSetup({
  need = "test",
  log = createLog(),
  dependencies = true,
  install = !process.env.HYPERVISE_NO_INSTALL,
  guest = true,
} = {}) {
  // A compiler among the system's packages lets npm build what it has no binary of.
  const { missing, installed, problem } = await ensureSystemPackages(need, log, install);
  const advice =
    missing.length > 0 ? installAdvice(missing, currentSystem(), { isRoot: process.getuid?.() === 0 }) : [];
  if (problem) advice.unshift(problem);
  if (dependencies) await ensureDependencies({ log });
  /** @type {SetupResult} */
  const result = { ready: missing.length === 0, installed, missing, advice };
  if (guest && missing.length === 0) Object.assign(result, await prepareGuest(log));
  if (need === "test" && canFetchLibvirtSource()) {
    const problem = await prepareLibvirtSource();
    if (problem) {
      result.ready = false;
      result.advice.push(problem);
    }
  }
  if (result.guestProblem) {
    result.ready = false;
    result.advice.push(result.guestProblem);
  }
  return result;
}

async function ensureSystemPackages(need, log, install) {
  const missing = missingNeeds(need);
  if (missing.length === 0) return { missing, installed: [] };
  const canInstall = process.getuid?.() === 0 && currentSystem().manager === "apt" && findCommand("apt-get");
  if (!install || !canInstall) return { missing, installed: [] };
  const packages = packagesFor(missing, "apt");
  try {
    await aptInstall(packages, { log, logDirectory: join(cacheDirectory(), "logs") });
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    return { missing: missingNeeds(need), installed: [], problem: `Installing packages failed: ${error.message}` };
  }
  log(`Installed ${packages.join(" ")}`);
  return { missing: missingNeeds(need), installed: packages };
}

async function prepareGuest(log) {
  try {
    return { guest: { ...(await ensureBootDisk({ log })), bootSector: ensureBootSector() } };
  } catch (error) {
    if (error instanceof GuestUnavailable) return { guestProblem: `No test guest: ${error.message}` };
    if (error instanceof CommandFailed) return { guestProblem: `The test guest could not be built: ${error.message}` };
    throw error;
  }
}

/** libvirt's own test data: thousands of documents to read and write. */
async function prepareLibvirtSource() {
  try {
    for (const { release } of LIBVIRT_RELEASES) await fetchLibvirtSource(release, cacheDirectory());
    return undefined;
  } catch (error) {
    return `No sources of libvirt: ${error instanceof Error ? error.message : String(error)}`;
  }
}

async function main(args) {
  const need = args.find((argument) => argument.startsWith("--need="))?.slice("--need=".length) ?? "test";
  if (need !== "demo" && need !== "test") {
    process.stderr.write("--need is demo or test\n");
    return 2;
  }
  const log = createLog();
  const result = await ensureSetup({
    need,
    log,
    guest: !args.includes("--no-guest"),
    dependencies: !args.includes("--no-dependencies"),
    ...(args.includes("--no-install") ? { install: false } : {}),
  });
  for (const line of result.advice) log(line);
  if (result.ready) log(`Ready for the ${need === "demo" ? "demo" : "tests"}.`);
  return result.ready ? 0 : 1;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
