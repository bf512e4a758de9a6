/** VIFs for hosts where nothing may be changed: only the hypervisor's own user-mode network. */
import { isIPv4 } from "node:net";
import { InvalidArgumentError, NotSupportedError } from "../core/index.js";
import { validateVif } from "./validate-vif.js";
import type { UserVif, Vif, VifBackend, VifPlugger } from "./vif.js";

/** Accepts VIFs of type `user` and touches nothing on the host: the default where hypervise runs without privileges. */
export class UserNetworkPlugger implements VifPlugger {
  validate(vif: Vif, path: string): void {
    if (vif.type !== "user") {
      throw new NotSupportedError({
        capability: `vif.${String(vif.type)}`,
        message: `${path}.type: only VIFs of type "user" can be plugged without privileges`,
        remedy: 'run with CAP_NET_ADMIN and a LinuxBridgePlugger, or give the instance a VIF of type "user"',
      });
    }
    validateUserVif(vif, path);
  }

  async plug(vif: Vif): Promise<VifBackend> {
    this.validate(vif, "vif");
    return userBackendOf(vif);
  }

  async unplug(): Promise<void> {}
}

/** Checks a VIF on the hypervisor's user-mode network. Throws `InvalidArgumentError` naming the field below `path`. */
export function validateUserVif(vif: UserVif, path: string): void {
  validateVif(vif, path);
  if ((vif.queues ?? 1) > 1) {
    throw new InvalidArgumentError({
      field: `${path}.queues`,
      value: vif.queues,
      expected: "1: user-mode networks have one queue",
    });
  }
}

/** What the hypervisor connects the NIC to: a user-mode network on the first IPv4 subnet of the VIF's network, if it has one. */
export function userBackendOf(vif: Vif): VifBackend {
  const cidr = vif.network.subnets?.map((subnet) => subnet.cidr).find((text) => isIPv4(text.split("/")[0] ?? ""));
  return cidr === undefined ? { type: "user" } : { type: "user", cidr };
}
