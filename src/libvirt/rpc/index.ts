export { parseConnectUri, TRANSPORTS } from "./connect-uri.js";
export type { ConnectUri, Transport } from "./connect-uri.js";
