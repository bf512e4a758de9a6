/** Follows a driver's events, and asks before it calls what a driver may lack. */
import { supports } from "hypervise";
import type { ComputeDriver, InstanceRef } from "hypervise";
import { FakeDriver, fakeSpec } from "hypervise/fake";

/** Stands still for a moment as gently as the driver can. Without the question, `driver.pause` does not compile. */
async function standStill(driver: ComputeDriver, instance: InstanceRef): Promise<string> {
  if (supports(driver, "suspend")) {
    await driver.suspend(instance);
    await driver.resume(instance);
    return "suspended and resumed";
  }
  if (supports(driver, "pause")) {
    await driver.pause(instance);
    await driver.unpause(instance);
    return "paused and unpaused";
  }
  return "left alone";
}

for (const preset of ["full", "lxc", "minimal"] as const) {
  const driver = FakeDriver.withCapabilities(preset);
  await driver.initHost();

  // Subscribed from here on: nothing that happens later is lost, however late it is read.
  const events = driver.events();
  const { instance } = await driver.spawn(fakeSpec());
  console.log(`${preset}: ${await standStill(driver, instance)}`);
  driver.world.crashGuest(instance.uuid);
  await driver.destroy(instance);
  await driver.close();

  for await (const event of events) {
    if (event.type === "lifecycle") console.log(`  ${event.sequence}: ${event.transition}, cause ${event.cause}`);
    else console.log(`  ${event.sequence}: ${event.type}${"change" in event ? ` ${event.change}` : ""}`);
  }
}
