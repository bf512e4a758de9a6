/** Makes an image of a running instance, resizes the instance, and changes its mind. */
import { FakeDriver, fakeSpec } from "hypervise/fake";

const driver = new FakeDriver();
await driver.initHost();
const spec = fakeSpec({ flavor: { name: "small", vcpus: 1, memoryMiB: 512, rootGiB: 2 } });
const { instance } = await driver.spawn(spec);

const snapshot = driver.snapshot(instance, "golden", { quiesce: "required" });
for await (const { phase, fraction } of snapshot.events())
  console.log(`snapshot: ${phase}${fraction === undefined ? "" : ` ${Math.round(fraction * 100)} %`}`);
console.log(`image ${(await snapshot.result).id}, the guest is ${(await driver.getInfo(instance)).state}`);

const larger = { ...spec.flavor, name: "larger", memoryMiB: 2 * spec.flavor.memoryMiB, rootGiB: 4 };
await driver.resize(instance, larger).result;
const { task, memoryMiB } = await driver.getInfo(instance);
console.log(`${task}: ${memoryMiB} MiB, until it is confirmed or reverted`);

await driver.finishRevertMigration(instance);
const back = await driver.getInfo(instance);
console.log(`reverted: ${back.state} with ${back.memoryMiB} MiB`);

// A disk can't shrink: the error says so, and the guest has not even been stopped.
const refusal = await driver
  .resize(instance, { ...spec.flavor, name: "smaller", rootGiB: 1 })
  .result.catch((error: unknown) => error);
console.log(String(refusal));

await driver.destroy(instance);
await driver.close();
