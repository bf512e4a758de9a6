/** The demo on real QEMU: the project's own test guest on a user-mode network, which needs no privileges. */
import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, open, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { isHyperviseError } from "hypervise";
import type { AttachedDisk, InstanceSpec, UserVif, VolumeConnection } from "hypervise";
import { KvmDriver } from "hypervise/kvm";
import type { AcceleratorChoice } from "hypervise/kvm";
import { createMacGenerator } from "hypervise/network";
import { DirectoryImageStore } from "hypervise/storage";
import { cacheDirectory } from "../lib/cache-directory.mjs";
import { ConsoleWatcher } from "./console-watcher.js";
import { hostLeftovers } from "./host-leftovers.js";
import type { Sighting, Stage } from "./stage.js";

export interface DemoGuest {
  /** A qcow2 image that boots by BIOS. */
  readonly disk: string;
  readonly memoryMiB: number;
}

const VOLUME_BYTES = 64 * 1024 * 1024;
/** What the state directory keeps from one run to the next: images, and what was found out about QEMU and the accelerator. */
const KEPT = ["images", "cache", "locks"];

const SIGHTINGS: Readonly<Record<Sighting, RegExp>> = {
  "nic added": /HV-UEVENT add net eth[1-9]\d*/,
  "nic removed": /HV-UEVENT remove net \S+/,
  "disk added": /HV-UEVENT add block (?!vda|sr|fd|loop|ram)\S+/,
  "disk removed": /HV-UEVENT remove block \S+/,
};

/** A directory of this user's that runs share, so that the second is quick; one of its own when another run has it. */
export async function openKvmStage(guest: DemoGuest, accelerator: AcceleratorChoice): Promise<Stage> {
  const shared = join(cacheDirectory(), "demo");
  try {
    return await KvmStage.open(shared, guest, accelerator);
  } catch (error) {
    if (!isHyperviseError(error) || !isHyperviseError(error.cause, "LOCKED")) throw error;
    return KvmStage.open(await mkdtemp(join(tmpdir(), "hypervise-demo-")), guest, accelerator, { temporary: true });
  }
}

class KvmStage implements Stage {
  readonly title = "KvmDriver on real QEMU";
  readonly driver: KvmDriver;
  readonly spec: InstanceSpec;
  readonly nic: UserVif;
  readonly volume: VolumeConnection;
  readonly searched = [
    "processes",
    "network interfaces",
    "UNIX sockets",
    "files that this process has open",
    "files of the state directory",
  ];
  readonly kept: readonly string[];
  readonly #directory: string;
  readonly #volumePath: string;
  readonly #guest: DemoGuest;
  readonly #images: DirectoryImageStore;
  readonly #temporary: boolean;
  #console: ConsoleWatcher | undefined;

