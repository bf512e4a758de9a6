/** Volumes that an NBD server exports; QEMU's own client reaches them, the host has no device for them. */
import { check } from "../../core/index.js";
import type { Check } from "../../core/index.js";
import type { DiskSource, NbdDiskSource, NbdTls } from "../disks/disk-source.js";
import { nbdServerCheck, nbdTlsCheck } from "../disks/validate-disk-source.js";
import { QemuVolumeConnector } from "./qemu-volume-connector.js";
import type { QemuVolumeConnectorOptions } from "./qemu-volume-connector.js";
import type { VolumeConnection } from "./volume-connector.js";

/** `data` of a connection of type `nbd`. The export is raw. */
export interface NbdVolumeData {
  readonly server: NbdDiskSource["server"];
  /** Up to 255 printable characters. Default: the server's unnamed export. */
  readonly exportName?: string;
  /** Certificates of this host, by the path of their directory. Default: the connection is not encrypted. */
  readonly tls?: NbdTls;
}

export type NbdVolumeConnectorOptions = QemuVolumeConnectorOptions;

const checkData: Check<NbdVolumeData> = check.object({
  server: nbdServerCheck,
  exportName: check.optional(check.string({ min: 0, max: 255 })),
  tls: check.optional(nbdTlsCheck),
});

/** Connects volumes of type `nbd`. */
export class NbdVolumeConnector extends QemuVolumeConnector {
  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: NbdVolumeConnectorOptions) {
    super("nbd", options);
  }

  protected override sourcesOf(connection: VolumeConnection, path: string): readonly DiskSource[] {
    const { server, exportName = "", tls } = checkData(connection.data, `${path}.data`);
    return [{ type: "nbd", server, exportName, format: "raw", ...(tls === undefined ? {} : { tls }) }];
  }
}
