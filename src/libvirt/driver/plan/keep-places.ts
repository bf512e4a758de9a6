/** The places on the guest's buses that its devices have had: a guest that is defined anew, by a later release too, finds each where it was. Pure. */
import type { DomainXml, LibvirtXml } from "../../xml/index.js";
import { readDeviceAlias } from "./device-alias.js";
import { freeDrive, isSameDrive } from "./drive-places.js";

type Devices = LibvirtXml.DomainDevices;
type Address = LibvirtXml.DomainAddress;

/** What of an element says which it is. */
interface Element {
  readonly alias?: { readonly name?: string | undefined } | undefined;
  readonly address?: Address | undefined;
  readonly model?: unknown;
  readonly type?: unknown;
  readonly target?: { readonly dev?: string | undefined; readonly bus?: string | undefined } | undefined;
  readonly mac?: { readonly address?: string | undefined } | undefined;
}

/** Elements that have a place, but for the controllers. */
const KINDS = [
  "disk",
  "interface",
  "hostdev",
  "input",
  "filesystem",
  "sound",
  "video",
  "rng",
  "watchdog",
  "memballoon",
  "vsock",
  "redirdev",
  "shmem",
] as const satisfies readonly (keyof Devices)[];
/** Places that libvirt chooses where a definition names none; and those of drives, which are the plan's. */
const KEPT_TYPES: ReadonlySet<string | undefined> = new Set(["pci", "usb", "drive"]);

/** @param before what the guest has been defined as; of another machine it keeps nothing */
export function keepPlaces(planned: DomainXml, before: DomainXml): DomainXml {
  const [type, earlier] = [planned.os?.type, before.os?.type];
  if (planned.devices === undefined || before.devices === undefined) return planned;
  if (type?.machine !== earlier?.machine || type?.arch !== earlier?.arch) return planned;
  const controller = keepControllers(planned.devices.controller ?? [], before.devices.controller ?? []);
  if (controller === undefined) return planned;
  const devices: Record<string, unknown> = { ...planned.devices, ...(controller.length === 0 ? {} : { controller }) };
  for (const kind of KINDS) {
    const elements = planned.devices[kind] as Element | readonly Element[] | undefined;
    if (elements === undefined) continue;
    const former = listOf(before.devices[kind] as Element | readonly Element[] | undefined);
    const list = listOf(elements);
    const kept = list.map((element) => keepPlace(element, formerOf(element, list, former)));
    devices[kind] = Array.isArray(elements) ? kept : kept[0];
  }
  return { ...planned, devices: partDrives(devices, planned.devices.disk ?? []) };
}

/** Undefined: the machine is another one. */
function keepControllers(
  planned: readonly LibvirtXml.DomainController[],
  before: readonly LibvirtXml.DomainController[],
): readonly LibvirtXml.DomainController[] | undefined {
  const isSame = (one: LibvirtXml.DomainController, other: LibvirtXml.DomainController): boolean =>
    one.type === other.type && one.index === other.index;
  const merged = planned.map((element) => {
    const former = before.find((one) => isSame(one, element));
    return former?.address === undefined || former.model !== element.model
      ? element
      : { ...element, address: former.address, ...(former.target === undefined ? {} : { target: former.target }) };
  });
  const other = planned.some(
    (element) => element.type === "pci" && before.some((one) => isSame(one, element) && one.model !== element.model),
  );
  if (other) return undefined;
  // libvirt has added what else there is: devices may hang on it.
  const rest = before.filter((former) => !planned.some((element) => isSame(element, former)));
  return [...merged, ...rest.map(({ alias: _, ...controller }) => controller)];
}

/** The element as it was, by its alias; of a release that gave it none, by what tells it from the others. */
function formerOf(element: Element, all: readonly Element[], former: readonly Element[]): Element | undefined {
  const named = former.find(({ alias }) => alias?.name !== undefined && alias.name === element.alias?.name);
  if (named !== undefined) return named;
  const nameless = former.filter(({ alias }) => readDeviceAlias(alias?.name ?? "") === undefined);
  if (element.target?.dev !== undefined && element.mac === undefined)
    return nameless.find(({ target }) => target?.dev === element.target?.dev);
  if (element.mac !== undefined)
    return nameless.find(({ mac }) => mac?.address?.toLowerCase() === element.mac?.address?.toLowerCase());
  return all.length === 1 && nameless.length === 1 ? nameless[0] : undefined;
}

function keepPlace<E extends Element>(element: E, former: Element | undefined): E {
  const { address } = former ?? {};
  if (address === undefined || !KEPT_TYPES.has(address.type)) return element;
  if (element.target?.bus !== former?.target?.bus) return element;
  if (element.address !== undefined && element.address.type !== address.type) return element;
  // PCI and USB devices can't change places.
  if (element.address === undefined && address.type === "drive") return element;
  return { ...element, address };
}

/** A disk that is new and whose place another one has kept gets a free one. */
function partDrives(devices: Devices, planned: readonly LibvirtXml.DomainDisk[]): Devices {
  const { disk = [] } = devices;
  const isNew = (index: number): boolean => disk[index] === planned[index];
  const parted = [...disk];
  for (const [index, one] of disk.entries()) {
    if (!isNew(index) || one.address?.type !== "drive") continue;
    const others = parted.filter((_, at) => at !== index);
    if (others.some(({ address, target }) => target?.bus === one.target?.bus && isSameDrive(address, one.address)))
      parted[index] = { ...one, address: freeDrive(one.address, one.target?.bus, others) ?? one.address };
  }
  return disk.length === 0 ? devices : { ...devices, disk: parted };
}

function listOf<T>(value: T | readonly T[] | undefined): readonly T[] {
  return value === undefined ? [] : Array.isArray(value) ? (value as readonly T[]) : [value as T];
}
