/** SCSI disks of the host's kernel as /sys shows them: found, looked at again, taken away. */
import { constants } from "node:fs";
import { readFile, readdir, readlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { StorageError } from "../errors.js";
import { errnoOf, throwUnless } from "../storage-failure.js";

/** One connection of the host's to a target. */
export interface IscsiSession {
  /** `session3` */
  readonly name: string;
  /** Number of the SCSI host that the session is. */
  readonly host: number;
  readonly target: string;
  /** `10.0.0.1:3260`, `[fd00::1]:3260`; what the session was made for, whatever the target has redirected it to. */
  readonly portal: string;
}

/** A map of several paths to one unit. */
export interface MultipathMap {
  /** Name below `/dev/mapper`. */
  readonly name: string;
  /** `dm-3` */
  readonly device: string;
}

const SECTOR = 512;

export class ScsiDevices {
  readonly #sysfs: string;

  /** @param sysfs absolute path of what is mounted at `/sys` */
  constructor(sysfs: string) {
    this.#sysfs = sysfs;
  }

  /** Sessions with a target; none where the kernel has no iSCSI. */
  async sessionsOf(target: string): Promise<readonly IscsiSession[]> {
    const names = await this.#list("class/iscsi_session");
    const sessions = await Promise.all(names.map((name) => this.#session(name)));
    return sessions.filter((session): session is IscsiSession => session?.target === target);
  }

  /** Has the kernel look for one unit of a session's target, and for no other. @throws StorageError */
  async scan({ host }: IscsiSession, lun: number): Promise<void> {
    await this.#write(`class/scsi_host/host${host}/scan`, `0 0 ${lun}`);
  }

  /** Name of the disk that a unit is, such as `sdb`; undefined while there is none. */
  async diskOf({ name, host }: IscsiSession, lun: number): Promise<string | undefined> {
    const session = `class/iscsi_session/${name}/device`;
    const targets = (await this.#list(session)).filter((entry) => entry.startsWith(`target${host}:`));
    for (const target of targets) {
      const address = `${target.slice("target".length)}:${lun}`;
      const [disk] = await this.#list(`${session}/${target}/${address}/block`);
      if (disk !== undefined) return disk;
    }
    return undefined;
  }

  /** Whether the host has any disk of a target. */
  async hasDisks(target: string): Promise<boolean> {
    for (const { name, host } of await this.sessionsOf(target)) {
      const session = `class/iscsi_session/${name}/device`;
      for (const entry of (await this.#list(session)).filter((one) => one.startsWith(`target${host}:`))) {
        const addresses = (await this.#list(`${session}/${entry}`)).filter((one) => /^\d+:\d+:\d+:\d+$/.test(one));
        for (const address of addresses)
          if ((await this.#list(`${session}/${entry}/${address}/block`)).length > 0) return true;
      }
    }
    return false;
  }

  /** What the unit says of itself that no other does, such as `naa.6001405…`; the same by every path. */
  async wwidOf(disk: string): Promise<string | undefined> {
    return this.#read(`class/block/${disk}/device/wwid`);
  }

  async bytesOf(device: string): Promise<number> {
    return Number((await this.#read(`class/block/${device}/size`)) ?? 0) * SECTOR;
  }

  /** The multipath map that a disk is a path of. */
  async mapOf(disk: string): Promise<MultipathMap | undefined> {
    for (const device of await this.#list(`class/block/${disk}/holders`)) {
      const uuid = await this.#read(`class/block/${device}/dm/uuid`);
      const name = await this.#read(`class/block/${device}/dm/name`);
      if (uuid?.startsWith("mpath-") === true && name !== undefined) return { name, device };
    }
    return undefined;
  }

  /** Has the kernel read a disk's size anew. @throws StorageError */
  async rescan(disk: string): Promise<void> {
    await this.#write(`class/block/${disk}/device/rescan`, "1");
  }

  /** Takes a disk away from the host; success when it is not there. @throws StorageError */
  async remove(disk: string): Promise<void> {
    await this.#write(`class/block/${disk}/device/delete`, "1", true);
  }

  async #session(name: string): Promise<IscsiSession | undefined> {
    const target = await this.#read(`class/iscsi_session/${name}/targetname`);
    const link = await readlink(join(this.#sysfs, "class/iscsi_session", name)).catch(throwUnless("ENOENT", "EINVAL"));
    const host = /\/host(\d+)\//.exec(link ?? "")?.[1];
    const number = /^session(\d+)$/.exec(basename(name))?.[1];
    if (target === undefined || host === undefined || number === undefined) return undefined;
    const connection = `class/iscsi_connection/connection${number}:0`;
    const address = (await this.#read(`${connection}/persistent_address`)) ?? "";
    const port = (await this.#read(`${connection}/persistent_port`)) ?? "";
    const portal = address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
    return { name, host: Number(host), target, portal };
  }

  async #list(path: string): Promise<readonly string[]> {
    return (await readdir(join(this.#sysfs, path)).catch(throwUnless("ENOENT", "ENOTDIR"))) ?? [];
  }

  async #read(path: string): Promise<string | undefined> {
    const text = await readFile(join(this.#sysfs, path), "utf8").catch(throwUnless("ENOENT", "ENXIO", "ENODEV"));
    return text?.trim();
  }

  async #write(path: string, text: string, mayBeGone = false): Promise<void> {
    try {
      // Neither made nor read: these files can only be written to.
      await writeFile(join(this.#sysfs, path), text, { flag: constants.O_WRONLY });
    } catch (error) {
      const errno = errnoOf(error);
      if (mayBeGone && (errno === "ENOENT" || errno === "ENODEV" || errno === "ENXIO")) return;
      throw new StorageError("the kernel refuses to look after a SCSI disk", { cause: error, detail: path, errno });
    }
  }
}
