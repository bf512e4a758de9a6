/** A runtime file of Ganeti as typed data. */
import { check, isHyperviseError } from "../../core/index.js";
import type { Check, JsonObject } from "../../core/index.js";
import { corrupt, isObject } from "./runtime-text.js";
import type { RuntimeDisk } from "./runtime-text.js";
import { upgradeSerializedRuntime } from "./upgrade-runtime.js";
import type { UpgradeOptions } from "./upgrade-runtime.js";

/** Where a device is on the guest's buses, as it stands in `hvinfo`. */
export interface GanetiAddress {
  readonly driver?: string;
  readonly id?: string;
  readonly bus?: string;
  /** PCI slot. */
  readonly slot?: number;
  /** SCSI target. */
  readonly scsiId?: number;
}

export interface GanetiNic {
  readonly uuid: string;
  readonly name?: string;
  readonly macAddress: string;
  readonly ip?: string;
  /** `bridged`, `routed`, `openvswitch`, `ext`. */
  readonly mode?: string;
  /** Bridge, routing table or switch. */
  readonly link?: string;
  readonly vlan?: string;
  readonly address: GanetiAddress;
  readonly slot?: number;
}

export interface GanetiDisk {
  readonly uuid: string;
  readonly name?: string;
  /** `plain`, `drbd`, `file`, `sharedfile`, `blockdev`, `rbd`, `ext`, `gluster`; older releases had others. */
  readonly type: string;
  readonly sizeMiB?: number;
  readonly mode: "rw" | "ro";
  readonly params: { readonly access?: string };
  readonly address: GanetiAddress;
  readonly slot?: number;
}

export interface GanetiRuntime {
  readonly command: readonly string[];
  readonly nics: readonly GanetiNic[];
  readonly hvparams: JsonObject;
  readonly disks: readonly RuntimeDisk<GanetiDisk>[];
}

const text = check.string({ max: 1024 });
const macAddress = check.mac();
const deviceUuid = check.uuid();

/**
 * Reads a runtime file of any release.
 * @throws StateCorruptError for what Ganeti never wrote
 */
export function analyzeSerializedRuntime(serialized: string, options: UpgradeOptions = {}): GanetiRuntime {
  const { command, nics, hvparams, disks } = upgradeSerializedRuntime(serialized, options);
  return {
    command,
    nics: nics.map(nicOf),
    hvparams,
    disks: disks.map(({ disk, ...rest }) => ({ ...rest, disk: diskOf(disk) })),
  };
}

function nicOf(nic: JsonObject): GanetiNic {
  const params = objectOf(nic["nicparams"]);
  const address = addressOf(nic["hvinfo"]);
  return defined({
    uuid: need(deviceUuid, nic["uuid"], "the uuid of a NIC"),
    name: optional(nic["name"]),
    macAddress: need(macAddress, nic["mac"], "the MAC address of a NIC"),
    ip: optional(nic["ip"]),
    mode: optional(params["mode"]),
    link: optional(params["link"]),
    vlan: optional(params["vlan"]),
    address,
    slot: address.slot,
  });
}

function diskOf(disk: JsonObject): GanetiDisk {
  const size = disk["size"];
  const access = optional(objectOf(disk["params"])["access"]);
  const address = addressOf(disk["hvinfo"]);
  return defined({
    uuid: need(deviceUuid, disk["uuid"], "the uuid of a disk"),
    name: optional(disk["name"]),
    type: need(text, disk["dev_type"], "the type of a disk"),
    sizeMiB: typeof size === "number" && Number.isSafeInteger(size) && size >= 0 ? size : undefined,
    mode: disk["mode"] === "ro" ? "ro" : "rw",
    params: access === undefined ? {} : { access },
    address,
    slot: address.slot,
  });
}

function addressOf(value: unknown): GanetiAddress {
  const info = objectOf(value);
  return defined({
    driver: optional(info["driver"]),
    id: optional(info["id"]),
    bus: optional(info["bus"]),
    slot: numberOf(info["addr"], 31),
    scsiId: numberOf(info["scsi-id"], 255),
  });
}

/** A number, or one written in hexadecimal. */
function numberOf(value: unknown, max: number): number | undefined {
  if (typeof value !== "number" && (typeof value !== "string" || value === "")) return undefined;
  const number = Number(value);
  return Number.isInteger(number) && number >= 0 && number <= max ? number : undefined;
}

function need(read: Check<string>, value: unknown, what: string): string {
  try {
    return read(value, what);
  } catch (error) {
    if (isHyperviseError(error, "INVALID_ARGUMENT")) throw corrupt(`${what} is none`);
    throw error;
  }
}

function optional(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" && value.length <= 1024 ? value : undefined;
}

function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

function defined<T extends object>(members: { readonly [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as unknown as T;
}
