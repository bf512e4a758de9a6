export { parseConnectUri, TRANSPORTS } from "./rpc/index.js";
export type { ConnectUri, Transport } from "./rpc/index.js";
