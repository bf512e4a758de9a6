/** States of a guest, with Nova's numbers. */

/** Nova's `power_state` values; the gaps are states that Nova has dropped. */
export const POWER_STATE_CODES = {
  nostate: 0,
  running: 1,
  paused: 3,
  shutdown: 4,
  crashed: 6,
  suspended: 7,
} as const;

/**
 * `running`: vCPUs run or are blocked. `paused`: in memory, vCPUs stopped. `shutdown`: defined, not in memory. `crashed`: the guest or its
 * hypervisor process died. `suspended`: its memory is saved on disk. `nostate`: the hypervisor can't tell at present.
 */
export type PowerState = keyof typeof POWER_STATE_CODES;
