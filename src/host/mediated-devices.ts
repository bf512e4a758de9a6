/** Mediated devices (vfio-mdev): parts of a device of the host's, each of which one guest can have. Read and made in sysfs, which knows of them before anybody else. */
import { readFile, readdir, readlink, realpath, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { check } from "../core/index.js";
import { HostIoError, errnoName } from "./errors.js";

export interface MediatedDevice {
  readonly uuid: string;
  /** The kernel's name of its type: `nvidia-35`. */
  readonly mdevType: string;
  /** The device that it is a part of, by the kernel's name: `0000:3b:00.0`. */
  readonly parent: string;
}

/** What a device of the host can be parted into. */
export interface MediatedDeviceType {
  readonly mdevType: string;
  readonly parent: string;
  /** Its maker's name of the type. */
  readonly name?: string;
  /** `vfio-pci`, `vfio-ccw`, `vfio-ap`. */
  readonly deviceApi?: string;
  /** How many more can be made now. */
  readonly available: number;
  /** How many there are. */
  readonly existing: number;
}

export interface MediatedDevicesOptions {
  /** Absolute path of what is mounted at `/sys`. */
  readonly sysfs?: string;
  /** Writes an attribute of sysfs. */
  readonly writeAttribute?: (path: string, text: string) => Promise<void>;
}

const nameCheck = check.string({
  max: 128,
  pattern: /^[A-Za-z0-9][A-Za-z0-9._:-]*$/,
  expected: "a name of the kernel's",
});
const shape = check.object({ uuid: check.uuid(), mdevType: nameCheck, parent: nameCheck });
const AVAILABLE = /^\d{1,9}$/;
/** Of things that go while they are read. */
const GONE: readonly (string | undefined)[] = ["ENOENT", "ENODEV", "ENXIO", "ENOTDIR", "EINVAL"];

export class MediatedDevices {
  readonly #sysfs: string;
  readonly #write: (path: string, text: string) => Promise<void>;

  /** Touches nothing. @throws InvalidArgumentError */
  constructor({ sysfs = "/sys", writeAttribute = writeExisting }: MediatedDevicesOptions = {}) {
    this.#sysfs = check.absolutePath()(sysfs, "sysfs");
    this.#write = writeAttribute;
  }

  /** Those that there are, by their uuids' order; none where the kernel has no support. @throws HostIoError */
  async list(): Promise<readonly MediatedDevice[]> {
    const found = await Promise.all((await this.#names("bus/mdev/devices")).map((uuid) => this.#read(uuid)));
    return found.filter((device) => device !== undefined);
  }

  /** What more can be made, by device of the host. @throws HostIoError */
  async types(): Promise<readonly MediatedDeviceType[]> {
    const [parents, devices] = await Promise.all([this.#names("class/mdev_bus"), this.list()]);
    const types = await Promise.all(
      parents.map(async (parent) => {
        const names = await this.#names(`class/mdev_bus/${parent}/mdev_supported_types`);
        return Promise.all(names.map((mdevType) => this.#readType(parent, mdevType, devices)));
      }),
    );
    return types.flat();
  }

  /** Makes one; success when it is there. @throws HostIoError with the kernel's errno, `ENOSPC` when there is no room for more; InvalidArgumentError */
  async create(device: MediatedDevice): Promise<void> {
    const { uuid, mdevType, parent } = shape(device, "device");
    const path = join(this.#sysfs, "class/mdev_bus", parent, "mdev_supported_types", mdevType, "create");
    try {
      await this.#write(path, uuid);
    } catch (error) {
      if (errnoName(error) === "EEXIST" && (await this.#read(uuid)) !== undefined) return;
      throw new HostIoError({ operation: "making a mediated device", path, cause: error });
    }
  }

  /** Removes one; success when there is none. Waits for the kernel while something has it open. @throws HostIoError */
  async remove(uuid: string): Promise<void> {
    const path = join(this.#sysfs, "bus/mdev/devices", check.uuid()(uuid, "uuid"), "remove");
    try {
      await this.#write(path, "1");
    } catch (error) {
      if (!GONE.includes(errnoName(error)))
        throw new HostIoError({ operation: "removing a mediated device", path, cause: error });
    }
  }

  async #read(uuid: string): Promise<MediatedDevice | undefined> {
    const path = join(this.#sysfs, "bus/mdev/devices", uuid);
    const [type, place] = await Promise.all([
      unlessGone(readlink(join(path, "mdev_type")), path),
      unlessGone(realpath(path), path),
    ]);
    return type === undefined || place === undefined
      ? undefined
      : { uuid: uuid.toLowerCase(), mdevType: basename(type), parent: basename(dirname(place)) };
  }

  async #readType(parent: string, mdevType: string, devices: readonly MediatedDevice[]): Promise<MediatedDeviceType> {
    const text = async (attribute: string): Promise<string | undefined> => {
      const path = join(this.#sysfs, "class/mdev_bus", parent, "mdev_supported_types", mdevType, attribute);
      return (await unlessGone(readFile(path, "utf8"), path))?.trim();
    };
    const [name, deviceApi, available = ""] = await Promise.all(
      ["name", "device_api", "available_instances"].map((attribute) => text(attribute)),
    );
    return {
      mdevType,
      parent,
      ...(name === undefined || name === "" ? {} : { name }),
      ...(deviceApi === undefined ? {} : { deviceApi }),
      available: AVAILABLE.test(available) ? Number(available) : 0,
      existing: devices.filter((one) => one.mdevType === mdevType && one.parent === parent).length,
    };
  }

  async #names(directory: string): Promise<readonly string[]> {
    const path = join(this.#sysfs, directory);
    return ((await unlessGone(readdir(path), path)) ?? []).sort();
  }
}

/** An attribute that is not there is not made. */
async function writeExisting(path: string, text: string): Promise<void> {
  await writeFile(path, text, { flag: "r+" });
}

async function unlessGone<T>(reading: Promise<T>, path: string): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (GONE.includes(errnoName(error))) return undefined;
    throw new HostIoError({ operation: "reading the host's mediated devices", path, cause: error });
  }
}
