/** How a simulated guest behaves, as its operating system and its hypervisor process would. All times in milliseconds of the world's clock. */

export interface GuestBehaviour {
  /** From power on until the operating system is up: only then does it hear ACPI, its agent and its device bus. Default 0. */
  readonly bootMs: number;
  /** What it makes of a shutdown request. `ignore`: nothing, for ever. Default `obey`. */
  readonly acpi: "obey" | "ignore";
  /** From the request until it is off. Default 0. */
  readonly shutdownMs: number;
  /** What it makes of a request to let go of a device. `refuse`: says no; `ignore`: never answers. Default `release`. */
  readonly detach: "release" | "refuse" | "ignore";
  /** From that request until its answer. Default 0. */
  readonly detachMs: number;
  /** What it makes of a request to open a drive: `locked` holds its medium fast. Default `free`. */
  readonly tray: "free" | "locked";
  /** `hung`: connected but silent; `absent`: not installed. Default `responding`. */
  readonly agent: "responding" | "hung" | "absent";
  /** How long the agent takes for an answer. Default 0. */
  readonly agentMs: number;
  /** What it makes of a non-maskable interrupt. Default `log`. */
  readonly onNmi: "log" | "crash" | "reboot";
  /** It crashes by itself this long after power on. 0 (default): it does not. */
  readonly crashAfterMs: number;
  /** It powers itself off this long after power on. 0 (default): it does not. */
  readonly powerOffAfterMs: number;
  /** It reboots itself once, this long after power on. 0 (default): it does not. */
  readonly rebootAfterMs: number;
  /** From the start until the hypervisor says that it runs. Default 0. */
  readonly startMs: number;
  /** A text here makes every start fail, with it as the hypervisor's words. Default: none. */
  readonly startError: string;
  /** From a kill until nothing of it runs. Default 0. */
  readonly killMs: number;
  /** Its process waits in the host's kernel and does not end even when killed. Default false. */
  readonly unkillable: boolean;
  /** Saving or restoring memory. Default 0. */
  readonly saveMs: number;
  /** Memory that it writes to anew in a second. Default 0. */
  readonly dirtyMiBps: number;
  /** The part of its memory that it writes to over and over, 0 to 1. Default 0.25. */
  readonly workingSet: number;
  /** The share of each vCPU that it uses, 0 to 1. Default 0.05. */
  readonly cpuLoad: number;
}

export const DEFAULT_BEHAVIOUR: GuestBehaviour = Object.freeze({
  bootMs: 0,
  acpi: "obey",
  shutdownMs: 0,
  detach: "release",
  detachMs: 0,
  tray: "free",
  agent: "responding",
  agentMs: 0,
  onNmi: "log",
  crashAfterMs: 0,
  powerOffAfterMs: 0,
  rebootAfterMs: 0,
  startMs: 0,
  startError: "",
  killMs: 0,
  unkillable: false,
  saveMs: 0,
  dirtyMiBps: 0,
  workingSet: 0.25,
  cpuLoad: 0.05,
});
