/** VIFs on bridges of Open vSwitch by persistent TAPs. */
import { InvalidArgumentError, KeyedLock, check, withRollback } from "../../core/index.js";
import { systemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { tapNameOf } from "../device-names.js";
import { Links } from "../links.js";
import { Ovs } from "../linux/ovs.js";
import type { OvsPort } from "../linux/ovs.js";
import { tapMacOf } from "../mac-address.js";
import { validateOvsVif } from "../validate-vif.js";
import type { OvsVif, Vif, VifBackend, VifPlugger } from "../vif.js";
import { aliasOf, isOfPort, mayTake, notOurs, plugFailure } from "./instance-device.js";
import type { InstanceDevice } from "./instance-device.js";

export interface OvsPluggerOptions {
  /** Default: {@link systemCommandRunner}. */
  readonly commands?: CommandRunner;
  /** The database's socket, such as `unix:/run/openvswitch/db.sock`; default: the system's. */
  readonly database?: string;
  /** Uid that may open the TAPs; default: privileged processes alone. */
  readonly tapOwnerUid?: number;
  /** Longest time that one command may take, in milliseconds. Default 30000. */
  readonly commandTimeoutMs?: number;
  /** Whether there is a device of a name in the namespace that `commands` works in; default: in this process's own. */
  readonly deviceExists?: (name: string) => Promise<boolean>;
}

/** Plugs VIFs of type `ovs`: a TAP, and a port of it with what controllers look for (`iface-id`, `attached-mac`, `vm-uuid`). Needs CAP_NET_ADMIN and the database. */
export class OvsPlugger implements VifPlugger {
  readonly #links: Links;
  readonly #ovs: Ovs;
  readonly #owner: number | undefined;
  readonly #locks = new KeyedLock();

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: OvsPluggerOptions = {}) {
    const { commands = systemCommandRunner, commandTimeoutMs = 30_000, deviceExists, database } = options;
    const timeoutMs = check.integer({ min: 1 })(commandTimeoutMs, "commandTimeoutMs");
    this.#links = new Links({ commands, timeoutMs, ...(deviceExists === undefined ? {} : { exists: deviceExists }) });
    this.#ovs = new Ovs({ commands, commandTimeoutMs: timeoutMs, ...(database === undefined ? {} : { database }) });
    this.#owner = options.tapOwnerUid;
    if (this.#owner !== undefined) check.integer({ min: 0, max: 0xffff_fffe })(this.#owner, "tapOwnerUid");
  }

  validate(vif: Vif, path: string): void {
    validateOvsVif(ovsVif(vif, path), path);
  }

  async plug(
    vif: Vif,
    instanceUuid: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<VifBackend> {
    this.validate(vif, "vif");
    const own = ovsVif(vif, "vif");
    const device = deviceOf(own, instanceUuid);
    await this.#locks.run(device.name, () => this.#plug(own, device, options.signal), { signal: options.signal });
    return { type: "tap", deviceName: device.name, queues: own.queues ?? 1 };
  }

  async unplug(vif: Vif, instanceUuid: string): Promise<void> {
    this.validate(vif, "vif");
    const own = ovsVif(vif, "vif");
    const device = deviceOf(own, instanceUuid);
    await this.#locks.run(device.name, () => this.#unplug(own, device));
  }

  async #plug(vif: OvsVif, device: InstanceDevice, signal: AbortSignal | undefined): Promise<void> {
    const { name } = device;
    await withRollback(async (undo) => {
      try {
        const found = await this.#links.show(name, { signal });
        if (found !== undefined && (found.tap === undefined || !(mayTake(found, device) || isOfPort(found, device))))
          throw notOurs(device);
        if (found === undefined) {
          undo.defer(`TAP ${name}`, () => this.#links.remove(name));
          await this.#links.addTap(name, { multiQueue: (vif.queues ?? 1) > 1, owner: this.#owner }, { signal });
        }
        const { mtu } = vif.network;
        const settings = {
          macAddress: tapMacOf(vif.macAddress.toLowerCase()),
          alias: aliasOf(device),
          linkLocal: false,
        };
        await this.#links.set(name, { ...settings, ...(mtu === undefined ? {} : { mtu }), up: true }, { signal });
        if (found === undefined) undo.defer(`port ${name}`, () => this.#ovs.removePort(vif.bridge, name));
        await this.#ovs.addPort(portOf(vif, device), { signal });
      } catch (error) {
        const message = `the VIF could not be plugged into the bridge ${vif.bridge}`;
        throw plugFailure(device, message, error, "see whether Open vSwitch runs and has the bridge");
      }
    });
  }

  async #unplug(vif: OvsVif, device: InstanceDevice): Promise<void> {
    const { name } = device;
    try {
      const link = await this.#links.show(name);
      if (link !== undefined && (link.tap === undefined || !mayTake(link, device))) return;
      await this.#ovs.removePort(vif.bridge, name);
      await this.#links.remove(name);
    } catch (error) {
      throw plugFailure(
        device,
        `the VIF's port ${name} could not be removed`,
        error,
        `remove it with "ovs-vsctl del-port ${name}"`,
      );
    }
  }
}

function ovsVif(vif: Vif, path: string): OvsVif {
  if (vif.type === "ovs") return vif;
  throw new InvalidArgumentError({ field: `${path}.type`, value: vif.type, expected: '"ovs"' });
}

function deviceOf(vif: OvsVif, instanceUuid: string): InstanceDevice {
  const uuid = check.uuid()(instanceUuid, "instanceUuid");
  return { name: vif.deviceName ?? tapNameOf(vif.id), portId: vif.id.toLowerCase(), instanceUuid: uuid };
}

function portOf(vif: OvsVif, { name, portId, instanceUuid }: InstanceDevice): OvsPort {
  const { bridge, vlan, interfaceId = portId, macAddress } = vif;
  return {
    bridge,
    name,
    ...(vlan === undefined ? {} : { vlan }),
    externalIds: {
      "iface-id": interfaceId,
      "iface-status": "active",
      "attached-mac": macAddress.toLowerCase(),
      "vm-uuid": instanceUuid,
    },
  };
}
