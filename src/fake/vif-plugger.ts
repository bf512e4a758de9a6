/** Ports on a simulated host: TAPs on bridges, and user-mode networks. */
import { InvalidArgumentError, NotSupportedError } from "../core/index.js";
import { VifPlugError } from "../network/index.js";
import type { Vif, VifBackend, VifPlugger } from "../network/index.js";
import type { FakeHost, PluggedPort } from "./host.js";
import type { FakeProcess, Halfway } from "./process.js";

/** Interface names that Linux takes, without what shells and scripts would make something else of. */
const DEVICE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/;
const PORT_ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const MAC = /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/;

export class FakeVifPlugger implements VifPlugger {
  readonly #process: FakeProcess;
  readonly #host: FakeHost;

  constructor(process: FakeProcess) {
    this.#process = process;
    this.#host = process.host;
  }

  validate(vif: Vif, path: string): void {
    if (vif.type !== "bridge" && vif.type !== "user") throw new NotSupportedError({ capability: "vif" });
    check(`${path}.id`, vif.id, PORT_ID, "a port's id");
    check(`${path}.macAddress`, vif.macAddress, MAC, "a unicast MAC address in lower case with colons");
    if (vif.type === "user") return;
    check(`${path}.bridge`, vif.bridge, DEVICE_NAME, "1 to 15 of A-Z a-z 0-9 . _ -");
    if (vif.deviceName !== undefined)
      check(`${path}.deviceName`, vif.deviceName, DEVICE_NAME, "1 to 15 of A-Z a-z 0-9 . _ -");
  }

  plug(vif: Vif, instanceUuid: string, options: { readonly signal?: AbortSignal } = {}): Promise<VifBackend> {
    const call = { instanceUuid, subject: vif.id, signal: options.signal };
    return this.#process.pass("vifs.plug", call, async (halfway) => {
      const present = this.#host.ports.get(vif.id);
      if (present !== undefined && present.owner !== instanceUuid) {
        throw new VifPlugError("The port is plugged for another instance", { device: vif.id, retryable: false });
      }
      const port = present ?? this.#newPort(vif, instanceUuid);
      await this.#bring(port, halfway);
      return backendOf(port);
    });
  }

  unplug(vif: Vif, instanceUuid: string): Promise<void> {
    return this.#process.pass("vifs.unplug", { instanceUuid, subject: vif.id }, () => {
      const port = this.#host.ports.get(vif.id);
      if (port === undefined || port.owner !== instanceUuid) return;
      this.#host.ports.delete(port.id);
      this.#host.portByDevice.delete(port.deviceName);
    });
  }

  async #bring(port: PluggedPort, halfway: Halfway): Promise<void> {
    this.#host.ports.set(port.id, port);
    if (port.type === "user" || port.bridged) return;
    this.#host.portByDevice.set(port.deviceName, port.id);
    await halfway();
    port.bridged = true;
  }

  #newPort(vif: Vif, owner: string): PluggedPort {
    if (vif.type !== "bridge" && vif.type !== "user") throw new NotSupportedError({ capability: `vif.${vif.type}` });
    const { id, macAddress, queues = 1 } = vif;
    const addresses = (vif.fixedIps ?? []).map(({ address }) => `${address}/${address.includes(":") ? 64 : 24}`);
    const common = { id, owner, type: vif.type, macAddress, queues, addresses };
    if (vif.type === "user") return { ...common, deviceName: "", bridge: "", bridged: false };
    const { bridge, deviceName = `tap${id.slice(0, 11)}` } = vif;
    const { bridges } = this.#host.options;
    if (bridges !== undefined && !bridges.includes(bridge))
      throw new VifPlugError(`There is no bridge ${bridge}`, { device: id });
    if (this.#host.portByDevice.has(deviceName)) {
      throw new VifPlugError(`Another port has the interface ${deviceName}`, { device: id, retryable: false });
    }
    return { ...common, deviceName, bridge, bridged: false };
  }
}

function backendOf(port: PluggedPort): VifBackend {
  if (port.type === "user") return { type: "user" };
  return { type: "tap", deviceName: port.deviceName, bridge: port.bridge, queues: port.queues };
}

function check(field: string, value: string, pattern: RegExp, expected: string): void {
  if (!pattern.test(value)) throw new InvalidArgumentError({ field, value, expected });
}
