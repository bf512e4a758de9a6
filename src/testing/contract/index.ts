export type { ContractHarness, ContractSubject } from "./harness.js";
export type { ContractRunner } from "./runner.js";
export { defineContractSuite } from "./suite.js";
