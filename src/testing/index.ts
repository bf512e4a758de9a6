/** The face of src/testing: the contract of compute drivers as a test suite, and fake peers of the wire protocols. */
export * from "./contract/index.js";
export * from "./fake-guest-agent-server.js";
export * from "./fake-json-server.js";
export * from "./fake-qmp-server.js";
export { JsonFramer } from "./json-framer.js";
export type { JsonFrameSink } from "./json-framer.js";
export * from "./libvirt/index.js";
export * from "./network/index.js";
