/** Guests on a real libvirtd, by LibvirtDriver: in memory, out of it, and when their daemon dies. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DriverEvent, InstanceRef } from "../../../../src/driver/index.js";
import type { LibvirtDriver } from "../../../../src/libvirt/driver/index.js";
import { LibvirtClient } from "../../../../src/libvirt/index.js";
import { waitFor } from "../../../lab/index.js";
import { startLibvirtHost } from "../../../lab/libvirt-host.js";
import type { LabLibvirtHost } from "../../../lab/libvirt-host.js";
import { isAlive, qemuProcess } from "../../contract/qemu-process.js";

let host: LabLibvirtHost;
beforeAll(async () => {
  host = await startLibvirtHost();
}, 120_000);
afterAll(() => host?.remove());

async function spawn(driver: LibvirtDriver, name: string): Promise<InstanceRef> {
  const instance = { uuid: randomUUID(), name };
  const flavor = { vcpus: 1, memoryMiB: host.memoryMiB, rootGiB: 1 };
  await driver.spawn({ ...instance, flavor, imageId: "guest", vifs: [] });
  return instance;
}

/** The next event of a kind; the reading goes on afterwards. */
async function until(
  events: AsyncIterator<DriverEvent, undefined>,
  wanted: (event: DriverEvent) => boolean,
): Promise<DriverEvent> {
  for (;;) {
    const { value, done } = await events.next();
    if (done === true) throw new Error("the events ended");
    if (wanted(value)) return value;
  }
}

describe("an instance on libvirt", () => {
  it("is spawned, paused, powered off and destroyed", { timeout: 240_000 }, async () => {
    await using driver = host.open();
    await driver.initHost();
    const instance = await spawn(driver, "first");
    expect((await driver.getInfo(instance)).state).toBe("running");
    await driver.pause(instance);
    expect((await driver.getInfo(instance)).state).toBe("paused");
    await driver.unpause(instance);
    expect((await driver.getInfo(instance)).state).toBe("running");
    await driver.powerOff(instance, { graceMs: 0 });
    expect((await driver.getInfo(instance)).state).toBe("shutdown");
    await driver.powerOn(instance);
    await driver.destroy(instance);
    expect(await driver.listInstances()).toEqual([]);
  });

  it(
    "keeps the machine and the copy of itself that it was made with, over restarts and redefinitions",
    { timeout: 120_000 },
    async () => {
      await using driver = host.open();
      await driver.initHost();
      const instance = await spawn(driver, "lasting");
      await using client = await LibvirtClient.open(host.daemon.uri("qemu"));
      const identity = async (): Promise<readonly (string | undefined)[]> => {
        const xml = await (await client.lookupDomainByUuid(instance.uuid)).getXmlDesc({ flags: ["inactive"] });
        return [
          /machine='([^']+)'/.exec(xml)?.[1],
          /<genid>([^<]+)/.exec(xml)?.[1],
          /<address type='pci'[^>]*>/.exec(xml)?.[0],
        ];
      };
      const before = await identity();
      await driver.reboot(instance, "hard");
      expect(await identity()).toEqual(before);
      await driver.destroy(instance);
    },
  );

  it("outlives its daemon, and what happens to it meanwhile is told", { timeout: 240_000 }, async () => {
    await using driver = host.open();
    await driver.initHost();
    const [staying, dying] = [await spawn(driver, "staying"), await spawn(driver, "dying")];
    const events = driver.events();
    await host.daemon.kill("SIGKILL");
    await until(events, (event) => event.type === "connection" && event.state === "lost");
    expect(await driver.getInfo(staying)).toMatchObject({ state: "running", stale: true });
    const pid = await qemuProcess(dying.uuid);
    process.kill(pid, "SIGKILL");
    await waitFor(async () => !(await isAlive(pid)), { timeoutMs: 30_000, what: "the end of QEMU" });
    await host.daemon.start();
    const told = await until(events, (event) => event.type === "lifecycle");
    expect(told).toMatchObject({ instance: dying, transition: expect.stringMatching(/crashed|stopped/) as string });
    expect(await driver.getInfo(staying)).toMatchObject({ state: "running", stale: false });
    await driver.pause(staying);
    for (const instance of [staying, dying]) await driver.destroy(instance);
    expect(await driver.listInstances()).toEqual([]);
  });
});
