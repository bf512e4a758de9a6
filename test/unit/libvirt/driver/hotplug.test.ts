// Guests that refuse to let go of a device, that do not answer, and calls that are aborted while a device comes.
import { afterEach, describe, expect, it } from "vitest";
import type { DriverEvent } from "../../../../src/driver/index.js";
import type { LibvirtDriverOptions } from "../../../../src/libvirt/driver/index.js";
import { parseGuestState } from "../../../../src/libvirt/driver/state/guest-state.js";
import { blockDevice, smallSpec, vif } from "../../driver/support/specs.js";
import { LibvirtStage, instance } from "./support/libvirt-stage.js";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function openStage(options: Partial<LibvirtDriverOptions> = {}): Promise<LibvirtStage> {
  const stage = await LibvirtStage.open(options);
  cleanups.push(() => stage.close());
  await stage.driver.spawn(smallSpec());
  return stage;
}

const volume = blockDevice("vol-1").connection;
const requests = (stage: LibvirtStage): number =>
  stage.host.server.received.filter(({ name }) => name === "domainDetachDeviceAlias").length;

/** The next refusal; the reading goes on afterwards. */
async function detachFailed(events: AsyncIterator<DriverEvent, undefined>): Promise<DriverEvent> {
  for (;;) {
    const next = await events.next();
    if (next.done === true) throw new Error("the events ended");
    if (next.value.type === "device" && next.value.change === "detachFailed") return next.value;
  }
}

describe("a guest that refuses to let go", () => {
  it("keeps the device, in memory and to start with, and lets go of it when it is asked again", async () => {
    const stage = await openStage();
    const before = await stage.ledger();
    const events = stage.driver.events();
    stage.host.setBehaviour({ detach: "refuse", detachMs: 20 }, instance.uuid);
    for (const detach of [
      () => stage.driver.detachVolume(instance, volume),
      () => stage.driver.detachInterface(instance, vif(1)),
    ]) {
      await expect(detach()).rejects.toMatchObject({ code: "DEVICE_DETACH_FAILED", instance });
      expect(await detachFailed(events)).toMatchObject({ instance });
    }
    expect(await stage.ledger()).toEqual(before);
    stage.host.setBehaviour({ detach: "release" }, instance.uuid);
    await stage.driver.detachVolume(instance, volume);
    await stage.driver.detachInterface(instance, vif(1));
    expect((await stage.ledger()).filter((line) => /vol-1|"port"/.test(line))).toEqual([]);
  });
});

describe("a guest that does not answer", () => {
  it("is asked again until the time is up; the volume is still attached, and goes with the next call", async () => {
    const stage = await openStage({ timeouts: { detachMs: 1_000 }, libvirtTimeouts: { detachResendMs: 50 } });
    stage.host.setBehaviour({ detach: "ignore" }, instance.uuid);
    await expect(stage.driver.detachVolume(instance, volume)).rejects.toMatchObject({ code: "DEVICE_DETACH_FAILED" });
    // One for what it starts with, the others for the guest.
    expect(requests(stage)).toBeGreaterThan(2);
    expect((await stage.driver.listDisks(instance)).map(({ volumeId }) => volumeId)).toContain("vol-1");
    expect((await stage.ledger()).some((line) => line.includes('"volumeConnection"'))).toBe(true);
    stage.host.setBehaviour({ detach: "release" }, instance.uuid);
    const again = (): Promise<boolean> =>
      stage.driver.detachVolume(instance, volume).then(
        () => true,
        () => false,
      );
    await expect.poll(again, { timeout: 30_000 }).toBe(true);
    expect((await stage.ledger()).some((line) => line.includes("vol-1"))).toBe(false);
  });

  it("lets go when it hears the request that is repeated", async () => {
    const stage = await openStage({ timeouts: { detachMs: 20_000 }, libvirtTimeouts: { detachResendMs: 50 } });
    stage.host.setBehaviour({ detach: "ignore" }, instance.uuid);
    const detaching = stage.driver.detachVolume(instance, volume);
    await expect.poll(() => requests(stage), { timeout: 10_000 }).toBeGreaterThan(2);
    stage.host.setBehaviour({ detach: "release" }, instance.uuid);
    await detaching;
    expect((await stage.ledger()).some((line) => line.includes("vol-1"))).toBe(false);
  });
});

describe("a call that is aborted while a device comes", () => {
  it("leaves nothing of it, though libvirt can't be stopped any more", async () => {
    const stage = await openStage();
    const before = await stage.ledger();
    const gpu = { type: "pciHost", id: "gpu", address: "0000:3b:00.2" } as const;
    const acts: readonly ((signal: AbortSignal) => Promise<unknown>)[] = [
      (signal) => stage.driver.attachVolume(instance, blockDevice("vol-2").connection, { bus: "scsi", signal }),
      (signal) => stage.driver.attachInterface(instance, vif(2), { signal }),
      (signal) => stage.driver.attachDevice(instance, gpu, { signal }),
    ];
    for (const attach of acts) {
      const controller = new AbortController();
      const when = (): boolean => {
        controller.abort();
        return true;
      };
      const fault = stage.host.faults.delay("domainAttachDeviceFlags", 50, { when, times: 1 });
      await expect(attach(controller.signal)).rejects.toMatchObject({ code: "ABORTED" });
      fault.remove();
      expect(await stage.ledger()).toEqual(before);
    }
  });
});

describe("a state that an earlier release wrote", () => {
  it("is read without what was not written then; a later one's is left alone", () => {
    const { uuid, name } = instance;
    const definition = {
      uuid,
      name,
      vcpus: 1,
      memoryMiB: 64,
      firmware: "bios",
      disks: [],
      nics: [],
      guestAgent: false,
    } as const;
    expect(parseGuestState({ version: 1, definition }, uuid)).toEqual({ version: 1, definition });
    expect(() => parseGuestState({ version: 2, definition }, uuid)).toThrow(/newer release/);
  });
});
