/** The files of cloud-init's NoCloud seed. */
import type { JsonObject, JsonValue } from "../../core/index.js";
import type { ConfigDriveContent, ConfigDriveFile } from "./config-drive-content.js";
import { jsonText } from "./json-text.js";
import { networkConfig } from "./nocloud-network.js";

/** Injected files and the password have no place of their own in a seed: they come as vendor data, which user data overrides. */
export function nocloudFiles(content: ConfigDriveContent): readonly ConfigDriveFile[] {
  const { userData, links, networkConfigVersion = 1 } = content;
  const vendorData = vendorDataOf(content);
  return [
    { path: "meta-data", contents: Buffer.from(jsonText(metadataOf(content))) },
    { path: "user-data", contents: userData ?? new Uint8Array() },
    ...(vendorData === undefined ? [] : [{ path: "vendor-data", contents: Buffer.from(vendorData) }]),
    ...(links === undefined
      ? []
      : [{ path: "network-config", contents: Buffer.from(jsonText(networkConfig(links, networkConfigVersion))) }]),
  ];
}

function metadataOf(content: ConfigDriveContent): JsonObject {
  const { uuid, hostname, publicKeys = {}, metadata = {}, availabilityZone, launchIndex } = content;
  const keys = Object.values(publicKeys);
  return {
    ...metadata,
    "instance-id": uuid,
    "local-hostname": hostname,
    ...(keys.length === 0 ? {} : { "public-keys": keys }),
    ...(availabilityZone === undefined ? {} : { "availability-zone": availabilityZone }),
    ...(launchIndex === undefined ? {} : { "launch-index": launchIndex }),
  };
}

function listOf(value: JsonValue | undefined): readonly JsonValue[] {
  return Array.isArray(value) ? (value as readonly JsonValue[]) : [];
}

/** One cloud-config: what is injected is added to what is given. */
function vendorDataOf({ vendorData, adminPassword, files = [] }: ConfigDriveContent): string | undefined {
  if (vendorData === undefined && adminPassword === undefined && files.length === 0) return undefined;
  const given = listOf(vendorData?.["write_files"]);
  const injected = files.map(({ path, contents }): JsonObject => {
    return { path, encoding: "b64", content: Buffer.from(contents).toString("base64") };
  });
  const config: JsonObject = {
    ...vendorData,
    ...(adminPassword === undefined ? {} : { password: adminPassword.reveal(), chpasswd: { expire: false } }),
    ...(injected.length === 0 ? {} : { write_files: [...given, ...injected] }),
  };
  return `#cloud-config\n${jsonText(config)}`;
}
