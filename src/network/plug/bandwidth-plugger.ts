/** Keeps the bandwidth limits of VIFs that another plugger plugs. */
import { KeyedLock } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { systemCommandRunner } from "../../host/index.js";
import { tapNameOf } from "../device-names.js";
import { Links } from "../links.js";
import { TrafficLimits } from "../linux/traffic-limits.js";
import type { DeviceLimits, ReceiveMethod } from "../linux/traffic-limits.js";
import type { Vif, VifBackend, VifBandwidth, VifPlugger } from "../vif.js";
import { NotSupportedError } from "../../core/index.js";

export interface BandwidthPluggerOptions {
  /** Default: {@link systemCommandRunner}. */
  readonly commands?: CommandRunner;
  /** Longest time that one command may take, in milliseconds. Default 10000. */
  readonly commandTimeoutMs?: number;
  /** Default: `police` where the kernel has it, else `ifb`. */
  readonly receiveMethod?: ReceiveMethod;
  /** Whether there is a device of a name in the namespace that `commands` works in; default: in this process's own. */
  readonly deviceExists?: (name: string) => Promise<boolean>;
}

/** Plugs by another plugger, and sets the limits of `vif.bandwidth` on the port's device; without such it takes limits away. */
export class BandwidthPlugger implements VifPlugger {
  readonly waitUntilActive?: NonNullable<VifPlugger["waitUntilActive"]>;
  readonly #inner: VifPlugger;
  readonly #limits: TrafficLimits;
  readonly #links: Links;
  readonly #locks = new KeyedLock();

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(inner: VifPlugger, options: BandwidthPluggerOptions = {}) {
    const { commands = systemCommandRunner, commandTimeoutMs = 10_000, deviceExists, receiveMethod } = options;
    this.#inner = inner;
    if (inner.waitUntilActive !== undefined) this.waitUntilActive = async (...args) => inner.waitUntilActive?.(...args);
    this.#limits = new TrafficLimits({
      commands,
      commandTimeoutMs,
      ...(receiveMethod === undefined ? {} : { receiveMethod }),
    });
    const exists = deviceExists === undefined ? {} : { exists: deviceExists };
    this.#links = new Links({ commands, timeoutMs: commandTimeoutMs, ...exists });
  }

  validate(vif: Vif, path: string): void {
    this.#inner.validate(vif, path);
    if (vif.bandwidth !== undefined && deviceOf(vif) === undefined) {
      throw new NotSupportedError({
        capability: `bandwidth of VIFs of type ${vif.type}`,
        message: `${path}.bandwidth: a VIF of type ${vif.type} has no device on the host`,
      });
    }
  }

  async plug(
    vif: Vif,
    instanceUuid: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<VifBackend> {
    this.validate(vif, "vif");
    return this.#locks.run(vif.id, () => this.#plug(vif, instanceUuid, options), options);
  }

  async unplug(vif: Vif, instanceUuid: string): Promise<void> {
    await this.#locks.run(vif.id, async () => {
      const device = deviceOf(vif);
      await this.#inner.unplug(vif, instanceUuid);
      // What belonged to the device went with it, but for the queue of what it received.
      const isLeft =
        device !== undefined && vif.bandwidth !== undefined && (await this.#links.show(device)) !== undefined;
      if (device !== undefined && vif.bandwidth !== undefined && (!isLeft || vif.type === "tap"))
        await this.#limits.clear(device);
    });
  }

  async #plug(
    vif: Vif,
    instanceUuid: string,
    options: { readonly signal?: AbortSignal | undefined },
  ): Promise<VifBackend> {
    const device = deviceOf(vif);
    const was = device === undefined ? undefined : await this.#links.show(device, options);
    const backend = await this.#inner.plug(vif, instanceUuid, options);
    if (backend.type !== "tap" && backend.type !== "macvtap") return backend;
    try {
      if (vif.bandwidth !== undefined || was !== undefined)
        await this.#limits.set(backend.deviceName, limitsOf(backend, vif.bandwidth ?? {}), options);
      return backend;
    } catch (error) {
      // A guest that runs keeps its port.
      if (was === undefined) await this.#inner.unplug(vif, instanceUuid);
      throw error;
    }
  }
}

/** What a guest receives, the host sends to its TAP; a macvtap device is the guest's own end. */
export function limitsOf(backend: Pick<VifBackend, "type">, { inbound, outbound }: VifBandwidth): DeviceLimits {
  const [transmit, receive] = backend.type === "macvtap" ? [outbound, inbound] : [inbound, outbound];
  return { ...(transmit === undefined ? {} : { transmit }), ...(receive === undefined ? {} : { receive }) };
}

function deviceOf(vif: Vif): string | undefined {
  if (vif.type === "user" || vif.type === "vhostUser") return undefined;
  return vif.deviceName ?? tapNameOf(vif.id);
}