  private constructor(directory: string, guest: DemoGuest, accelerator: AcceleratorChoice, temporary: boolean) {
    const uuid = randomUUID();
    const nextMac = createMacGenerator();
    const nic = (name: string, cidr: string): UserVif => ({
      type: "user",
      id: randomUUID(),
      macAddress: nextMac(),
      network: { id: name, subnets: [{ cidr }] },
    });
    this.#directory = directory;
    this.#guest = guest;
    this.#temporary = temporary;
    this.#volumePath = join(directory, "volumes", `${uuid}.raw`);
    this.#images = new DirectoryImageStore({ directory: join(directory, "images") });
    this.driver = new KvmDriver({ stateDirectory: directory, accelerator, collaborators: { images: this.#images } });
    this.kept = temporary
      ? []
      : [`the guest's image and what was found out about this host, for the next run (${directory})`];
    this.spec = {
      uuid,
      name: `demo-${uuid.slice(0, 8)}`,
      flavor: { vcpus: 1, memoryMiB: guest.memoryMiB, rootGiB: 0 },
      imageId: imageIdOf(guest),
      vifs: [nic("first", "10.0.2.0/24")],
    };
    this.nic = nic("second", "10.0.3.0/24");
    this.volume = {
      volumeId: `demo-${uuid.slice(0, 8)}`,
      type: "local",
      data: { path: this.#volumePath, format: "raw" },
    };
  }

  /** Opens the host, so that a directory that another run has is noticed here. */
  static async open(
    directory: string,
    guest: DemoGuest,
    accelerator: AcceleratorChoice,
    { temporary = false } = {},
  ): Promise<KvmStage> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const stage = new KvmStage(directory, guest, accelerator, temporary);
    try {
      await stage.driver.initHost();
      return stage;
    } catch (error) {
      await stage.driver.close();
      if (temporary) await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  async prepare(signal: AbortSignal): Promise<readonly string[]> {
    const { driver } = this;
    const { hypervisorVersion } = await driver.getAvailableResource({ signal });
    const lines = [`QEMU ${versionText(hypervisorVersion)}, guests run on ${acceleratorText(driver)}`];
    for (const instance of await driver.listInstances({ signal })) {
      // A demo that was killed outright has left its guest running, and we have just adopted it.
      await driver.destroy(instance, { signal });
      lines.push(`adopted and destroyed ${instance.name}, whose demo was killed`);
    }
    const id = imageIdOf(this.#guest);
    const known = await this.#images.list();
    for (const old of known.filter((image) => image.id !== id)) await this.#images.delete(old.id);
    if (!known.some((image) => image.id === id)) {
      await this.#images.import({ id, format: "qcow2", path: this.#guest.disk }, { signal });
      lines.push(`imported the guest's image as ${id}`);
    }
    await rm(dirname(this.#volumePath), { recursive: true, force: true });
    await mkdir(dirname(this.#volumePath), { recursive: true, mode: 0o700 });
    await writeFile(this.#volumePath, "", { mode: 0o600 });
    await truncate(this.#volumePath, VOLUME_BYTES);
    return lines;
  }

  async follow(signal: AbortSignal): Promise<void> {
    this.#console = await ConsoleWatcher.open(this.driver, this.spec, signal);
  }

  guestIsUp(signal: AbortSignal): Promise<string> {
    return this.#line(/HV-READY [^\r\n]*/, signal);
  }
  guestHasAddress(nic: number, signal: AbortSignal): Promise<string> {
    return this.#line(new RegExp(`HV-DHCP eth${nic} [^\\r\\n]*`), signal);
  }
  guestHasSeen(what: Sighting, signal: AbortSignal): Promise<string> {
    return this.#line(SIGHTINGS[what], signal);
  }

  async writeInGuest(disk: AttachedDisk, text: string, signal: AbortSignal): Promise<void> {
    await this.#inGuest(`printf '%s' '${text}' | dd of=/dev/${disk.deviceName} conv=notrunc && sync`, signal);
  }

  async showOnDisplay(text: string, signal: AbortSignal): Promise<void> {
    await this.#inGuest(
      `printf '\\033[2J\\033[H\\n  %s\\n\\n' '${text}' > /dev/tty1; uname -srm > /dev/tty1; ip -4 -o addr > /dev/tty1`,
      signal,
    );
  }

  async readOnHost(length: number): Promise<string> {
    const file = await open(this.#volumePath, "r");
    try {
      return (await file.read(Buffer.alloc(length), 0, length, 0)).buffer.toString();
    } finally {
      await file.close();
    }
  }

  leftovers(): Promise<readonly string[]> {
    return hostLeftovers(this.#directory, this.spec.uuid, [...KEPT, join("volumes", basename(this.#volumePath))]);
  }

  async dispose(): Promise<void> {
    this.#console?.close();
    await rm(this.#temporary ? this.#directory : dirname(this.#volumePath), { recursive: true, force: true });
  }

  #line(pattern: RegExp, signal: AbortSignal): Promise<string> {
    if (this.#console === undefined) throw new Error("nobody follows the guest's console yet");
    return this.#console.line(pattern, signal);
  }

  async #inGuest(script: string, signal: AbortSignal): Promise<void> {
    const { exitCode, stderr } = await this.driver.execInGuest(this.spec, ["/bin/sh", "-c", script], { signal });
    if (exitCode !== 0)
      throw new Error(`in the guest, a command ended with ${exitCode}: ${Buffer.from(stderr).toString().trim()}`);
  }
}

/** A build of the guest is a directory that holds all of it; another build is another image. */
function imageIdOf(guest: DemoGuest): string {
  return basename(dirname(guest.disk)).replaceAll(/[^A-Za-z0-9._-]/g, ".");
}

/** A version as a hypervisor tells it, 7002022, as people write it: 7.2.22. */
function versionText(version: number): string {
  return [Math.floor(version / 1_000_000), Math.floor(version / 1_000) % 1_000, version % 1_000].join(".");
}

/** What guests run on and why; QEMU's own words on it may be long. */
function acceleratorText({ accelerator }: KvmDriver): string {
  const reason = (accelerator?.reason ?? "").split("\n")[0] ?? "";
  return `${accelerator?.name.toUpperCase()} (${reason.length > 160 ? `${reason.slice(0, 159)}…` : reason})`;
}
