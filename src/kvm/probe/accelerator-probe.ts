/** Whether guests really run under KVM here. On some hosts `/dev/kvm` opens, small guests run, and Linux hangs or dies. */
import { constants } from "node:fs";
import { access, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DeadlineExceededError, isHyperviseError } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import type { QemuBinary } from "../binary.js";
import type { ProcessEnd } from "../events.js";
import type { QemuCapabilities } from "../plan/capabilities.js";
import { PROBE_EXIT, probeFirmware } from "./probe-guest.js";
import { withThrowawayQemu } from "./throwaway-qemu.js";
import type { ThrowawayQemu } from "./throwaway-qemu.js";

export interface AcceleratorVerdict {
  readonly usable: boolean;
  /** One sentence for people. */
  readonly reason: string;
  /** False for what may be otherwise a moment later, such as permissions. */
  readonly lasting: boolean;
}

export interface AcceleratorProbeOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly cpuModel: string;
  readonly signal?: AbortSignal | undefined;
  /** Default: `/dev/kvm`. */
  readonly device?: string;
}

/**
 * Runs a guest of 512 bytes under KVM that does what Linux does first (see probe-guest.S), and tells how that went. Nothing is left of it.
 * @throws AbortedError when the caller aborts
 */
export async function probeKvm(
  binary: QemuBinary,
  capabilities: Pick<QemuCapabilities, "accelerators">,
  options: AcceleratorProbeOptions,
): Promise<AcceleratorVerdict> {
  const { device = "/dev/kvm" } = options;
  if (!capabilities.accelerators.includes("kvm")) return refuse("this QEMU is built without KVM", true);
  const denied = await access(device, constants.R_OK | constants.W_OK).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error.code ?? "unknown error",
  );
  if (denied === "ENOENT") return refuse(`there is no ${device}`, false);
  if (denied !== undefined) return refuse(`${device} can't be opened (${denied})`, false);
  return runProbeGuest(binary.path, "kvm", options);
}

/** Runs the probe's guest under any accelerator. */
export async function runProbeGuest(
  binary: string,
  accelerator: "kvm" | "tcg",
  options: AcceleratorProbeOptions,
): Promise<AcceleratorVerdict> {
  const { clock, timeoutMs, cpuModel, signal } = options;
  const directory = await mkdtemp(join(tmpdir(), "hypervise-probe-"));
  try {
    const firmware = join(directory, "firmware.bin");
    await writeFile(firmware, probeFirmware());
    const args = [
      ...["-machine", "pc", "-accel", accelerator, "-cpu", cpuModel, "-m", "16", "-S", "-no-reboot", "-bios", firmware],
      ...["-device", "isa-debug-exit,iobase=0x501,iosize=1"],
    ];
    return await withThrowawayQemu(binary, args, { clock, timeoutMs, signal, operation: "trying a guest" }, watchGuest);
  } catch (error) {
    if (signal?.aborted === true) throw error;
    if (error instanceof DeadlineExceededError)
      return refuse(`a guest of a few instructions did not end within ${timeoutMs} ms`, true);
    if (isHyperviseError(error)) return refuse(`QEMU does not start with it: ${error.detail ?? error.message}`, true);
    throw error;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function watchGuest({ monitor, ended }: ThrowawayQemu): Promise<AcceleratorVerdict> {
  const stopped = monitor.waitFor("STOP").then(
    () => "stopped" as const,
    () => ended,
  );
  // The guest may end before the reply does.
  const running = monitor.execute("cont").catch(() => undefined);
  const outcome = await Promise.race([stopped, ended]);
  await running;
  if (outcome === "stopped") {
    const status = await monitor.execute("query-status").then(
      (answer) => String(answer.status),
      () => "stopped",
    );
    return refuse(`the guest broke: QEMU reports ${status}`, true);
  }
  return judge(outcome);
}

function judge({ exitCode, signal, log }: ProcessEnd): AcceleratorVerdict {
  if (exitCode === PROBE_EXIT.works) return { usable: true, reason: "a guest ran", lasting: true };
  if (exitCode === PROBE_EXIT.wrong) return refuse("a guest computed wrong results", true);
  const how = signal === undefined ? `ended with status ${exitCode ?? "unknown"}` : `was ended by ${signal}`;
  return refuse(`QEMU ${how}${log === undefined || log === "" ? "" : `: ${log}`}`, true);
}

function refuse(reason: string, lasting: boolean): AcceleratorVerdict {
  return { usable: false, reason, lasting };
}
