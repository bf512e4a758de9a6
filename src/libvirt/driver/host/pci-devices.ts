/** The host's PCI functions, by libvirt's word. */
import type { HostPciDevice } from "../../../driver/index.js";
import { isLibvirtError } from "../../rpc/index.js";
import type { NodeDevice } from "../../rpc/index.js";
import { parseNodeDeviceXml } from "../../xml/index.js";
import type { LibvirtXml } from "../../xml/index.js";
import { isDaemonMissing } from "../errors.js";
import type { LibvirtHost } from "../host.js";

interface Limits {
  readonly signal: AbortSignal | undefined;
  readonly deadlineMs: number;
}

/** By address; none where libvirt does not watch the host's devices. `virConnectListAllNodeDevices`. @throws LibvirtError */
export async function readPciDevices({ client }: LibvirtHost, limits: Limits): Promise<readonly HostPciDevice[]> {
  let devices: readonly NodeDevice[];
  try {
    devices = await client.listAllNodeDevices({ flags: ["capPciDev"], ...limits });
  } catch (error) {
    // One that is down may come back, and has devices then.
    const none = isDaemonMissing(error) && error.errno === "ENOENT";
    if (none || isLibvirtError(error, "notSupported")) return [];
    throw error;
  }
  const documents = await Promise.all(devices.map((device) => readUnlessGone(device, limits)));
  return documents
    .flatMap((document) => (document === undefined ? [] : pciDevicesOf(document)))
    .sort((one, other) => (one.address < other.address ? -1 : 1));
}

async function readUnlessGone(device: NodeDevice, limits: Limits): Promise<string | undefined> {
  try {
    return await device.getXmlDesc(limits);
  } catch (error) {
    if (isLibvirtError(error, "nodeDeviceNotFound")) return undefined;
    throw error;
  }
}

/** What a node device's document says of the PCI function that it is; nothing for other devices. Pure. */
export function pciDevicesOf(document: string): readonly HostPciDevice[] {
  const { capability = [], driver } = parseNodeDeviceXml(document);
  return capability.flatMap((pci) => {
    if (pci.type !== "pci") return [];
    const { vendor, product, iommuGroup, numa } = pci;
    const [vendorId, productId] = [numberOf(vendor?.id), numberOf(product?.id)];
    if (vendorId === undefined || productId === undefined) return [];
    const classCode = numberOf(pci.class);
    const parts = pci.capability ?? [];
    const [physicalFunction] = addressesOf(parts, "phys_function");
    const virtual = parts.find(({ type }) => type === "virt_functions");
    const node = numa?.node;
    return [
      {
        address: addressOf(pci),
        vendorId,
        productId,
        ...text("vendor", vendor?.$text),
        ...text("product", product?.$text),
        ...text("driver", driver?.name),
        ...(classCode === undefined ? {} : { classCode }),
        ...(node === undefined || node < 0 ? {} : { numaNode: node }),
        ...(iommuGroup?.number === undefined ? {} : { iommuGroup: iommuGroup.number }),
        ...(physicalFunction === undefined ? {} : { physicalFunction }),
        ...(virtual === undefined
          ? {}
          : {
              virtualFunctions: addressesOf(parts, "virt_functions"),
              ...(virtual.maxCount === undefined ? {} : { maxVirtualFunctions: virtual.maxCount }),
            }),
      },
    ];
  });
}

function addressesOf(
  parts: readonly LibvirtXml.NodeDeviceCapabilityCapability[],
  type: "phys_function" | "virt_functions",
): readonly string[] {
  return parts.filter((part) => part.type === type).flatMap(({ address = [] }) => address.map(addressOf));
}

type Place = Partial<Record<"domain" | "bus" | "slot" | "function", string | number | bigint | undefined>>;

function addressOf(place: Place): string {
  const hex = (value: Place["bus"], digits: number): string =>
    Number(value ?? 0)
      .toString(16)
      .padStart(digits, "0");
  return `${hex(place.domain, 4)}:${hex(place.bus, 2)}:${hex(place.slot, 2)}.${hex(place.function, 1)}`;
}

function numberOf(value: string | undefined): number | undefined {
  return value === undefined || !/^0x[0-9a-f]{1,6}$/i.test(value) ? undefined : Number(value);
}

function text<K extends string>(key: K, value: string | undefined): Partial<Record<K, string>> {
  return value === undefined || value.trim() === "" ? {} : ({ [key]: value.trim() } as Record<K, string>);
}
