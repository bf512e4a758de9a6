/** Runtime files of Ganeti of any release, brought to the layout of the last. Pure but for new uuids. */
import { randomUUID } from "node:crypto";
import type { JsonObject, JsonValue } from "../../core/index.js";
import { generateDeviceId } from "./device-ids.js";
import { corrupt, isObject, parseRuntimeText } from "./runtime-text.js";
import type { GanetiDeviceKind, RuntimeParts } from "./runtime-text.js";
import { upgradeCommand } from "./upgrade-command.js";

export interface UpgradeOptions {
  /** For devices that had no uuid yet, before Ganeti 2.8. Default: a random one. */
  readonly newUuid?: () => string;
}

const DISCARDS: ReadonlySet<unknown> = new Set(["ignore", "unmap"]);
const MODELS: { readonly [K in GanetiDeviceKind]: { readonly parameter: string; readonly paravirtual: string } } = {
  disk: { parameter: "disk_type", paravirtual: "virtio-blk-pci" },
  nic: { parameter: "nic_type", paravirtual: "virtio-net-pci" },
};

/**
 * Reads a runtime file and gives its devices uuids and addresses, its parameters values, and its command line options that QEMU still knows.
 * @throws StateCorruptError for what Ganeti never wrote
 */
export function upgradeSerializedRuntime(text: string, options: UpgradeOptions = {}): RuntimeParts {
  const { newUuid = randomUUID } = options;
  const { command, nics, hvparams, disks } = parseRuntimeText(text);
  const upgraded = upgradeParameters(hvparams);
  return {
    command: upgradeCommand(command),
    nics: nics.map((nic) => upgradeDevice("nic", nic, upgraded, newUuid)),
    hvparams: upgraded,
    disks: disks.map((entry) => ({ ...entry, disk: upgradeDevice("disk", entry.disk, upgraded, newUuid) })),
  };
}

function upgradeParameters(hvparams: JsonObject): JsonObject {
  const discard = hvparams["disk_discard"];
  return discard === undefined || DISCARDS.has(discard) ? hvparams : { ...hvparams, disk_discard: "ignore" };
}

function upgradeDevice(
  kind: GanetiDeviceKind,
  device: JsonObject,
  hvparams: JsonObject,
  newUuid: () => string,
): JsonObject {
  const { pci, ...rest } = device;
  const uuid = rest["uuid"] ?? newUuid();
  if (typeof uuid !== "string") throw corrupt(`the uuid of a ${kind} is no text`);
  return { ...rest, uuid, hvinfo: isObject(rest["hvinfo"]) ? rest["hvinfo"] : addressOf(kind, uuid, pci, hvparams) };
}

/** What a device was plugged as, of the number of its PCI slot. */
function addressOf(kind: GanetiDeviceKind, uuid: string, pci: JsonValue | undefined, hvparams: JsonObject): JsonObject {
  if (pci === undefined || pci === null || pci === "") return {};
  const slot = Number(pci);
  if (!Number.isInteger(slot) || slot < 1 || slot > 31) throw corrupt(`the PCI slot of a ${kind} is none`);
  const { parameter, paravirtual } = MODELS[kind];
  const model = hvparams[parameter];
  return {
    driver: typeof model === "string" && model !== "" && model !== "paravirtual" ? model : paravirtual,
    id: generateDeviceId(kind, { uuid, slot }, "2.10"),
    bus: "pci.0",
    addr: `0x${slot.toString(16)}`,
  };
}
