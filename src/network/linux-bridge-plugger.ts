/** VIFs on Linux bridges by persistent TAPs, which outlive both this process and the hypervisor's. */
import { check, KeyedLock, InvalidArgumentError, isHyperviseError, withRollback } from "../core/index.js";
import { systemCommandRunner } from "../host/index.js";
import type { CommandRunner } from "../host/index.js";
import { tapNameOf } from "./device-names.js";
import { VifPlugError } from "./errors.js";
import { Links } from "./links.js";
import type { LinkSettings, LinkState } from "./links.js";
import { tapMacOf } from "./mac-address.js";
import { userBackendOf, validateUserVif } from "./user-network-plugger.js";
import { validateBridgeVif } from "./validate-vif.js";
import type { BridgeVif, Vif, VifBackend, VifPlugger } from "./vif.js";

export interface LinuxBridgePluggerOptions {
  /** Default: {@link systemCommandRunner}. */
  readonly commands?: CommandRunner;
  /** Uid of the user that a hypervisor without privileges runs as; it may then open the TAPs. Default: only privileged processes may. */
  readonly tapOwnerUid?: number;
  /** Longest time that one `ip` may take, in milliseconds. Default 10000. */
  readonly commandTimeoutMs?: number;
  /** Whether there is a device of a name in the network namespace that `commands` works in; default: in this process's own. */
  readonly deviceExists?: (name: string) => Promise<boolean>;
}

/**
 * Plugs VIFs of type `bridge` as a TAP (virtio-net headers; several queues where the VIF has them) that is a port of the
 * bridge and up, and VIFs of type `user` as they are. The hypervisor opens the TAP by its name. Each TAP carries the ids
 * of its instance and port as its alias, so that no device of somebody else's is touched. Needs `ip` and CAP_NET_ADMIN.
 */
export class LinuxBridgePlugger implements VifPlugger {
  readonly #links: Links;
  readonly #owner: number | undefined;
  readonly #locks = new KeyedLock();

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: LinuxBridgePluggerOptions = {}) {
    const { commands = systemCommandRunner, commandTimeoutMs = 10_000, deviceExists } = options;
    const timeoutMs = check.integer({ min: 1 })(commandTimeoutMs, "commandTimeoutMs");
    this.#links = new Links({ commands, timeoutMs, ...(deviceExists === undefined ? {} : { exists: deviceExists }) });
    this.#owner = options.tapOwnerUid;
    if (this.#owner !== undefined) check.integer({ min: 0, max: 0xffff_fffe })(this.#owner, "tapOwnerUid");
  }

  validate(vif: Vif, path: string): void {
    switch (vif.type) {
      case "user":
        return validateUserVif(vif, path);
      case "bridge":
        return validateBridgeVif(vif, path);
      default:
        throw new InvalidArgumentError({
          field: `${path}.type`,
          value: (vif as { readonly type?: unknown }).type,
          expected: 'one of "bridge", "user"',
        });
    }
  }

  /**
   * On failure a TAP that was not there before is removed. Rejects with `VifPlugError` when the bridge is not there or not
   * a bridge, when a device of the TAP's name is not this port's, or when `ip` fails.
   */
  async plug(vif: Vif, instanceUuid: string, options: { readonly signal?: AbortSignal } = {}): Promise<VifBackend> {
    this.validate(vif, "vif");
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    if (vif.type !== "bridge") return userBackendOf(vif);
    const tap = tapOf(vif, uuid);
    return this.#locks.run(tap.name, () => this.#plugTap(tap, options.signal), { signal: options.signal });
  }

  /** A device that belongs to another port or instance by now, or that is no TAP, is left alone. Rejects with `VifPlugError` when `ip` fails. */
  async unplug(vif: Vif, instanceUuid: string): Promise<void> {
    this.validate(vif, "vif");
    const uuid = check.uuid()(instanceUuid, "instanceUuid");
    if (vif.type !== "bridge") return;
    const tap = tapOf(vif, uuid);
    await this.#locks.run(tap.name, () => this.#unplugTap(tap));
  }

  async #plugTap(tap: Tap, signal: AbortSignal | undefined): Promise<VifBackend> {
    await withRollback(async (undo) => {
      try {
        await this.#checkBridge(tap, signal);
        const found = await this.#reusable(tap, signal);
        if (found !== undefined && isPlugged(found, tap)) return;
        if (found === undefined) {
          undo.defer(`TAP ${tap.name}`, () => this.#links.remove(tap.name));
          await this.#links.addTap(tap.name, { multiQueue: tap.queues > 1, owner: this.#owner }, { signal });
        }
        await this.#links.set(tap.name, tap.settings, { signal });
      } catch (error) {
        throw plugError(tap, error);
      }
    });
    return { type: "tap", deviceName: tap.name, bridge: tap.bridge, queues: tap.queues };
  }

  async #unplugTap(tap: Tap): Promise<void> {
    try {
      const link = await this.#links.show(tap.name);
      if (link?.tap === undefined || !mayTake(link, tap)) return;
      await this.#links.remove(tap.name);
    } catch (error) {
      throw new VifPlugError(`the VIF's TAP ${tap.name} could not be removed`, {
        ...contextOf(tap),
        cause: error,
        remedy: `remove it with "ip link delete ${tap.name}"`,
      });
    }
  }

  async #checkBridge(tap: Tap, signal: AbortSignal | undefined): Promise<void> {
    const bridge = await this.#links.show(tap.bridge, { signal });
    if (bridge === undefined) {
      throw new VifPlugError(`the bridge ${tap.bridge} does not exist`, {
        ...contextOf(tap),
        remedy: `create it with "ip link add ${tap.bridge} type bridge && ip link set ${tap.bridge} up"`,
      });
    }
    if (bridge.kind === "bridge") return;
    throw new VifPlugError(`${tap.bridge} is not a Linux bridge`, { ...contextOf(tap), retryable: false });
  }

  /** The port's TAP where there is one already; one in the wrong queue mode that nobody has open is taken away. */
  async #reusable(tap: Tap, signal: AbortSignal | undefined): Promise<LinkState | undefined> {
    const link = await this.#links.show(tap.name, { signal });
    if (link === undefined) return undefined;
    if (link.tap === undefined || !(mayTake(link, tap) || isLeftover(link, tap))) {
      throw new VifPlugError(`a device ${tap.name} exists that is not this port's`, {
        ...contextOf(tap),
        retryable: false,
        remedy: "give the VIF another deviceName, or remove the device",
      });
    }
    if (link.tap.multiQueue === tap.queues > 1 && link.tap.vnetHdr) return link;
    if (link.tap.inUse) {
      throw new VifPlugError(`the TAP ${tap.name} is in use with another number of queues`, contextOf(tap));
    }
    await this.#links.remove(tap.name);
    return undefined;
  }
}

