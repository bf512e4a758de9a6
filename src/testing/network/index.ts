export { FakeNetworkHost } from "./fake-network-host.js";
export type { FakeNetworkHostOptions, NetworkHostEffect } from "./fake-network-host.js";
export { defineNetworkStoreContract } from "./network-store-contract.js";
export type { NetworkStoreHarness } from "./network-store-contract.js";
