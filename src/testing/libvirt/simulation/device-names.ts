/** What libvirt calls the devices of a running domain. */
import type { DomainDocument } from "./domain-record.js";

type Devices = NonNullable<DomainDocument["devices"]>;

const PREFIXES = {
  interface: "net",
  serial: "serial",
  parallel: "parallel",
  channel: "channel",
  video: "video",
  sound: "sound",
  hostdev: "hostdev",
  input: "input",
  watchdog: "watchdog",
  rng: "rng",
  filesystem: "fs",
  redirdev: "redir",
  shmem: "shmem",
  memory: "dimm",
  tpm: "tpm",
  memballoon: "balloon",
} as const satisfies Partial<Record<keyof Devices, string>>;

/** Kinds of devices that have aliases. */
export const ALIASED_KINDS = ["disk", "controller", "console", ...Object.keys(PREFIXES)] as const;

interface Aliased {
  alias?: { name?: string } | undefined;
}

/** The devices of a kind, as a list. */
export function devicesOf(document: DomainDocument, kind: string): Aliased[] {
  const value = (document.devices as Readonly<Record<string, unknown>> | undefined)?.[kind];
  if (value === undefined || value === null || typeof value !== "object") return [];
  return (Array.isArray(value) ? value : [value]) as Aliased[];
}

/** Gives every device an alias that has none. */
export function nameDevices(document: DomainDocument): void {
  for (const disk of devicesOf(document, "disk") as NonNullable<Devices["disk"]>)
    disk.alias ??= { name: diskAlias(disk) };
  devicesOf(document, "controller").forEach((controller) => {
    const { type = "pci", index = 0 } = controller as { type?: string; index?: number };
    controller.alias ??= {
      name: type === "pci" ? `pci.${index}` : type === "usb" && Number(index) === 0 ? "usb" : `${type}${index}`,
    };
  });
  for (const [kind, prefix] of Object.entries(PREFIXES)) {
    const devices = devicesOf(document, kind);
    const taken = new Set(devices.map(({ alias }) => alias?.name));
    for (const device of devices) {
      if (device.alias?.name !== undefined) continue;
      const free = Array.from({ length: devices.length }, (_, i) => `${prefix}${i}`).find((name) => !taken.has(name));
      device.alias = { name: free ?? `${prefix}${devices.length}` };
      taken.add(device.alias.name);
    }
  }
  devicesOf(document, "console").forEach((console, index) => (console.alias ??= { name: `serial${index}` }));
}

/** The place of a disk's name among its like: `vdc` is 2, `vdaa` is 26. */
export function targetIndex(target: string): number {
  const letters = /[a-z]+$/.exec(target.slice(2))?.[0] ?? "a";
  return [...letters].reduce((sum, letter) => sum * 26 + letter.charCodeAt(0) - 96, 0) - 1;
}

/** The bus that a disk of this name has unless it says otherwise. */
export function busOf(target: string): string {
  const buses: Readonly<Record<string, string>> = { vd: "virtio", sd: "scsi", hd: "ide", fd: "fdc" };
  return buses[target.slice(0, 2)] ?? "virtio";
}

function diskAlias({ target }: NonNullable<Devices["disk"]>[number]): string {
  const dev = target?.dev ?? "vda";
  const bus = target?.bus ?? busOf(dev);
  const index = targetIndex(dev);
  if (bus === "virtio") return `virtio-disk${index}`;
  return bus === "ide" ? `ide0-${index >> 1}-${index & 1}` : `${bus}0-0-${bus === "scsi" ? "0-" : ""}${index}`;
}
