/** Which releases of libvirt and QEMU the driver works with. */
import { traceMessage } from "../../../core/index.js";
import { HypervisorUnavailableError } from "../../../driver/index.js";
import { isLibvirtError } from "../../rpc/index.js";
import type { LibvirtClient } from "../../rpc/index.js";
import type { VirtType } from "../plan/index.js";

/** major * 1,000,000 + minor * 1,000 + micro: the release of Debian 12, the oldest that this driver is tested with. */
export const MIN_LIBVIRT_VERSION = 9_000_000;
/** The QEMU of Debian 12, counted in the same way. For guests of `qemu` and `kvm`. */
export const MIN_QEMU_VERSION = 7_002_000;
/** What a later release of this package will ask for. Older ones are told of on the channel `hypervise:libvirt:old-release`. */
export const NEXT_MIN_LIBVIRT_VERSION = 10_000_000;
export const NEXT_MIN_QEMU_VERSION = 8_002_000;

interface Release {
  readonly name: "libvirt" | "QEMU";
  readonly version: number;
  readonly least: number;
  readonly nextLeast: number;
}

/** @returns libvirt's version @throws HypervisorUnavailableError for a libvirt or a QEMU that is too old; LibvirtError */
export async function checkReleases(client: LibvirtClient, virtType: VirtType): Promise<number> {
  const version = Number(await client.getLibVersion());
  check({ name: "libvirt", version, least: MIN_LIBVIRT_VERSION, nextLeast: NEXT_MIN_LIBVIRT_VERSION });
  if (virtType !== "qemu" && virtType !== "kvm") return version;
  const qemu = await readQemuVersion(client);
  if (qemu !== undefined)
    check({ name: "QEMU", version: qemu, least: MIN_QEMU_VERSION, nextLeast: NEXT_MIN_QEMU_VERSION });
  return version;
}

/** `9.2.1` of 9002001. */
export function versionText(version: number): string {
  return `${Math.floor(version / 1_000_000)}.${Math.floor(version / 1_000) % 1_000}.${version % 1_000}`;
}

/** Of the emulator for the host's own architecture; undefined where there is none, so that libvirt can't say. */
async function readQemuVersion(client: LibvirtClient): Promise<number | undefined> {
  try {
    return Number(await client.getVersion());
  } catch (error) {
    if (isLibvirtError(error, "internal") || isLibvirtError(error, "notSupported")) return undefined;
    throw error;
  }
}

function check({ name, version, least, nextLeast }: Release): void {
  if (version < least)
    throw new HypervisorUnavailableError(
      `${name} ${versionText(version)} is older than ${versionText(least)}, the oldest that this driver works with`,
      { retryable: false, remedy: `Install ${name} ${versionText(least)} or newer.` },
    );
  if (version < nextLeast)
    traceMessage("hypervise:libvirt:old-release", () => ({
      name,
      version: versionText(version),
      nextLeast: versionText(nextLeast),
    }));
}
