/** The order in which a guest tries its disks and NICs, as libvirt counts: from 1, without gaps. Pure. */
import type { GuestDefinition } from "../../../driver/index.js";
import type { LibvirtXml } from "../../xml/index.js";

export class BootOrder {
  readonly #indices: readonly number[];

  constructor({ disks, nics }: Pick<GuestDefinition, "disks" | "nics">) {
    this.#indices = [...disks, ...nics].flatMap(({ bootIndex }) => bootIndex ?? []).sort((a, b) => a - b);
  }

  /** The element `<boot>` of the device with an index; undefined for one that is not booted from. */
  of(bootIndex: number | undefined): LibvirtXml.DomainBoot | undefined {
    const place = bootIndex === undefined ? -1 : this.#indices.indexOf(bootIndex);
    return place < 0 ? undefined : { order: place + 1 };
  }
}
