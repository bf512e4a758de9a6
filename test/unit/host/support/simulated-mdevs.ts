// A kernel's mediated devices, as a tree of directories like sysfs: devices come and go when its attributes are written.
import { access, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { MediatedDevice, MediatedDevicesOptions } from "../../../../src/host/index.js";

/** How many devices of a type a device of the host has room for, by types, by devices of the host. */
export type Room = Readonly<Record<string, Readonly<Record<string, number>>>>;

export class SimulatedMdevs {
  readonly sysfs: string;
  readonly #room: Room;
  /** Errors for the next writes, such as `ENOSPC`. */
  readonly failures: string[] = [];

  private constructor(sysfs: string, room: Room) {
    this.sysfs = sysfs;
    this.#room = room;
  }

  static async create(room: Room): Promise<SimulatedMdevs> {
    const kernel = new SimulatedMdevs(await mkdtemp(join(tmpdir(), "mdev-")), room);
    await kernel.boot();
    return kernel;
  }

  get options(): MediatedDevicesOptions {
    return { sysfs: this.sysfs, writeAttribute: (path, text) => this.#written(path, text) };
  }

  /** As after a boot of the host: there is room, and no device. */
  async boot(): Promise<void> {
    await rm(this.sysfs, { recursive: true, force: true });
    await mkdir(join(this.sysfs, "bus/mdev/devices"), { recursive: true });
    await mkdir(join(this.sysfs, "class/mdev_bus"), { recursive: true });
    for (const [parent, types] of Object.entries(this.#room)) {
      const place = this.#parent(parent);
      for (const [type, room] of Object.entries(types)) {
        const directory = join(place, "mdev_supported_types", type);
        await mkdir(directory, { recursive: true });
        await writeFile(join(directory, "available_instances"), `${room}\n`);
        await writeFile(join(directory, "name"), `Model ${type}\n`);
        await writeFile(join(directory, "device_api"), "vfio-pci\n");
        await writeFile(join(directory, "create"), "");
      }
      await symlink(place, join(this.sysfs, "class/mdev_bus", parent));
    }
  }

  /** Somebody else makes one. */
  async make({ uuid, mdevType, parent }: MediatedDevice): Promise<void> {
    await this.#written(join(this.#parent(parent), "mdev_supported_types", mdevType, "create"), uuid);
  }

  #parent(name: string): string {
    return join(this.sysfs, "devices/pci0000:00", name);
  }

  async #written(path: string, text: string): Promise<void> {
    const failure = this.failures.shift();
    if (failure !== undefined) throw fault(failure);
    if (basename(path) === "create") {
      const place = join(dirname(path), "..", "..", text);
      if (
        await access(place).then(
          () => true,
          () => false,
        )
      )
        throw fault("EEXIST");
      await this.#take(dirname(path), -1);
      await mkdir(place);
      await symlink(`../mdev_supported_types/${basename(dirname(path))}`, join(place, "mdev_type"));
      await writeFile(join(place, "remove"), "");
      await symlink(place, join(this.sysfs, "bus/mdev/devices", text));
      return;
    }
    await readFile(path);
    const place = dirname(path);
    await this.#take(join(place, "mdev_type"), 1);
    const uuid = basename(place);
    for (const parent of Object.keys(this.#room))
      await rm(join(this.#parent(parent), uuid), { recursive: true, force: true });
    await rm(join(this.sysfs, "bus/mdev/devices", uuid));
  }

  async #take(type: string, change: number): Promise<void> {
    const path = join(type, "available_instances");
    const room = Number(await readFile(path, "utf8").catch(() => Promise.reject(fault("ENOENT")))) + change;
    if (room < 0) throw fault("ENOSPC");
    await writeFile(path, `${room}\n`);
  }
}

function fault(code: string): Error {
  return Object.assign(new Error(code), { code });
}
