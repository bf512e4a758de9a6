// A modular daemon asks the one beside it for secrets and for the host's devices, and that one may not be there.
import { getSystemErrorMap } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { Secret } from "../../../../src/core/index.js";
import type { FakeLibvirtErrorDetails } from "../../../../src/testing/libvirt/index.js";
import { connection, smallSpec } from "../../driver/support/specs.js";
import { LibvirtStage, instance } from "./support/libvirt-stage.js";

const ENCRYPTED = connection("vol-2", { encryption: { format: "luks", secretId: "key" } });

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function openStage(): Promise<LibvirtStage> {
  const stage = await LibvirtStage.open();
  cleanups.push(() => stage.close());
  await stage.secrets.put("key", Secret.of("sesame"));
  return stage;
}

/** What virtqemud answers when it could not connect to another daemon's socket. */
function notReached(name: "ENOENT" | "ECONNREFUSED"): FakeLibvirtErrorDetails {
  const errno = [...getSystemErrorMap()].find(([, [each]]) => each === name)?.[0] ?? 0;
  return { code: 38, domain: 7, int1: -errno, message: `Failed to connect socket to '/var/run/libvirt/other-sock'` };
}

describe("a daemon with nobody beside it", () => {
  it("has no PCI devices to tell of where nobody is to watch them; who is down is told", async () => {
    const { driver, host } = await openStage();
    const fault = host.faults.refuse("connectListAllNodeDevices", notReached("ENOENT"));
    expect((await driver.getAvailableResource()).pciDevices).toEqual([]);
    fault.remove();
    host.faults.refuse("connectListAllNodeDevices", notReached("ECONNREFUSED"));
    await expect(driver.getAvailableResource()).rejects.toMatchObject({
      code: "HYPERVISOR_UNAVAILABLE",
      retryable: true,
      remedy: expect.stringContaining("Start the daemon") as string,
    });
  });

  it("takes no encrypted volume, and has nothing of it", async () => {
    const stage = await openStage();
    await stage.driver.spawn(smallSpec());
    const before = await stage.ledger();
    const fault = stage.host.faults.refuse("secretDefineXml", notReached("ENOENT"));
    await expect(stage.driver.attachVolume(instance, ENCRYPTED)).rejects.toMatchObject({
      code: "HYPERVISOR_UNAVAILABLE",
      retryable: true,
    });
    expect(await stage.ledger()).toEqual(before);
    fault.remove();
    await stage.driver.attachVolume(instance, ENCRYPTED);
  });

  it.each(["ENOENT", "ECONNREFUSED"] as const)("lets go of secrets that are gone with it (%s)", async (name) => {
    const { driver, host } = await openStage();
    await driver.spawn(smallSpec());
    await driver.attachVolume(instance, ENCRYPTED);
    host.faults.refuse("secretUndefine", notReached(name));
    await driver.detachVolume(instance, ENCRYPTED);
    await driver.attachVolume(instance, ENCRYPTED);
    await driver.destroy(instance);
    expect(await driver.listInstances()).toEqual([]);
  });
});
