/** Moves a running instance between two hosts; the first attempt is aborted, and the guest runs on where it was. */
import { isHyperviseError, liveMigrate } from "hypervise";
import { FakeDriver, FakeWorld } from "hypervise/fake";

const rates = { migrationMiBps: 100 };
const world = new FakeWorld({
  hosts: [
    { name: "a", storage: "shared", rates },
    { name: "b", storage: "shared", rates },
  ],
});
const a = new FakeDriver({ world, host: "a" });
const b = new FakeDriver({ world, host: "b" });
await Promise.all([a.initHost(), b.initHost()]);
const { instance } = await a.spawn(world.spec());

const interrupted = liveMigrate(a, b, instance);
for await (const { phase } of interrupted.events()) {
  if (phase === "prepare") void interrupted.abort().catch(() => undefined);
}
await interrupted.result.catch((error: unknown) => {
  if (!isHyperviseError(error)) throw error;
  console.log(`first attempt: ${error.code}`);
});
console.log(
  `  on a: ${(await a.getInfo(instance)).state}, on b: ${(await b.instanceExists(instance)) ? "there" : "nothing"}`,
);

const handle = liveMigrate(a, b, instance, { downtimeMs: 200 });
let last = "";
for await (const { phase } of handle.events()) {
  if (phase !== last) console.log(`second attempt: ${phase}`);
  last = phase;
}
await handle.result;
console.log(
  `  on a: ${(await a.instanceExists(instance)) ? "there" : "nothing"}, on b: ${(await b.getInfo(instance)).state}`,
);

await b.destroy(instance);
world.assertSound();
if (world.ledger().length > 0) throw new Error("something is left");
