/** Mediated devices of the host, and which guest has which: handed out, made again after a boot of the host, and removed when nobody needs them. */
import { randomUUID } from "node:crypto";
import { ConflictError, KeyedLock, asError, traceMessage } from "../../../core/index.js";
import { NoCapacityError } from "../../../driver/index.js";
import type { GuestDefinition } from "../../../driver/index.js";
import { HostIoError } from "../../../host/index.js";
import type { MediatedDevice, MediatedDeviceType, MediatedDevices } from "../../../host/index.js";
import type { GuestState } from "../state/guest-state.js";
import type { ResourceHolder } from "../state/resource-holder.js";
import { mediatedDevicesOf, mediatedUuid, satisfies } from "./held-device.js";
import type { HeldMediatedDevice, WantedMediatedDevice } from "./held-device.js";

/** All guests choose from the same devices. */
const TURN = "mediated";

export class MediatedPool {
  readonly #devices: MediatedDevices;
  readonly #turn = new KeyedLock();
  #states: () => readonly GuestState[] = () => [];

  constructor(devices: MediatedDevices) {
    this.#devices = devices;
  }

  /** @param states those of all guests: what they have is not free */
  among(states: () => readonly GuestState[]): void {
    this.#states = states;
  }

  /** What more can be made, by device of the host. @throws HostIoError */
  types(): Promise<readonly MediatedDeviceType[]> {
    return this.#devices.types();
  }

  /**
   * Sees to it that the host has all mediated devices of a definition, and that they are this guest's. Repeatable.
   * @throws ConflictError when another guest has one; NoCapacityError when the host has none left of a type; HostIoError. What was got until then is kept: see `release`
   */
  async claim(guest: ResourceHolder, definition: GuestDefinition = guest.definition): Promise<void> {
    const wanted = mediatedDevicesOf(definition);
    if (wanted.length === 0) return;
    await this.#turn.run(TURN, async () => {
      for (const device of wanted) await this.#hold(guest, device, await this.#devices.list());
    });
  }

  /** Gives back what the guest's definition does not have, or with `all`, everything. What can't be removed stays on the host and is free. Repeatable. */
  async release(guest: ResourceHolder, { all = false } = {}): Promise<void> {
    const wanted = all ? [] : mediatedDevicesOf(guest.definition);
    const isWanted = (held: HeldMediatedDevice): boolean =>
      wanted.some((device) => device.id === held.device && satisfies(held, device));
    if ((guest.state.mediated ?? []).every(isWanted)) return;
    await this.#turn.run(TURN, async () => {
      for (const held of guest.state.mediated ?? []) {
        if (isWanted(held)) continue;
        if (held.made) await this.#devices.remove(held.uuid).catch(traceFailure);
        await guest.update((state) => withHeld(state, held.device, undefined));
      }
    });
  }

  async #hold(guest: ResourceHolder, wanted: WantedMediatedDevice, present: readonly MediatedDevice[]): Promise<void> {
    const { id } = wanted;
    const held = guest.state.mediated?.find((one) => one.device === id && satisfies(one, wanted));
    const uuid = held?.uuid ?? (wanted.type === "mediated" ? wanted.uuid : undefined);
    if (uuid !== undefined) {
      this.#requireFree(guest, id, uuid);
      const there = present.find((one) => one.uuid === uuid);
      if (there !== undefined) return note(guest, { device: id, ...there, made: held?.made ?? false });
      // One that the driver has never seen it can't make; libvirt says so when it is used.
      return held === undefined ? undefined : this.#make(guest, wanted, held);
    }
    const free = present.find((one) => satisfies(one, wanted) && this.#holderOf(one.uuid, guest, id) === undefined);
    if (free !== undefined) return note(guest, { device: id, ...free, made: false });
    const own = mediatedUuid(guest.definition.uuid, id);
    return this.#make(guest, wanted, {
      uuid: present.some((one) => one.uuid === own) ? randomUUID() : own,
      mdevType: wanted.type === "mediatedOfType" ? wanted.mdevType : "",
    });
  }

  /** Makes one, where it was before if there is room. */
  async #make(
    guest: ResourceHolder,
    { id, ...wanted }: WantedMediatedDevice,
    lost: Omit<MediatedDevice, "parent"> & Partial<HeldMediatedDevice>,
  ): Promise<void> {
    const { instance } = guest;
    const { uuid, mdevType } = lost;
    const bound = wanted.type === "mediatedOfType" ? wanted.parent : undefined;
    const places = (await this.#devices.types())
      .filter((type) => type.mdevType === mdevType && type.available > 0)
      .filter(({ parent }) => bound === undefined || parent === bound)
      .sort((one, other) => Number(other.parent === lost.parent) - Number(one.parent === lost.parent));
    let cause: unknown;
    for (const { parent } of places) {
      // The record comes first: whoever finds it after a crash makes the device, or removes it.
      await note(guest, { device: id, uuid, mdevType, parent, made: lost.made ?? true });
      try {
        return await this.#devices.create({ uuid, mdevType, parent });
      } catch (error) {
        if (!(error instanceof HostIoError)) throw error;
        cause ??= error;
      }
    }
    throw new NoCapacityError(`the host has no mediated device of type ${mdevType} left`, {
      instance,
      device: id,
      ...(cause === undefined ? {} : { cause }),
    });
  }

  #requireFree(guest: ResourceHolder, id: string, uuid: string): void {
    const holder = this.#holderOf(uuid, guest, id);
    if (holder === undefined) return;
    const { instance } = guest;
    throw new ConflictError(`mediated device ${uuid} is in use by guest ${holder}`, { instance, device: id });
  }

  /** Uuid of the guest that has it, but for the one device that asks. */
  #holderOf(mdev: string, guest: ResourceHolder, id: string): string | undefined {
    const isOther = (uuid: string, device: string): boolean => uuid !== guest.definition.uuid || device !== id;
    return this.#states().find(
      ({ definition, mediated = [] }) =>
        mediated.some((held) => held.uuid === mdev && isOther(definition.uuid, held.device)) ||
        mediatedDevicesOf(definition).some(
          (one) => one.type === "mediated" && one.uuid === mdev && isOther(definition.uuid, one.id),
        ),
    )?.definition.uuid;
  }
}

function note(guest: ResourceHolder, held: HeldMediatedDevice): Promise<void> {
  return guest.update((state) => withHeld(state, held.device, held));
}

/** The same object where it says so already. */
function withHeld(state: GuestState, device: string, held: HeldMediatedDevice | undefined): GuestState {
  const { mediated = [], ...rest } = state;
  const before = mediated.find((one) => one.device === device);
  if (held !== undefined && before !== undefined && isSame(held, before)) return state;
  const others = mediated.filter((one) => one.device !== device);
  const all = held === undefined ? others : [...others, held];
  return all.length === 0 ? rest : { ...rest, mediated: all };
}

function isSame(one: HeldMediatedDevice, other: HeldMediatedDevice): boolean {
  return (["uuid", "mdevType", "parent", "made"] as const).every((key) => one[key] === other[key]);
}

function traceFailure(error: unknown): void {
  traceMessage("hypervise:libvirt:background-failure", () => ({ error: asError(error).message }));
}
