/** VIFs on switches in user space, such as Open vSwitch's with DPDK: the host has nothing to plug. */
import { InvalidArgumentError, check } from "../../core/index.js";
import { validateVhostUserVif } from "../validate-vif.js";
import type { Vif, VifBackend, VifPlugger } from "../vif.js";

/** Plugs VIFs of type `vhostUser`: hypervisor and switch meet at the socket. */
export class VhostUserPlugger implements VifPlugger {
  validate(vif: Vif, path: string): void {
    if (vif.type !== "vhostUser")
      throw new InvalidArgumentError({ field: `${path}.type`, value: vif.type, expected: '"vhostUser"' });
    validateVhostUserVif(vif, path);
  }

  async plug(vif: Vif, instanceUuid: string): Promise<VifBackend> {
    this.validate(vif, "vif");
    check.uuid()(instanceUuid, "instanceUuid");
    const { socketPath, server = "switch", queues = 1 } = vif as Extract<Vif, { readonly type: "vhostUser" }>;
    return { type: "vhostUser", socketPath, server, queues };
  }

  async unplug(vif: Vif, instanceUuid: string): Promise<void> {
    this.validate(vif, "vif");
    check.uuid()(instanceUuid, "instanceUuid");
  }
}
