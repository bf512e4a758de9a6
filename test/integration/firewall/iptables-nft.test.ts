import { testVariant } from "./iptables-harness.js";

await testVariant("nft");
