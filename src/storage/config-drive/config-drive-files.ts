/** The files of a config drive. Pure: the same content gives the same bytes. */
import { InvalidArgumentError } from "../../core/index.js";
import type { ConfigDriveContent, ConfigDriveFile, ConfigDriveLayout } from "./config-drive-content.js";
import { nocloudFiles } from "./nocloud-tree.js";
import { openstackFiles } from "./openstack-tree.js";

/** Bytes that the files of one drive may have together. */
export const MAX_CONFIG_DRIVE_BYTES = 48 * 1024 * 1024;

/** Volume labels by which guests find the drive. */
export const CONFIG_DRIVE_LABELS: Readonly<Record<ConfigDriveLayout, string>> = Object.freeze({
  openstack: "config-2",
  nocloud: "cidata",
});

/** @throws InvalidArgumentError when they are larger than a drive can be */
export function configDriveFiles(content: ConfigDriveContent): readonly ConfigDriveFile[] {
  const files = content.layout === "openstack" ? openstackFiles(content) : nocloudFiles(content);
  const bytes = files.reduce((sum, { contents }) => sum + contents.byteLength, 0);
  if (bytes <= MAX_CONFIG_DRIVE_BYTES) return files;
  throw new InvalidArgumentError({
    field: "configDrive",
    value: bytes,
    expected: `files of ${MAX_CONFIG_DRIVE_BYTES} bytes together at most`,
  });
}
