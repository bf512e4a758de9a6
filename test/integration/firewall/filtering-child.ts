// The driver process that is killed when it has spawned: run by guest.test.ts as `node --import tsx filtering-child.ts REQUEST`.
import type { InstanceSpec } from "../../../src/driver/index.js";
import type { SecurityGroup } from "../../../src/firewall/index.js";
import { openFilteringDriver } from "./filtering-driver.js";
import type { FilterKind } from "./filtering-driver.js";

export interface FilteringRequest {
  readonly directory: string;
  readonly kind: FilterKind;
  readonly groups: readonly SecurityGroup[];
  readonly spec: InstanceSpec;
}

const { directory, kind, groups, spec } = JSON.parse(process.argv[2] ?? "null") as FilteringRequest;
const { driver } = await openFilteringDriver(directory, kind, groups);
await driver.spawn(spec);
process.kill(process.pid, "SIGKILL");
