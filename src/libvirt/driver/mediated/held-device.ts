/** The mediated devices that a guest has on this host. */
import { createHash } from "node:crypto";
import { check } from "../../../core/index.js";
import type { Check } from "../../../core/index.js";
import type { GuestDefinition, GuestDevice } from "../../../driver/index.js";
import type { MediatedDevice } from "../../../host/index.js";

/** One that is a guest's, whether it is there or not: it is made again after a boot of the host. */
export interface HeldMediatedDevice extends MediatedDevice {
  /** Our id of the guest's device. */
  readonly device: string;
  /** Made for the guest, and removed when the guest does not have it any more. */
  readonly made: boolean;
}

/** A guest's device that is a mediated one. */
export type WantedMediatedDevice = Extract<GuestDevice, { readonly type: "mediated" | "mediatedOfType" }>;

const kernelName = check.string({ max: 128 });

export const heldDevicesCheck: Check<readonly HeldMediatedDevice[]> = check.array(
  check.object({
    device: check.string({ max: 255 }),
    uuid: check.uuid(),
    mdevType: kernelName,
    parent: kernelName,
    made: check.boolean(),
  }),
  { max: 256 },
);

export function mediatedDevicesOf({ hardware }: Pick<GuestDefinition, "hardware">): readonly WantedMediatedDevice[] {
  return (hardware?.devices ?? []).filter((device) => device.type === "mediated" || device.type === "mediatedOfType");
}

/** Whether what is held is what is wanted. */
export function satisfies(held: MediatedDevice, wanted: WantedMediatedDevice): boolean {
  if (wanted.type === "mediated") return held.uuid === wanted.uuid;
  return held.mdevType === wanted.mdevType && (wanted.parent === undefined || held.parent === wanted.parent);
}

/** The uuid of a device that is made for a guest: always the same, so that a plan shows it before it is there. RFC 9562, version 8. */
export function mediatedUuid(guestUuid: string, device: string): string {
  const hex = createHash("sha256").update(`hypervise/${guestUuid}/device/${device}`).digest("hex");
  const variant = ((Number.parseInt(hex.charAt(16), 16) & 0x3) | 0x8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** The host's devices by our ids of the guest's: those it has, and those that would be made. Pure. */
export function mediatedUuidsOf(
  definition: Pick<GuestDefinition, "uuid" | "hardware">,
  held: readonly HeldMediatedDevice[] = [],
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    mediatedDevicesOf(definition).map((wanted) => {
      if (wanted.type === "mediated") return [wanted.id, wanted.uuid];
      const own = held.find((one) => one.device === wanted.id && satisfies(one, wanted));
      return [wanted.id, own?.uuid ?? mediatedUuid(definition.uuid, wanted.id)];
    }),
  );
}
