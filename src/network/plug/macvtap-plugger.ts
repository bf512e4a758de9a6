/** VIFs on macvtap devices: guests share an interface of the host, without a bridge. */
import { InvalidArgumentError, KeyedLock, check, withRollback } from "../../core/index.js";
import { systemCommandRunner } from "../../host/index.js";
import type { CommandRunner } from "../../host/index.js";
import { tapNameOf } from "../device-names.js";
import { Links } from "../links.js";
import { validateMacvtapVif } from "../validate-vif.js";
import type { MacvtapVif, Vif, VifBackend, VifPlugger } from "../vif.js";
import { aliasOf, mayTake, notOurs, plugFailure } from "./instance-device.js";
import type { InstanceDevice } from "./instance-device.js";

export interface MacvtapPluggerOptions {
  /** Default: {@link systemCommandRunner}. */
  readonly commands?: CommandRunner;
  /** Longest time that one `ip` may take, in milliseconds. Default 10000. */
  readonly commandTimeoutMs?: number;
  /** Whether there is a device of a name in the namespace that `commands` works in; default: in this process's own. */
  readonly deviceExists?: (name: string) => Promise<boolean>;
}

/** Plugs VIFs of type `macvtap`, with the guest's own MAC address. Needs CAP_NET_ADMIN. One queue. */
export class MacvtapPlugger implements VifPlugger {
  readonly #links: Links;
  readonly #locks = new KeyedLock();

  /** @throws InvalidArgumentError for an option out of its range. */
  constructor(options: MacvtapPluggerOptions = {}) {
    const { commands = systemCommandRunner, commandTimeoutMs = 10_000, deviceExists } = options;
    const timeoutMs = check.integer({ min: 1 })(commandTimeoutMs, "commandTimeoutMs");
    this.#links = new Links({ commands, timeoutMs, ...(deviceExists === undefined ? {} : { exists: deviceExists }) });
  }

  validate(vif: Vif, path: string): void {
    const own = macvtapVif(vif, path);
    validateMacvtapVif(own, path);
    if ((own.queues ?? 1) > 1)
      throw new InvalidArgumentError({ field: `${path}.queues`, value: own.queues, expected: "1 on a macvtap device" });
  }

  async plug(
    vif: Vif,
    instanceUuid: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<VifBackend> {
    this.validate(vif, "vif");
    const own = macvtapVif(vif, "vif");
    const device = deviceOf(own, instanceUuid);
    await this.#locks.run(device.name, () => this.#plug(own, device, options.signal), { signal: options.signal });
    return { type: "macvtap", deviceName: device.name, queues: 1 };
  }

  async unplug(vif: Vif, instanceUuid: string): Promise<void> {
    this.validate(vif, "vif");
    const device = deviceOf(macvtapVif(vif, "vif"), instanceUuid);
    await this.#locks.run(device.name, async () => {
      try {
        const link = await this.#links.show(device.name);
        if (link?.kind === "macvtap" && mayTake(link, device)) await this.#links.remove(device.name);
      } catch (error) {
        const remedy = `remove it with "ip link delete ${device.name}"`;
        throw plugFailure(device, `the VIF's device ${device.name} could not be removed`, error, remedy);
      }
    });
  }

  async #plug(vif: MacvtapVif, device: InstanceDevice, signal: AbortSignal | undefined): Promise<void> {
    const { name } = device;
    const { parentInterface, mode = "bridge", macAddress, network } = vif;
    await withRollback(async (undo) => {
      try {
        const found = await this.#links.show(name, { signal });
        if (found !== undefined && (found.kind !== "macvtap" || !mayTake(found, device))) throw notOurs(device);
        if (found === undefined) {
          undo.defer(`macvtap ${name}`, () => this.#links.remove(name));
          await this.#links.addMacvtap(name, { parent: parentInterface, mode }, { signal });
        }
        const { mtu } = network;
        const settings = {
          macAddress: macAddress.toLowerCase(),
          alias: aliasOf(device),
          ...(mtu === undefined ? {} : { mtu }),
        };
        await this.#links.set(name, { ...settings, linkLocal: false, up: true }, { signal });
      } catch (error) {
        const message = `the VIF could not be plugged into ${parentInterface}`;
        throw plugFailure(device, message, error, "see whether the interface exists and the kernel has macvtap");
      }
    });
  }
}

function macvtapVif(vif: Vif, path: string): MacvtapVif {
  if (vif.type === "macvtap") return vif;
  throw new InvalidArgumentError({ field: `${path}.type`, value: vif.type, expected: '"macvtap"' });
}

function deviceOf(vif: MacvtapVif, instanceUuid: string): InstanceDevice {
  const uuid = check.uuid()(instanceUuid, "instanceUuid");
  return { name: vif.deviceName ?? tapNameOf(vif.id), portId: vif.id.toLowerCase(), instanceUuid: uuid };
}
