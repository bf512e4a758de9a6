/** The tree `ec2/` of an OpenStack config drive: what guests that know Amazon's metadata alone look for. */
import type { JsonObject } from "../../core/index.js";
import type { ConfigDriveContent, ConfigDriveFile } from "./config-drive-content.js";
import { jsonText } from "./json-text.js";

const EC2_VERSIONS = ["2009-04-04", "latest"] as const;

export function ec2Files(content: ConfigDriveContent): readonly ConfigDriveFile[] {
  const metadata = Buffer.from(jsonText(ec2Metadata(content)));
  const { userData } = content;
  return EC2_VERSIONS.flatMap((version): readonly ConfigDriveFile[] => [
    { path: `ec2/${version}/meta-data.json`, contents: metadata },
    ...(userData === undefined ? [] : [{ path: `ec2/${version}/user-data`, contents: userData }]),
  ]);
}

function ec2Metadata(content: ConfigDriveContent): JsonObject {
  const { uuid, hostname, publicKeys = {}, links = [], availabilityZone, imageId, instanceType } = content;
  const keys = Object.entries(publicKeys).map(([name, key], i) => [
    String(i),
    { _name: `${i}=${name}`, "openssh-key": key },
  ]);
  const networks = links.flatMap(({ networks: all }) => all);
  const local = networks.find(({ version, address }) => version === 4 && address !== undefined)?.address;
  return {
    "instance-id": `i-${uuid.slice(0, 8)}`,
    "reservation-id": `r-${uuid.slice(0, 8)}`,
    ...(imageId === undefined ? {} : { "ami-id": imageId }),
    "ami-launch-index": content.launchIndex ?? 0,
    hostname,
    "local-hostname": hostname,
    "public-hostname": hostname,
    ...(local === undefined ? {} : { "local-ipv4": local }),
    "instance-action": "none",
    ...(instanceType === undefined ? {} : { "instance-type": instanceType }),
    placement: { "availability-zone": availabilityZone ?? "" },
    ...(keys.length === 0 ? {} : { "public-keys": Object.fromEntries(keys) as JsonObject }),
  };
}
