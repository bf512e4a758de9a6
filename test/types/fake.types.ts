// What the compiler must accept and refuse of src/fake's public types. Nothing here runs.
import { supports } from "../../src/driver/index.js";
import { FakeDriver, FakeWorld, fakeSpec } from "../../src/fake/index.js";
import type { GuestBehaviour, WorldSnapshot } from "../../src/fake/index.js";

// The whole fake has every facet without asking, and its restart is one of its own kind.
const driver = new FakeDriver();
void driver.pause(fakeSpec());
void driver.liveMigration;
void driver.setAdminPassword(fakeSpec(), "pw");
driver.restart() satisfies FakeDriver;
new FakeWorld().restartDriver(driver) satisfies FakeDriver;

// One with fewer capabilities is asked as any driver is.
const partial = FakeDriver.withCapabilities("minimal", { seed: 3 });
// @ts-expect-error -- a preset may lack the facet
void partial.pause(fakeSpec());
if (supports(partial, "pause")) void partial.pause(fakeSpec());
partial.world satisfies FakeWorld;
// @ts-expect-error -- no such preset
void FakeDriver.withCapabilities("vmware");
void FakeDriver.withCapabilities(["pause", "migration"]);
// @ts-expect-error -- no such feature
void FakeDriver.withCapabilities(["teleport"]);

// Fault points and their stages are names that the compiler knows.
driver.faults.failOn("spawn", { nth: 1 });
driver.faults.failOn("driver.spawn", { at: "after", error: new Error("mine") });
driver.faults.crash("vifs.plug", { at: "partial" });
// @ts-expect-error -- no such point
driver.faults.failOn("vifs.fly");
// @ts-expect-error -- no such stage
driver.faults.failOn("vifs.plug", { at: "middle" });
// @ts-expect-error -- hanging has no error
driver.faults.hang("vifs.plug", { error: new Error("mine") });

// Behaviours are data.
driver.world.setBehaviour("uuid", { acpi: "ignore", bootMs: 5 });
// @ts-expect-error -- no such answer to ACPI
driver.world.setBehaviour("uuid", { acpi: "maybe" });
declare const behaviour: GuestBehaviour;
// @ts-expect-error -- behaviours are read only
behaviour.bootMs = 1;

driver.world.snapshot() satisfies WorldSnapshot;
FakeWorld.from(driver.world.snapshot()) satisfies FakeWorld;
