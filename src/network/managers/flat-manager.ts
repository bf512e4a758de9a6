/** Networks without VLANs whose bridges somebody else has made. */
import type { NetworkManagerOptions } from "./manager-options.js";
import { NetworkManager } from "./network-manager.js";

/**
 * Nova's `FlatManager`: gives out addresses, and does nothing on hosts. Bridges are the operator's, addresses come into guests
 * by injection or config drive, metadata is the gateway's. Addresses are free as soon as they are given back.
 */
export class FlatManager extends NetworkManager {
  /** @throws InvalidArgumentError */
  constructor(options: NetworkManagerOptions) {
    super(options, {
      topology: { vlans: false, bottomReserved: 2, topReserved: 1, required: ["bridge"] },
      managesNetworks: false,
      byProject: false,
    });
  }
}