/** A bridge VIF as the host sees it. */
interface Tap {
  readonly name: string;
  readonly bridge: string;
  readonly queues: number;
  readonly settings: LinkSettings;
  readonly alias: string;
  readonly portId: string;
  readonly instanceUuid: string;
}

function tapOf(vif: BridgeVif, instanceUuid: string): Tap {
  const portId = vif.id.toLowerCase();
  const alias = `hypervise:${instanceUuid}:${portId}`;
  const { mtu } = vif.network;
  return {
    name: vif.deviceName ?? tapNameOf(vif.id),
    bridge: vif.bridge,
    queues: vif.queues ?? 1,
    settings: {
      ...(mtu === undefined ? {} : { mtu }),
      macAddress: tapMacOf(vif.macAddress.toLowerCase()),
      alias,
      linkLocal: false,
      master: vif.bridge,
      up: true,
    },
    alias,
    portId,
    instanceUuid,
  };
}

/** Ours by its alias, or without one: what a crash between making and marking it leaves, which nobody has open and no bridge has. */
function mayTake(link: LinkState, tap: Tap): boolean {
  if (link.alias !== undefined) return link.alias === tap.alias;
  return link.tap?.inUse === false && link.master === undefined;
}

/** The port's TAP from when it was another instance's, which nobody has open any more. */
function isLeftover(link: LinkState, tap: Tap): boolean {
  const [maker, , portId] = link.alias?.split(":") ?? [];
  return maker === "hypervise" && portId === tap.portId && link.tap?.inUse === false;
}

function isPlugged(link: LinkState, tap: Tap): boolean {
  const { mtu, macAddress, master } = tap.settings;
  const sameMtu = mtu === undefined || link.mtu === mtu;
  return link.up && link.alias === tap.alias && link.master === master && link.macAddress === macAddress && sameMtu;
}

function contextOf(tap: Tap): { instance: { uuid: string }; device: string } {
  return { instance: { uuid: tap.instanceUuid }, device: tap.portId };
}

function plugError(tap: Tap, error: unknown): unknown {
  const own = ["VIF_PLUG_FAILED", "ABORTED", "DEADLINE_EXCEEDED", "COMMAND_NOT_FOUND"];
  if (isHyperviseError(error) && own.includes(error.code)) return error.withContext(contextOf(tap));
  return new VifPlugError(`the VIF could not be plugged into the bridge ${tap.bridge}`, {
    ...contextOf(tap),
    cause: error,
    remedy: 'making TAPs needs CAP_NET_ADMIN and /dev/net/tun; without them use VIFs of type "user"',
  });
}
