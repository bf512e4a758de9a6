/** A VLAN with bridge, gateway, DHCP server and VPN server for each project. */
import { check } from "../../core/index.js";
import type { NetworkManagerOptions } from "./manager-options.js";
import { RoutedNetworkManager } from "./routed-network-manager.js";

/**
 * Nova's `VlanManager`: each network is one project's. A project's first instance gets it a network that nobody has;
 * `addNetworkToProject` gives it further ones.
 */
export class VlanManager extends RoutedNetworkManager {
  /** @throws InvalidArgumentError */
  constructor(options: NetworkManagerOptions) {
    const clients = check.integer({ min: 0, max: 65_536 })(options.cntVpnClients ?? 0, "cntVpnClients");
    super(options, {
      topology: { vlans: true, bottomReserved: 3, topReserved: 1 + clients, required: ["bridgeInterface"] },
      managesNetworks: true,
      byProject: true,
    });
  }
}
