/** Volumes that are images of a Ceph cluster; QEMU's own client reaches them, the host has no device for them. */
import { check } from "../../core/index.js";
import type { Check } from "../../core/index.js";
import type { DiskSource, StorageServer } from "../disks/disk-source.js";
import { rbdNameCheck, secretIdCheck, storageServerCheck } from "../disks/validate-disk-source.js";
import { QemuVolumeConnector } from "./qemu-volume-connector.js";
import type { QemuVolumeConnectorOptions } from "./qemu-volume-connector.js";
import type { VolumeConnection } from "./volume-connector.js";

/** `data` of a connection of type `rbd`. The image is raw. */
export interface RbdVolumeData {
  readonly pool: string;
  readonly namespace?: string;
  readonly image: string;
  /** Default: those of the configuration. */
  readonly monitors?: readonly StorageServer[];
  /** Name of the Ceph user without `client.`. Default: the configuration's. */
  readonly user?: string;
  /** Id in the `SecretStore` of the user's key, in base64 as Ceph writes it. Default: what the configuration names. */
  readonly secretId?: string;
}

export interface RbdVolumeConnectorOptions extends QemuVolumeConnectorOptions {
  /** Absolute path of a Ceph configuration. Default: Ceph's own choice. */
  readonly configPath?: string;
}

const checkData: Check<RbdVolumeData> = check.object({
  pool: rbdNameCheck,
  namespace: check.optional(rbdNameCheck),
  image: rbdNameCheck,
  monitors: check.optional(check.array(storageServerCheck, { min: 1, max: 32 })),
  user: check.optional(rbdNameCheck),
  secretId: check.optional(secretIdCheck),
});

/** Connects volumes of type `rbd`. QEMU needs its RBD driver, which distributions keep in a package of its own. */
export class RbdVolumeConnector extends QemuVolumeConnector {
  readonly #configPath: string | undefined;

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: RbdVolumeConnectorOptions) {
    super("rbd", options);
    const { configPath } = options;
    this.#configPath = configPath === undefined ? undefined : check.absolutePath()(configPath, "configPath");
  }

  protected override sourcesOf(connection: VolumeConnection, path: string): readonly DiskSource[] {
    const data = checkData(connection.data, `${path}.data`);
    const configPath = this.#configPath;
    return [{ type: "rbd", format: "raw", ...data, ...(configPath === undefined ? {} : { configPath }) }];
  }
}
