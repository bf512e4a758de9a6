/** Checks of what all volume connections have in common. */
import { check, InvalidArgumentError } from "../../core/index.js";
import type { DiskSource } from "../disks/disk-source.js";
import { encryptionCheck } from "../disks/validate-disk-source.js";
import type { VolumeConnection } from "./volume-connector.js";

const checkVolumeId = check.string({
  max: 128,
  pattern: /^[A-Za-z0-9._-]+$/,
  expected: "a volume id: 1 to 128 characters of [A-Za-z0-9._-]",
});

/** Throws `InvalidArgumentError` that names the field below `path`. */
export function validateConnection(connection: VolumeConnection, type: string, path: string): void {
  checkVolumeId(connection.volumeId, `${path}.volumeId`);
  if (connection.type !== type) {
    throw new InvalidArgumentError({ field: `${path}.type`, value: connection.type, expected: JSON.stringify(type) });
  }
  if (connection.encryption !== undefined) encryptionCheck(connection.encryption, `${path}.encryption`);
}

/** The source of a connected volume with what the connection says of its encryption. */
export function withEncryption<S extends DiskSource>(source: S, { encryption }: VolumeConnection): S {
  return encryption === undefined ? source : { ...source, encryption };
}
