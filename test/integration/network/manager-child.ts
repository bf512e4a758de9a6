// A process with a network manager that gives an instance its addresses, says so, and is killed: what it has set up is to be found by the next one.
// Run as `node --import tsx manager-child.ts WORK`.
import { FileNetworkStore, FlatDhcpManager, LinuxNetworkHost } from "../../../src/network/index.js";
import type { LinuxNetworkHostOptions, NetworkRequest } from "../../../src/network/index.js";

export interface ManagerWork {
  readonly store: string;
  readonly host: LinuxNetworkHostOptions;
  readonly network: NetworkRequest;
  readonly floatingRange: string;
  readonly instanceUuid: string;
  readonly hostname: string;
}

/** What it says before it is killed. */
export interface ManagerResult {
  readonly networkId: string;
  readonly floatingAddress: string;
}

const work = JSON.parse(process.argv[2] ?? "null") as ManagerWork;
const { instanceUuid, hostname } = work;
const manager = new FlatDhcpManager({
  store: new FileNetworkStore({ dir: work.store }),
  host: new LinuxNetworkHost(work.host),
});
await manager.initHost();
const [network] = await manager.createNetworks(work.network);
await manager.createFloatingRange({ cidr: work.floatingRange, pool: "public" });
const host = manager.hostName;
const [vif] = await manager.allocateForInstance({ instanceUuid, projectId: "p1", host, hostname });
await manager.setupNetworksOnHost(instanceUuid);
const floatingAddress = await manager.allocateFloatingIp("p1", "public");
await manager.associateFloatingIp(floatingAddress, vif?.fixedIps?.[0]?.address ?? "");
const result: ManagerResult = { networkId: network?.id ?? "", floatingAddress };
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.kill(process.pid, "SIGKILL"));
