/** The tree `openstack/` of a config drive, version 2: one directory a release of the metadata, each with what that release knew. */
import type { JsonObject } from "../../core/index.js";
import type { ConfigDriveContent, ConfigDriveFile, TaggedDevice } from "./config-drive-content.js";
import { ec2Files } from "./ec2-tree.js";
import { jsonText } from "./json-text.js";
import { networkData } from "./openstack-network.js";

/** The releases of OpenStack's metadata, oldest first; directories are named after them. */
const OPENSTACK_VERSIONS = [
  "2012-08-10",
  "2013-04-04",
  "2013-10-17",
  "2015-10-15",
  "2016-06-30",
  "2016-10-06",
  "2017-02-22",
  "2018-08-27",
  "2020-10-14",
  "latest",
] as const;
type OpenstackVersion = (typeof OPENSTACK_VERSIONS)[number];

/** The release that each part came with. */
const SINCE = {
  randomSeed: "2013-04-04",
  vendorData: "2013-10-17",
  projectId: "2015-10-15",
  networkData: "2015-10-15",
  devices: "2016-06-30",
  vendorData2: "2016-10-06",
} as const;

export function openstackFiles(content: ConfigDriveContent): readonly ConfigDriveFile[] {
  const { files = [] } = content;
  return [
    ...files.map(({ contents }, i) => ({ path: `openstack/${contentPath(i)}`, contents })),
    ...OPENSTACK_VERSIONS.flatMap((version) => filesOf(version, content)),
    ...ec2Files(content),
  ];
}

function filesOf(version: OpenstackVersion, content: ConfigDriveContent): readonly ConfigDriveFile[] {
  const { userData, vendorData = {}, vendorData2 = {}, links } = content;
  const file = (name: string, contents: Uint8Array): ConfigDriveFile => ({
    path: `openstack/${version}/${name}`,
    contents,
  });
  const json = (name: string, value: JsonObject): ConfigDriveFile => file(name, Buffer.from(jsonText(value)));
  return [
    json("meta_data.json", metadataOf(version, content)),
    ...(userData === undefined ? [] : [file("user_data", userData)]),
    ...(knows(version, "vendorData") ? [json("vendor_data.json", vendorData)] : []),
    ...(knows(version, "networkData") && links !== undefined ? [json("network_data.json", networkData(links))] : []),
    ...(knows(version, "vendorData2") ? [json("vendor_data2.json", vendorData2)] : []),
  ];
}

/** Dates sort as texts, and `latest` after them. */
function knows(version: OpenstackVersion, part: keyof typeof SINCE): boolean {
  return version >= SINCE[part];
}

function contentPath(index: number): string {
  return `content/${String(index).padStart(4, "0")}`;
}

function metadataOf(version: OpenstackVersion, content: ConfigDriveContent): JsonObject {
  const { publicKeys = {}, files = [], adminPassword, randomSeed, projectId } = content;
  const keys = Object.entries(publicKeys);
  return {
    uuid: content.uuid,
    ...(adminPassword === undefined ? {} : { admin_pass: adminPassword.reveal() }),
    meta: { ...content.metadata },
    ...(files.length === 0
      ? {}
      : { files: files.map(({ path }, i) => ({ path, content_path: `/${contentPath(i)}` })) }),
    ...(keys.length === 0
      ? {}
      : {
          public_keys: Object.fromEntries(keys),
          keys: keys.map(([name, data]) => ({ name, type: "ssh", data })),
        }),
    hostname: content.hostname,
    name: content.name,
    launch_index: content.launchIndex ?? 0,
    availability_zone: content.availabilityZone ?? null,
    ...(randomSeed === undefined || !knows(version, "randomSeed")
      ? {}
      : { random_seed: Buffer.from(randomSeed).toString("base64") }),
    ...(projectId === undefined || !knows(version, "projectId") ? {} : { project_id: projectId }),
    ...(knows(version, "devices") ? { devices: (content.devices ?? []).map(deviceOf) } : {}),
  };
}

/** Where on its bus a device is, is decided when the guest is made: tags say which it is by MAC address and serial number. */
function deviceOf(device: TaggedDevice): JsonObject {
  const { tags } = device;
  if (device.type === "nic") return { type: "nic", bus: "none", address: "none", mac: device.mac, tags: [...tags] };
  const { bus, path, serial } = device;
  return { type: "disk", bus, address: "none", path, ...(serial === undefined ? {} : { serial }), tags: [...tags] };
}
