// libvirt's schemas and test data, and what its protocol is generated from, out of Debian's packages.
import { renameSync } from "node:fs";
import { join } from "node:path";
import { canFetchDebianSource, fetchDebianSource } from "./debian-source.mjs";
import { runCommand } from "./run-command.mjs";

/** The releases of libvirt that are looked at, oldest first. */
export const LIBVIRT_RELEASES = /** @type {const} */ ([
  { version: "9.0", release: "bookworm" },
  { version: "11.3", release: "trixie" },
]);

/** Whether this system has what it takes to fetch libvirt's sources. */
export const canFetchLibvirtSource = canFetchDebianSource;

/**
 * Where the sources of a Debian release are kept: `src/conf/schemas`, and the XML files below `tests`.
 *
 * @param {string} release
 * @param {string} cache
 */
export function libvirtSourceFolder(release, cache) {
  return join(cache, "libvirt-source", release);
}

/**
 * The folder of the sources, downloaded and unpacked unless they are there already.
 *
 * @param {string} release
 * @param {string} cache
 * @returns {Promise<string>}
 * @throws When apt knows no Debian archive or can't reach it.
 */
export function fetchLibvirtSource(release, cache) {
  const members = ["*/src/conf/schemas/*.rng", "*/tests/*.xml"];
  return fetchDebianSource({ name: "libvirt", release, members, target: libvirtSourceFolder(release, cache) });
}

/**
 * Where the sources of the protocol are kept: the C sources in `src/`, the description of the C interface in `api/`.
 *
 * @param {string} release
 * @param {string} cache
 */
export function libvirtProtocolFolder(release, cache) {
  return join(cache, "libvirt-protocol", release);
}

/**
 * The folder of the protocol's sources, downloaded and unpacked unless they are there already.
 *
 * @param {string} release
 * @param {string} cache
 * @returns {Promise<string>}
 * @throws When apt knows no Debian archive or can't reach it.
 */
export function fetchLibvirtProtocol(release, cache) {
  return fetchDebianSource({
    name: "libvirt",
    release,
    members: ["*/src/*.x", "*/src/*.c"],
    target: libvirtProtocolFolder(release, cache),
    complete: async (debian, folder, work) => {
      const development = join(work, "development");
      await runCommand(["dpkg-deb", "-x", await debian.binaryPackage("libvirt-dev"), development]);
      renameSync(join(development, "usr", "share", "libvirt", "api"), join(folder, "api"));
    },
  });
}
