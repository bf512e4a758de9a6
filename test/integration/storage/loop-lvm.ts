// A volume group of real LVM on a loop device. Where the kernel has no device mapper, LVM keeps its books as ever and maps nothing;
// then each volume is mapped by a loop device of its own, at the place where LVM has put it.
import { mkdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { systemCommandRunner } from "../../../src/host/index.js";
import type { CommandOptions, CommandResult, CommandRunner } from "../../../src/host/index.js";
import { run } from "../../lab/index.js";

const MIB = 1024 * 1024;
const EXTENT = 4 * MIB;
const CHANGES = new Set(["lvcreate", "lvextend", "lvremove", "lvrename"]);

interface Mapping {
  readonly start: number;
  readonly extents: number;
  readonly device: string;
}

export class LoopVolumeGroup implements CommandRunner, AsyncDisposable {
  readonly name = `hvtest${process.pid}`;
  /** To be given to every LVM command: it sees this device only. */
  readonly config: string;
  readonly deviceDirectory: string;
  readonly #file: string;
  readonly #device: string;
  readonly #slotExtents: number;
  readonly #mapped = new Map<string, Mapping>();

  private constructor(root: string, file: string, device: string, slotExtents: number) {
    this.#slotExtents = slotExtents;
    this.#file = file;
    this.#device = device;
    this.deviceDirectory = join(root, "dev");
    const filter = `["a|^${device}$|","r|.*|"]`;
    this.config = [
      `devices { filter=${filter} global_filter=${filter} use_devicesfile=0 hints="none" }`,
      `global { activation=0 event_activation=0 use_lvmpolld=0 system_id_source="none" locking_dir="${root}/locks" }`,
      "backup { backup=0 archive=0 }",
    ].join(" ");
  }

  /** @param slotBytes How far apart volumes are put, so that there is room behind each for it to grow. */
  static async create(root: string, sizeBytes: number, slotBytes = 32 * MIB): Promise<LoopVolumeGroup> {
    const file = join(root, "volumes.img");
    await run(["truncate", "-s", String(sizeBytes), file]);
    const device = (await run(["losetup", "--find", "--show", file])).trim();
    const group = new LoopVolumeGroup(root, file, device, slotBytes / EXTENT);
    try {
      await mkdir(join(group.deviceDirectory, group.name), { recursive: true });
      await mkdir(join(root, "locks"));
      await group.#lvm(["pvcreate", "--quiet", device]);
      await group.#lvm(["vgcreate", "--quiet", "--physicalextentsize", `${EXTENT}b`, group.name, device]);
      return group;
    } catch (error) {
      await group[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** As on any host, but that what LVM has changed is mapped. */
  async run(argv: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    const change = argv[0] === "lvm" && CHANGES.has(argv[1] ?? "");
    const placed = argv[1] === "lvcreate" ? [...argv, `${this.#device}:${await this.#freeSlot()}-`] : argv;
    const result = await systemCommandRunner.run(placed, options);
    if (change) await this.#map();
    return result;
  }

  async volumes(): Promise<string[]> {
    return [...(await this.#places()).keys()].sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { device } of this.#mapped.values()) await run(["losetup", "--detach", device]);
    await run(["losetup", "--detach", this.#device]);
    await rm(this.#file, { force: true });
  }

  async #lvm(words: readonly string[]): Promise<string> {
    const [command = "", ...rest] = words;
    return run(["lvm", command, "--config", this.config, ...rest]);
  }

  async #freeSlot(): Promise<number> {
    const places = [...(await this.#places()).values()];
    for (let slot = 0; ; slot += this.#slotExtents)
      if (!places.some(({ start, extents }) => start < slot + this.#slotExtents && slot < start + extents)) return slot;
  }

  async #places(): Promise<Map<string, { start: number; extents: number }>> {
    const columns = "lv_name,pvseg_start,pvseg_size";
    const text = await this.#lvm([
      "pvs",
      "--segments",
      "--noheadings",
      "--separator",
      " ",
      "--options",
      columns,
      this.#device,
    ]);
    const rows = text.split("\n").map((line) => /^\s*(\S+) (\d+) (\d+)\s*$/.exec(line));
    const places = new Map<string, { start: number; extents: number }>();
    for (const row of rows) {
      const [, name = "", start, extents] = row ?? [];
      if (row === null) continue;
      if (places.has(name)) throw new Error(`${name} is in two pieces`);
      places.set(name, { start: Number(start), extents: Number(extents) });
    }
    return places;
  }

  async #map(): Promise<void> {
    const places = await this.#places();
    const free = new Map<string, Mapping>();
    for (const [name, mapping] of this.#mapped) {
      const place = places.get(name);
      if (place?.start === mapping.start && place.extents === mapping.extents) continue;
      this.#mapped.delete(name);
      await rm(this.#pathOf(name));
      free.set(`${mapping.start}+${mapping.extents}`, mapping);
    }
    for (const [name, { start, extents }] of places) {
      if (this.#mapped.has(name)) continue;
      const known = free.get(`${start}+${extents}`);
      free.delete(`${start}+${extents}`);
      const device = known?.device ?? (await this.#attach(start, extents));
      this.#mapped.set(name, { start, extents, device });
      await symlink(device, this.#pathOf(name));
    }
    for (const { device } of free.values()) await run(["losetup", "--detach", device]);
  }

  async #attach(start: number, extents: number): Promise<string> {
    const place = ["--offset", String(MIB + start * EXTENT), "--sizelimit", String(extents * EXTENT)];
    return (await run(["losetup", "--find", "--show", ...place, this.#file])).trim();
  }

  #pathOf(name: string): string {
    return join(this.deviceDirectory, this.name, name);
  }
}

/** Whether this kernel and these packages can do it. */
export async function canUseLoopLvm(): Promise<boolean> {
  if (process.getuid?.() !== 0) return false;
  try {
    await run(["lvm", "version"]);
    await run(["losetup", "--find"]);
    return true;
  } catch {
    return false;
  }
}
