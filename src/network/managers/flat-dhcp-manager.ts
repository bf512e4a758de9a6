/** Networks without VLANs, with bridge, gateway and DHCP server. */
import type { NetworkManagerOptions } from "./manager-options.js";
import { RoutedNetworkManager } from "./routed-network-manager.js";

/** Nova's `FlatDHCPManager`: all projects share its networks; hosts make the bridges, are gateways, and run DHCP. */
export class FlatDhcpManager extends RoutedNetworkManager {
  /** @throws InvalidArgumentError */
  constructor(options: NetworkManagerOptions) {
    super(options, {
      topology: { vlans: false, bottomReserved: 2, topReserved: 1, required: ["bridge"] },
      managesNetworks: true,
      byProject: false,
    });
  }
}
