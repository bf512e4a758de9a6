/** Limits of what a device carries, by the kernel's traffic control. */
import { asError, check, isHyperviseError, withRollback } from "../../core/index.js";
import { checkLinkName, systemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { NetworkHostError } from "../errors.js";
import type { BandwidthLimit } from "../vif.js";

/** As the device has the directions: `transmit` is what the host sends by it. */
export interface DeviceLimits {
  readonly transmit?: BandwidthLimit;
  readonly receive?: BandwidthLimit;
}

/** How what a device receives is limited: thrown away above the limit, or led through a queue of another device. */
export type ReceiveMethod = "police" | "ifb";

export interface TrafficLimitsOptions {
  /** Default: {@link systemCommandRunner}. */
  readonly commands?: CommandRunner;
  /** Longest time that one command may take, in milliseconds. Default 10000. */
  readonly commandTimeoutMs?: number;
  /** Default: `police` where the kernel has it, else `ifb`. */
  readonly receiveMethod?: ReceiveMethod;
}

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Device that what another one receives is led through: `ifb` in the place of `tap`. */
export function ifbNameOf(device: string): string {
  checkLinkName(device, "device");
  return `ifb${device.slice(-12)}`;
}

/** Pure: lines for `tc -batch` that limit what a device sends; `isLimited`: it has other limits of ours. */
export function transmitLines(device: string, limit: BandwidthLimit, isLimited = false): readonly string[] {
  const { averageKBps, peakKBps } = limit;
  const burst = burstOf(limit);
  const ceiling = peakKBps === undefined ? "" : ` ceil ${peakKBps}kbps`;
  return [
    ...(isLimited ? [] : [`qdisc replace dev ${device} root handle 1: htb default 1`]),
    `class replace dev ${device} parent 1: classid 1:1 htb rate ${averageKBps}kbps${ceiling} burst ${burst}kb`,
  ];
}

/** Pure: lines for `tc -batch` that limit what a device, without such limits before, receives. */
export function receiveLines(device: string, limit: BandwidthLimit, method: ReceiveMethod): readonly string[] {
  const filter = `filter add dev ${device} parent ffff: protocol all u32 match u32 0 0`;
  const entry = `qdisc add dev ${device} ingress`;
  if (method === "ifb")
    return [
      ...transmitLines(ifbNameOf(device), limit),
      entry,
      `${filter} action mirred egress redirect dev ${ifbNameOf(device)}`,
    ];
  const peak = limit.peakKBps === undefined ? "" : ` peakrate ${limit.peakKBps}kbps`;
  return [
    entry,
    `${filter} police rate ${limit.averageKBps}kbps burst ${burstOf(limit)}kb${peak} mtu 64kb drop flowid :1`,
  ];
}

/** Sets limits of devices, and takes them away. Not for devices that have a traffic control of somebody else's. */
export class TrafficLimits {
  readonly #commands: CommandRunner;
  readonly #timeoutMs: number;
  #method: ReceiveMethod | undefined;

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: TrafficLimitsOptions = {}) {
    this.#commands = options.commands ?? systemCommandRunner;
    this.#timeoutMs = check.integer({ min: 1 })(options.commandTimeoutMs ?? 10_000, "commandTimeoutMs");
    this.#method = options.receiveMethod;
  }

  /** Exactly these limits; on failure the device has none. @throws NetworkHostError */
  async set(device: string, limits: DeviceLimits, options: CallOptions = {}): Promise<void> {
    checkLinkName(device, "device");
    const { transmit, receive } = limits;
    await withRollback(async (undo) => {
      try {
        undo.defer(`limits of ${device}`, () => this.clear(device));
        const isLimited = await this.#clear(device, { keepTransmit: transmit !== undefined });
        const method = receive === undefined ? undefined : await this.#chooseMethod(options);
        if (method === "ifb") await this.#addIfb(ifbNameOf(device), options);
        await this.#batch(
          [
            ...(transmit === undefined ? [] : transmitLines(device, transmit, isLimited)),
            ...(receive === undefined || method === undefined ? [] : receiveLines(device, receive, method)),
          ],
          options,
        );
      } catch (error) {
        throw failure(error, device);
      }
    });
  }

  /** Success when there are none, or no such device. @throws NetworkHostError */
  async clear(device: string): Promise<void> {
    checkLinkName(device, "device");
    try {
      await this.#clear(device, { keepTransmit: false });
    } catch (error) {
      throw failure(error, device);
    }
  }

  /** True when limits of what is sent are left. */
  async #clear(device: string, { keepTransmit }: { readonly keepTransmit: boolean }): Promise<boolean> {
    const kinds = await this.#disciplines(device);
    await this.#batch(
      [
        ...(kinds.includes("ingress") ? [`qdisc delete dev ${device} ingress`] : []),
        ...(kinds.includes("htb") && !keepTransmit ? [`qdisc delete dev ${device} root`] : []),
      ],
      {},
    );
    const ifb = ifbNameOf(device);
    if (await this.#exists(ifb)) await this.#run(["ip", "link", "delete", "dev", ifb], {});
    return keepTransmit && kinds.includes("htb");
  }

  async #addIfb(name: string, options: CallOptions): Promise<void> {
    await this.#run(["ip", "link", "add", "name", name, "type", "ifb"], options);
    await this.#run(["ip", "link", "set", "dev", name, "up"], options);
  }

  /** Tried on a device of its own, in the one way that tells. */
  async #chooseMethod(options: CallOptions): Promise<ReceiveMethod> {
    if (this.#method !== undefined) return this.#method;
    const probe = `hvtc${process.pid.toString(36).slice(-8)}`;
    await this.#run(["ip", "link", "add", "name", probe, "type", "bridge"], options);
    try {
      await this.#batch(receiveLines(probe, { averageKBps: 1000 }, "police"), options);
      this.#method = "police";
    } catch (error) {
      if (!isHyperviseError(error, "COMMAND_FAILED")) throw error;
      this.#method = "ifb";
    } finally {
      await this.#run(["ip", "link", "delete", "dev", probe], {});
    }
    return this.#method;
  }

  async #disciplines(device: string): Promise<readonly string[]> {
    if (!(await this.#exists(device))) return [];
    const { stdout } = await this.#run(["tc", "-json", "qdisc", "show", "dev", device], {});
    const list = (stdout.trim() === "" ? [] : JSON.parse(stdout)) as readonly { readonly kind?: unknown }[];
    return list.map(({ kind }) => String(kind));
  }

  async #exists(device: string): Promise<boolean> {
    try {
      await this.#run(["ip", "link", "show", "dev", device], {});
      return true;
    } catch (error) {
      if (isHyperviseError(error, "COMMAND_FAILED")) return false;
      throw error;
    }
  }

  async #batch(lines: readonly string[], options: CallOptions): Promise<void> {
    if (lines.length > 0) await this.#run(["tc", "-batch", "-"], options, lines.map((line) => `${line}\n`).join(""));
  }

  #run(argv: readonly string[], { signal }: CallOptions, input?: string): ReturnType<CommandRunner["run"]> {
    return this.#commands.run(argv, {
      timeoutMs: this.#timeoutMs,
      signal,
      ...(input === undefined ? {} : { input }),
    });
  }
}

/** A tenth of a second's worth, and never less than a large packet. */
function burstOf({ averageKBps, burstKiB }: BandwidthLimit): number {
  return burstKiB ?? Math.max(16, Math.ceil(averageKBps / 10));
}

function failure(error: unknown, device: string): unknown {
  if (isHyperviseError(error) && error.code !== "COMMAND_FAILED") return error;
  const { detail } = error as { readonly detail?: string };
  return new NetworkHostError(`the limits of ${device} could not be set`, {
    cause: asError(error),
    ...(detail === undefined ? {} : { detail }),
    remedy: "See whether the kernel has htb, and act_police or ifb with act_mirred.",
  });
}
