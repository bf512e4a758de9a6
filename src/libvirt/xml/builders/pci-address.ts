/** Addresses of PCI devices. */
import { InvalidArgumentError } from "../../../core/index.js";

/** An address in the four parts that libvirt writes it in. */
export interface PciAddressXml {
  readonly domain: string;
  readonly bus: string;
  readonly slot: string;
  readonly function: string;
}

const ADDRESS = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$/i;

/** The parts of `0000:03:10.1`; the domain may be left out. Throws `InvalidArgumentError` for anything else. */
export function pciAddressXml(text: string, field: string): PciAddressXml {
  const [, domain = "0000", bus, slot, fn] = ADDRESS.exec(text) ?? [];
  if (bus === undefined || slot === undefined || fn === undefined) {
    throw new InvalidArgumentError({ field, value: text, expected: "a PCI address such as 0000:03:10.1" });
  }
  return { domain: `0x${domain}`, bus: `0x${bus}`, slot: `0x${slot}`, function: `0x${fn}` };
}
