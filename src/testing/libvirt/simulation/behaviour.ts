/** How simulated guests behave, and how long things take, in milliseconds of the host's clock. */

export interface SimulatedGuestBehaviour {
  /** From the start until the operating system is up: only then does it hear ACPI, its agent and its device bus. Default: 0. */
  readonly bootMs: number;
  /** What it makes of a request to shut down or reboot. Default: `obey`. */
  readonly acpi: "obey" | "ignore";
  /** From that request until it is off or up again. Default: 0. */
  readonly shutdownMs: number;
  /** What it makes of a request to let go of a device. `refuse`: says no; `ignore`: never answers. Default: `release`. */
  readonly detach: "release" | "refuse" | "ignore";
  /** From that request until its answer. Default: 0. */
  readonly detachMs: number;
  /** Whether its agent answers; `absent`: not installed. Default: `responding`. */
  readonly agent: "responding" | "hung" | "absent";
  /** How long a block job takes until it is ready or done. Default: 0. */
  readonly blockJobMs: number;
  /** How long a migration takes until the guest is stopped here. Default: 0. */
  readonly migrationMs: number;
  /** A text here makes every start fail with it. Default: none. */
  readonly startError: string;
}

export const DEFAULT_SIMULATED_BEHAVIOUR: SimulatedGuestBehaviour = Object.freeze({
  bootMs: 0,
  acpi: "obey",
  shutdownMs: 0,
  detach: "release",
  detachMs: 0,
  agent: "responding",
  blockJobMs: 0,
  migrationMs: 0,
  startError: "",
});
