/** What a QEMU guest's devices hang on, as far as libvirt's own choice is not ours. Pure. */
import type { GuestDevice } from "../../../driver/index.js";
import type { LibvirtXml } from "../../xml/index.js";
import { defined } from "./defined.js";
import type { PlanContext } from "./plan-context.js";
import { unsupported } from "./refuse.js";

const DEFAULT_SPARE_PORTS = 8;
/** Eight ports to a slot of the root bus, and some slots have other uses. */
const MAX_PORTS = 96;
const SCSI_MODELS = { "virtio-scsi": "virtio-scsi", lsi: "lsilogic", megasas: "lsisas1078" } as const;

/** Whether a device takes a place on the guest's PCI bus. */
export function takesPciPlace({ type }: Pick<GuestDevice, "type">): boolean {
  return type === "pciHost" || type === "mediated" || type === "mediatedOfType";
}

/** The elements `<controller>`. */
export function planControllers(context: PlanContext): readonly LibvirtXml.DomainController[] {
  const { definition, machine } = context;
  const scsi = definition.disks.some(({ bus }) => bus === "scsi");
  const controllers: LibvirtXml.DomainController[] = [{ type: "usb", index: 0, model: "qemu-xhci" }];
  if (scsi || context.hardware.scsiController !== undefined) controllers.push(scsiController(context));
  if (machine === "pc") return controllers;
  const ports = Math.min(MAX_PORTS, expansionCards(context) + (context.options.spareRootPorts ?? DEFAULT_SPARE_PORTS));
  const root: LibvirtXml.DomainController = { type: "pci", index: 0, model: "pcie-root" };
  return [
    ...controllers,
    root,
    ...Array.from({ length: ports }, (_, port): LibvirtXml.DomainController => ({
      type: "pci",
      index: port + 1,
      model: "pcie-root-port",
    })),
  ];
}

function scsiController({ hardware }: PlanContext): LibvirtXml.DomainController {
  const { scsiController: wanted = "virtio-scsi" } = hardware;
  if (wanted === "pvscsi") throw unsupported("hardware.scsiController", "libvirt has no pvscsi for QEMU guests");
  return defined<LibvirtXml.DomainController>({ type: "scsi", index: 0, model: SCSI_MODELS[wanted] });
}

/** Cards that libvirt gives a root port each. */
function expansionCards({ definition, hardware }: PlanContext): number {
  const { disks, nics, guestAgent } = definition;
  const { devices = [], filesystems = [], spice, rng, balloon, vsock, memory } = hardware;
  const parts = [
    true, // the USB controller
    disks.some(({ bus }) => bus === "scsi") || hardware.scsiController !== undefined,
    guestAgent || spice !== undefined,
    rng !== false,
    balloon !== false,
    vsock !== undefined,
    memory?.hotplug === "virtio-mem",
  ];
  const cards = devices.filter(takesPciPlace).length;
  const disksOnPci = disks.filter(({ bus }) => bus === "virtio").length;
  return parts.filter(Boolean).length + cards + disksOnPci + nics.length + filesystems.length;
}
