/** Which thread of a QEMU runs on which CPUs of the host. Pure. */
import type { CpuPinning } from "../../driver/index.js";

/** The threads of a QEMU process by the kernel's ids. */
export interface GuestThreads {
  /** By number of the vCPU. */
  readonly vcpus: ReadonlyMap<number, number>;
  /** By number of the I/O thread. */
  readonly ioThreads: ReadonlyMap<number, number>;
  readonly all: readonly number[];
}

export interface PinnedThread {
  readonly thread: number;
  readonly cpus: readonly number[] | "all";
  /** False for one of QEMU's helpers, which come and go as they like. */
  readonly lasting: boolean;
}

/**
 * What to set. A thread inherits from the one that makes it, and vCPUs and I/O threads are made by an emulator thread: those without CPUs of their
 * own are freed again where the emulator is bound.
 */
export function planPinning(pinning: CpuPinning, threads: GuestThreads): readonly PinnedThread[] {
  const { emulator = [] } = pinning;
  const free = emulator.length > 0;
  const own = (
    ids: ReadonlyMap<number, number>,
    lists: readonly (readonly number[])[] | undefined,
  ): readonly PinnedThread[] =>
    [...ids].flatMap(([number, thread]): readonly PinnedThread[] => {
      const cpus = lists?.[number] ?? [];
      if (cpus.length > 0) return [{ thread, cpus, lasting: true }];
      return free ? [{ thread, cpus: "all", lasting: true }] : [];
    });
  const taken = new Set([...threads.vcpus.values(), ...threads.ioThreads.values()]);
  const others = free ? threads.all.filter((thread) => !taken.has(thread)) : [];
  return [
    ...others.map((thread): PinnedThread => ({ thread, cpus: emulator, lasting: false })),
    ...own(threads.vcpus, pinning.vcpus),
    ...own(threads.ioThreads, pinning.ioThreads),
  ];
}

/** The number at the end of an I/O thread's id: `iothread3`. */
export function ioThreadNumber(id: string): number | undefined {
  const digits = /(\d{1,4})$/.exec(id)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
