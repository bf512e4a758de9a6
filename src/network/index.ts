/** The face of src/network: VIFs, and how a host plugs them. */
export { tapNameOf } from "./device-names.js";
export { VifPlugError } from "./errors.js";
export { LinuxBridgePlugger } from "./linux-bridge-plugger.js";
export type { LinuxBridgePluggerOptions } from "./linux-bridge-plugger.js";
export { DEFAULT_MAC_PREFIX, createMacGenerator } from "./mac-address.js";
export type { MacGeneratorOptions } from "./mac-address.js";
export { UserNetworkPlugger } from "./user-network-plugger.js";
export { NIC_MODELS } from "./vif.js";
export type { BridgeVif, FixedIp, NicModel, Subnet, UserVif, Vif, VifBackend, VifNetwork, VifPlugger } from "./vif.js";
