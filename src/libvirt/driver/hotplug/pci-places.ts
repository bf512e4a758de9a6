/** Whether a guest's machine has a place for another PCI device. Pure. */
import type { DomainXml } from "../../xml/index.js";

/** Places that devices can be put into while the guest runs, by the controller's model: first and last slot. */
const SLOTS: Readonly<Record<string, readonly [number, number]>> = {
  "pcie-root-port": [0, 0],
  "pcie-switch-downstream-port": [0, 0],
  "pci-root": [1, 31],
  "pci-bridge": [1, 31],
  "pcie-to-pci-bridge": [1, 31],
};

export function hasFreePciPlace({ devices = {} }: DomainXml): boolean {
  const taken = new Set<string>();
  for (const elements of Object.values(devices as Readonly<Record<string, unknown>>))
    for (const element of Array.isArray(elements) ? (elements as unknown[]) : [elements]) noteAddress(element, taken);
  return (devices.controller ?? []).some(({ type, model, index }) => {
    const slots = type === "pci" && model !== undefined ? SLOTS[model] : undefined;
    if (slots === undefined || index === undefined) return false;
    const [first, last] = slots;
    for (let slot = first; slot <= last; slot += 1) if (!taken.has(placeOf(index, slot))) return true;
    return false;
  });
}

function noteAddress(element: unknown, taken: Set<string>): void {
  if (typeof element !== "object" || element === null || !("address" in element)) return;
  const { address } = element as { readonly address?: Readonly<Record<string, unknown>> };
  if (address?.["type"] !== "pci") return;
  taken.add(placeOf(Number(address["bus"]), Number(address["slot"])));
}

function placeOf(bus: number, slot: number): string {
  return `${bus}:${slot}`;
}
