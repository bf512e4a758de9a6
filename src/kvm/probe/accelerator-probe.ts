/** Whether guests really run under KVM here. On some hosts `/dev/kvm` opens, small guests run, and Linux hangs or dies. */
import { constants } from "node:fs";
import { access, chmod, chown, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { arch, tmpdir } from "node:os";
import { join } from "node:path";
import { DeadlineExceededError, isHyperviseError } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import type { Credentials } from "../access/credentials.js";
import { mayAccess } from "../access/file-rights.js";
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
  /** Whom the guest runs as; default: this process's own user. */
  readonly user?: Credentials | undefined;
}

/**
 * Runs a guest of 512 bytes under KVM that does what Linux does first (see probe-guest.S), and tells how that went. Nothing is left of it.
 * @throws AbortedError when the caller aborts
 */
export async function probeKvm(
  binary: QemuBinary,
  capabilities: Pick<QemuCapabilities, "accelerators" | "target">,
  options: AcceleratorProbeOptions,
): Promise<AcceleratorVerdict> {
  const { device = "/dev/kvm" } = options;
  if (!capabilities.accelerators.includes("kvm")) return refuse("this QEMU is built without KVM", true);
  const { target } = capabilities;
  if (target !== hostArchitecture()) return refuse(`this host does not run ${target} code itself`, true);
  const denied = await access(device, constants.R_OK | constants.W_OK).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error.code ?? "unknown error",
  );
  if (denied === "ENOENT") return refuse(`there is no ${device}`, false);
  if (denied !== undefined) return refuse(`${device} can't be opened (${denied})`, false);
  if (options.user !== undefined && !(await isOpenTo(device, options.user)))
    return refuse(`${device} can't be opened by the user that QEMU runs as`, false);
  return target === "x86_64" ? runProbeGuest(binary.path, "kvm", options) : startProbeGuest(binary.path, options);
}

/** The architecture of this process, as QEMU calls it. */
function hostArchitecture(): string {
  return { x64: "x86_64", arm64: "aarch64" }[arch() as "x64"] ?? arch();
}

/** Elsewhere than on x86 no KVM is known that starts guests and does not run them: that QEMU makes its machine is enough. */
async function startProbeGuest(binary: string, options: AcceleratorProbeOptions): Promise<AcceleratorVerdict> {
  const { clock, timeoutMs, cpuModel, signal, user } = options;
  const args = ["-machine", "virt,gic-version=max", "-accel", "kvm", "-cpu", cpuModel, "-m", "64", "-S"];
  return judged(options, () =>
    withThrowawayQemu(
      binary,
      args,
      { clock, timeoutMs, signal, user, operation: "trying a guest" },
      async ({ monitor }) => {
        const { enabled } = await monitor.execute("query-kvm");
        return enabled
          ? { usable: true, reason: "QEMU made a machine", lasting: true }
          : refuse("QEMU does not use it", true);
      },
    ),
  );
}

/** What a failed trial says. @throws AbortedError when the caller aborts */
async function judged(
  { signal, timeoutMs }: AcceleratorProbeOptions,
  trial: () => Promise<AcceleratorVerdict>,
): Promise<AcceleratorVerdict> {
  try {
    return await trial();
  } catch (error) {
    if (signal?.aborted === true) throw error;
    if (error instanceof DeadlineExceededError)
      return refuse(`a guest of a few instructions did not end within ${timeoutMs} ms`, true);
    if (isHyperviseError(error)) return refuse(`QEMU does not start with it: ${error.detail ?? error.message}`, true);
    throw error;
  }
}

/** Runs the probe's guest under any accelerator. */
export async function runProbeGuest(
  binary: string,
  accelerator: "kvm" | "tcg",
  options: AcceleratorProbeOptions,
): Promise<AcceleratorVerdict> {
  const { clock, timeoutMs, cpuModel, signal, user } = options;
  const directory = await mkdtemp(join(tmpdir(), "hypervise-probe-"));
  try {
    const firmware = join(directory, "firmware.bin");
    await writeFile(firmware, probeFirmware());
    if (user !== undefined) await chown(firmware, user.uid, user.gid);
    if (user !== undefined) await chmod(directory, 0o711);
    const args = [
      ...["-machine", "pc", "-accel", accelerator, "-cpu", cpuModel, "-m", "16", "-S", "-no-reboot", "-bios", firmware],
      ...["-device", "isa-debug-exit,iobase=0x501,iosize=1"],
    ];
    const trial = { clock, timeoutMs, signal, user, operation: "trying a guest" };
    return await judged(options, () => withThrowawayQemu(binary, args, trial, watchGuest));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function isOpenTo(device: string, user: Credentials): Promise<boolean> {
  const { uid, gid, mode } = await stat(device);
  return mayAccess({ uid, gid, mode: mode & 0o7777 }, user, "write");
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
