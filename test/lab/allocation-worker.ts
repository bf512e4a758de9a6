// A process that allocates and gives back addresses as fast as it can, telling each on its standard output once it is certain:
// `+ instance address` and `- instance`. Ends when the pool is empty, or when it has held enough.
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { FileNetworkStore, FlatManager, NoFreeAddressError, PostgresNetworkStore } from "../../src/network/index.js";
import type { NetworkStore } from "../../src/network/index.js";
import { FakeNetworkHost } from "../../src/testing/network/fake-network-host.js";

export interface AllocationWork {
  readonly store:
    | { readonly dir: string; readonly maxLogBytes?: number }
    | { readonly host: string; readonly user: string; readonly database: string; readonly schema: string };
  /** Give every n-th address back at once; 0: none. */
  readonly churn: number;
  /** How many to hold at most. */
  readonly hold: number;
  /** Say `ready` once the store is open, and begin at the first input. */
  readonly gated?: boolean;
}

const work = JSON.parse(process.argv[2] ?? "{}") as AllocationWork;
const store: NetworkStore =
  "dir" in work.store ? new FileNetworkStore(work.store) : new PostgresNetworkStore(work.store);
const manager = new FlatManager({ store, host: new FakeNetworkHost({ name: "worker" }) });

if (work.gated === true) {
  await store.open();
  process.stdout.write("ready\n");
  await once(process.stdin, "data");
  process.stdin.destroy();
}
let held = 0;
try {
  for (let turn = 1; held < work.hold; turn++) {
    const instanceUuid = randomUUID();
    const vifs = await manager.allocateForInstance({ instanceUuid, projectId: "p", host: "worker" });
    process.stdout.write(`+ ${instanceUuid} ${vifs[0]?.fixedIps?.[0]?.address ?? ""}\n`);
    held += 1;
    if (work.churn === 0 || turn % work.churn !== 0) continue;
    await manager.deallocateForInstance(instanceUuid);
    process.stdout.write(`- ${instanceUuid}\n`);
    held -= 1;
  }
} catch (error) {
  if (!(error instanceof NoFreeAddressError)) throw error;
}
await store.close();
