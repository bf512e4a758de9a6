/** The places for vCPUs of a machine, in the order in which they are filled: so a number says which are. Pure. */
import type { GuestDefinition } from "../../driver/index.js";
import { toNumber } from "../../qmp/index.js";
import type { Qapi } from "../../qmp/index.js";
import { maxVcpus } from "../plan/command-line.js";
import type { GuestState } from "../state/guest-state.js";

export interface VcpuSlot {
  readonly index: number;
  /** QEMU's type of the CPU. */
  readonly type: string;
  readonly props: Qapi.CpuInstanceProperties;
  /** Where the vCPU is in QEMU; absent for an empty place. */
  readonly path?: string;
}

const ORDER = ["node-id", "socket-id", "die-id", "cluster-id", "core-id", "thread-id"] as const;
const UNNAMED = "/machine/unattached/";
const NAMED = "/machine/peripheral/";

/** The places that `query-hotpluggable-cpus` told of, first first: as QEMU numbers vCPUs. */
export function vcpuSlots(answer: readonly Qapi.HotpluggableCPU[]): readonly VcpuSlot[] {
  const place = (props: Qapi.CpuInstanceProperties): number[] =>
    ORDER.slice(1).map((key) => toNumber((props as Record<string, number | bigint | undefined>)[key] ?? 0));
  return [...answer]
    .sort((one, other) => compare(place(one.props), place(other.props)))
    .map((slot, index) => ({
      index,
      type: slot.type,
      props: slot.props,
      ...(slot["qom-path"] === undefined ? {} : { path: slot["qom-path"] }),
    }));
}

/** Id in QEMU of a vCPU that was plugged. */
export function vcpuId(index: number): string {
  return `vcpu${index}`;
}

/** What `device_del` calls a vCPU: its id, or its path for one that the guest was started with. */
export function vcpuName({ path = "" }: VcpuSlot): string {
  return path.startsWith(NAMED) ? path.slice(NAMED.length) : path;
}

/** Whether an event about a device is about a vCPU. */
export function isVcpuName(name: string): boolean {
  return /^vcpu\d+$/.test(name) || name.startsWith(UNNAMED);
}

/** The state of a guest that has so many vCPUs. What it may have at most stays the same. */
export function withVcpus(state: GuestState, vcpus: number): GuestState {
  const { definition } = state;
  if (definition.vcpus === vcpus) return state;
  return { ...state, definition: redefined(definition, vcpus, Math.max(maxVcpus(definition), vcpus)) };
}

function redefined(definition: GuestDefinition, vcpus: number, most: number): GuestDefinition {
  const { hardware } = definition;
  return { ...definition, vcpus, hardware: { ...hardware, cpu: { ...hardware?.cpu, maxVcpus: most } } };
}

function compare(one: readonly number[], other: readonly number[]): number {
  const at = one.findIndex((value, index) => value !== other[index]);
  return at < 0 ? 0 : (one[at] as number) - (other[at] as number);
}
