import assert from "node:assert/strict";
import type { DriverEvent, InstanceRef } from "../../driver/index.js";
import type { ContractContext } from "./context.js";
import type { ContractPart } from "./part.js";

/** Collects the events of an instance while the body runs, and then until one that fits has come. */
async function eventsOf(
  context: ContractContext,
  instance: InstanceRef,
  until: (event: DriverEvent) => boolean,
  body: () => Promise<unknown>,
): Promise<readonly DriverEvent[]> {
  const events = context.driver.events({ instance });
  const seen: DriverEvent[] = [];
  await body();
  for await (const event of events) {
    seen.push(event);
    if (until(event)) break;
  }
  return seen;
}

const transition = (name: string) => (event: DriverEvent) => event.type === "lifecycle" && event.transition === name;

export const eventsContract: ContractPart = (context, it) => {
  it("tells of what it did itself, in order", async () => {
    await context.withInstance(
      async (instance) => {
        const seen = await eventsOf(context, instance, transition("stopped"), async () => {
          await context.driver.powerOn(instance);
          await context.driver.powerOff(instance, { graceMs: 0 });
        });
        const lifecycle = seen.flatMap((event) => (event.type === "lifecycle" ? [event] : []));
        const names = lifecycle.map((event) => event.transition);
        assert(names.indexOf("started") >= 0 && names.indexOf("started") < names.indexOf("stopped"), names.join(", "));
        assert.deepEqual([...new Set(lifecycle.map(({ cause }) => cause))], ["self"]);
        const sequences = seen.map(({ sequence }) => sequence);
        assert.deepEqual(
          sequences,
          [...sequences].sort((a, b) => a - b),
        );
      },
      { powerOn: false },
    );
  });

  it("tells that a guest's hypervisor process died, and that nobody here did it", async () => {
    await context.withInstance(async (instance) => {
      const seen = await eventsOf(
        context,
        instance,
        (event) => event.type === "lifecycle" && (event.transition === "crashed" || event.transition === "stopped"),
        () => context.subject.crashGuest(instance),
      );
      const last = seen.at(-1);
      assert(last?.type === "lifecycle" && last.cause !== "self");
      assert.match((await context.driver.getInfo(instance)).state, /^(crashed|shutdown)$/);
    });
  });

  it("tells of instances that come and go", async () => {
    const events = context.driver.events();
    const changes: string[] = [];
    await context.withInstance(async () => undefined, { powerOn: false });
    for await (const event of events) {
      if (event.type !== "instance") continue;
      changes.push(event.change);
      if (event.change === "destroyed") break;
    }
    assert.deepEqual(changes, ["spawned", "destroyed"]);
  });

  it("ends a subscription when its signal aborts", async () => {
    const controller = new AbortController();
    const events = context.driver.events({ signal: controller.signal });
    controller.abort();
    assert.equal((await events.next()).done, true);
  });
};
