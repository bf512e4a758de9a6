/** The seam between what is to be filtered and one of the host's ways to filter it. */
import type { InstancePolicy } from "./port-policy.js";
import type { PolicyChange, PolicyState } from "./policy-state.js";

export interface FilterCounter {
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** What the filters of a port have let through and dropped since they were made. */
export interface PortCounters {
  readonly portId: string;
  /** To the port: new flows that were permitted, and packets dropped. */
  readonly accepted: FilterCounter;
  readonly dropped: FilterCounter;
}

/** Puts policies in force. One call at a time. */
export interface FirewallBackend {
  /** Makes the host's filters of ours those of the state, whatever is there now. Nothing in between is ever in force. On failure nothing has changed. */
  replace(state: PolicyState): Promise<void>;
  /** Makes a change that follows what is in force. On failure nothing has changed. */
  commit(change: PolicyChange): Promise<void>;
  /** Whether what was put in force still is, as far as a quick look tells. */
  intact(): Promise<boolean>;
  /** Takes all of ours out; success when there is nothing. */
  remove(): Promise<void>;
  /** Refuses, before anything is touched, what can't be put in force: `InvalidArgumentError`, `NotSupportedError`. Pure. */
  check(instance: InstancePolicy): void;
  /** What would be put in force for an instance, for people. Pure. */
  plan(state: PolicyState, instance: InstancePolicy): string;
  /** Of the ports of an instance. */
  portCounters(instance: InstancePolicy): Promise<readonly PortCounters[]>;
  /** What the rules of a group have permitted. */
  groupCounter(groupId: string): Promise<FilterCounter>;
}
