/** Whether QEMU's devices have the properties that a command line gives them. Pure. */
import { NotSupportedError } from "../../core/index.js";
import type { QemuCapabilities } from "./capabilities.js";

const words = (...lines: readonly string[]): readonly string[] => lines.flatMap((line) => line.split(" "));

/** Devices that plans give properties to: those that QEMU has of them it is asked about. */
export const PLANNED_DEVICES: ReadonlySet<string> = new Set(
  words(
    "virtio-blk-pci virtio-blk-device virtio-scsi-pci scsi-hd scsi-cd lsi53c895a megasas-gen2 pvscsi nvme ide-hd ide-cd floppy isa-fdc usb-storage ich9-ahci",
    "virtio-net-pci virtio-net-device e1000 e1000e rtl8139 vmxnet3 pcie-root-port virtio-serial-pci virtio-serial-device virtserialport isa-serial",
    "virtio-rng-pci virtio-rng-device virtio-balloon-pci virtio-balloon-device virtio-mem-pci pc-dimm vhost-vsock-pci vhost-user-fs-pci virtio-9p-pci",
    "VGA virtio-vga virtio-gpu-pci qxl-vga qxl bochs-display cirrus-vga ramfb qemu-xhci usb-tablet usb-mouse usb-kbd usb-host usb-audio",
    "ich9-intel-hda intel-hda hda-duplex AC97 ES1370 sb16 i6300esb ib700 tpm-crb tpm-tis tpm-tis-device vfio-pci vmgenid pvpanic",
  ),
);

/** What every device takes, and none tells of. */
const COMMON: ReadonlySet<string> = new Set(["driver", "id", "bus"]);

/**
 * Looks at the values of `-device` that are JSON. A device that QEMU was not asked about is QEMU's own business.
 * @throws NotSupportedError with the capability `virtio-balloon-pci.free-page-reporting` when QEMU's device has no such property
 */
export function requireDeviceProperties(
  args: readonly string[],
  { deviceProperties }: Pick<QemuCapabilities, "deviceProperties">,
): void {
  for (const [index, argument] of args.entries()) {
    if (args[index - 1] !== "-device" || !argument.startsWith("{")) continue;
    const device = JSON.parse(argument) as Readonly<Record<string, unknown>>;
    const driver = String(device["driver"]);
    const known = Object.hasOwn(deviceProperties, driver) ? deviceProperties[driver] : undefined;
    const missing = known && Object.keys(device).find((name) => !COMMON.has(name) && !known.includes(name));
    if (missing === undefined) continue;
    throw new NotSupportedError({
      capability: `${driver}.${missing}`,
      message: `this QEMU's ${driver} has no property ${missing}`,
    });
  }
}
