/** Volumes of iSCSI targets that QEMU reaches by itself; the host has no device for them. */
import type { DiskSource, IscsiDiskSource } from "../disks/disk-source.js";
import { iscsiNameCheck } from "../disks/validate-disk-source.js";
import { iscsiDataCheck } from "./iscsi-volume-data.js";
import { QemuVolumeConnector } from "./qemu-volume-connector.js";
import type { QemuVolumeConnectorOptions } from "./qemu-volume-connector.js";
import type { VolumeConnection } from "./volume-connector.js";

export interface IscsiVolumeConnectorOptions extends QemuVolumeConnectorOptions {
  /** Name that this host is known to targets by. Default: QEMU's own choice, by the guest's uuid. */
  readonly initiator?: string;
}

/**
 * Connects volumes of type `iscsi` by QEMU's own initiator, which distributions keep in a package of its own. One path is used: the first portal that answers. For
 * several paths at once there is `IscsiHostVolumeConnector`.
 */
export class IscsiVolumeConnector extends QemuVolumeConnector {
  readonly #initiator: string | undefined;

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: IscsiVolumeConnectorOptions) {
    super("iscsi", options);
    const { initiator } = options;
    this.#initiator = initiator === undefined ? undefined : iscsiNameCheck(initiator, "initiator");
  }

  protected override sourcesOf(connection: VolumeConnection, path: string): readonly DiskSource[] {
    const { portals, target, lun, auth } = iscsiDataCheck(connection.data, `${path}.data`);
    const initiator = this.#initiator;
    return portals.map((portal): IscsiDiskSource => ({
      type: "iscsi",
      portal,
      target,
      lun,
      format: "raw",
      ...(initiator === undefined ? {} : { initiator }),
      ...(auth === undefined ? {} : { auth }),
    }));
  }
}
