// A guest whose ports take their time: it stands still until they are active, or is gone.
import { afterEach, describe, expect, it } from "vitest";
import { VifPlugError, VifPluggerByType } from "../../../../src/network/index.js";
import type { VifPlugger } from "../../../../src/network/index.js";
import type { DriverEvent } from "../../../../src/driver/index.js";
import { smallSpec, vif } from "../../driver/support/specs.js";
import { LibvirtStage, instance } from "./support/libvirt-stage.js";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Ports of a network service that says when they are active. */
class SlowPorts implements VifPlugger {
  readonly plugged = new Set<string>();
  readonly waiting = new Map<string, (failure?: Error) => void>();
  given = 0;

  validate(): void {}
  async plug({ id }: { readonly id: string }) {
    this.plugged.add(id);
    return { type: "tap", deviceName: `tap${id.slice(0, 8)}`, queues: 1 } as const;
  }
  async unplug({ id }: { readonly id: string }): Promise<void> {
    this.plugged.delete(id);
  }
  waitUntilActive(
    { id }: { readonly id: string },
    _uuid: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    this.given++;
    return new Promise((resolve, reject) => {
      options.signal?.addEventListener("abort", () => {
        this.waiting.delete(id);
        reject(options.signal?.reason as Error);
      });
      this.waiting.set(id, (failure) => (failure === undefined ? resolve() : reject(failure)));
    });
  }
}

async function openStage(vifActiveMs = 60_000): Promise<{ readonly stage: LibvirtStage; readonly ports: SlowPorts }> {
  const ports = new SlowPorts();
  const stage = await LibvirtStage.open({
    collaborators: { vifs: new VifPluggerByType({ bridge: ports }) },
    timeouts: { vifActiveMs },
  });
  cleanups.push(() => stage.close());
  return { stage, ports };
}

const spec = smallSpec({ vifs: [vif(1), vif(2)] });

async function nextLifecycle(events: AsyncIterable<DriverEvent>): Promise<string> {
  for await (const event of events) if (event.type === "lifecycle") return `${event.transition} ${event.cause}`;
  throw new Error("the events ended");
}

describe("a spawn whose ports take their time", () => {
  it("holds the guest paused until all are active", async () => {
    const { stage, ports } = await openStage();
    const events = stage.driver.events();
    const phases: string[] = [];
    const spawning = stage.driver.spawn(spec, { onProgress: ({ phase }) => phases.push(phase) });
    for await (const event of events) if (event.type === "lifecycle" && event.transition === "started") break;
    expect(await stage.driver.getInfo(instance)).toMatchObject({ state: "paused", busy: true });
    const [first, second] = [...ports.waiting.values()];
    first?.();
    expect((await stage.driver.getInfo(instance)).state).toBe("paused");
    const resumed = nextLifecycle(stage.driver.events());
    second?.();
    expect(await spawning).toMatchObject({ state: "running" });
    expect(await resumed).toBe("resumed self");
    expect((await stage.driver.getInfo(instance)).state).toBe("running");
    expect(phases).toContain("network");
    await stage.driver.destroy(instance);
  });

  it.for(["refused", "too late", "given up"] as const)("leaves nothing when one is %s", async (how) => {
    const { stage, ports } = await openStage(how === "too late" ? 300 : 60_000);
    const before = await stage.ledger();
    const giveUp = new AbortController();
    const events = stage.driver.events();
    const spawning = stage.driver.spawn(spec, { signal: giveUp.signal });
    const failure = spawning.then(
      () => undefined,
      (error: unknown) => error,
    );
    for await (const event of events) if (event.type === "lifecycle" && event.transition === "started") break;
    const [first, second] = [...ports.waiting.values()];
    first?.();
    if (how === "refused") second?.(new VifPlugError("the network service has no route for the port"));
    if (how === "given up") giveUp.abort();
    expect(await failure).toMatchObject({ code: how === "given up" ? "ABORTED" : "VIF_PLUG_FAILED", instance });
    expect([...ports.plugged]).toEqual([]);
    expect(ports.waiting.size).toBe(0);
    expect((await stage.ledger()).filter((line) => !line.includes('"kind":"image"'))).toEqual(
      before.filter((line) => !line.includes('"kind":"image"')),
    );
  });

  it("does not wait for a guest that is not started, nor at later starts", async () => {
    const { stage, ports } = await openStage();
    await stage.driver.spawn(spec, { powerOn: false });
    await stage.driver.powerOn(instance);
    await stage.driver.reboot(instance, "hard");
    expect(ports.given).toBe(0);
    expect((await stage.driver.getInfo(instance)).state).toBe("running");
  });
});
