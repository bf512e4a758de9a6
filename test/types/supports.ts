/** What a caller may and may not write without asking for a facet. Compiled, never run. */
import { BaseDriver, createDriver, supports } from "hypervise";
import type {
  ComputeDriver,
  DriverClass,
  DriverParts,
  FacetName,
  Facets,
  InstanceRef,
  OperationHandle,
  VolumeConnection,
} from "hypervise";

declare const driver: ComputeDriver;
declare const instance: InstanceRef;
declare const connection: VolumeConnection;
declare const parts: DriverParts;

export async function asksFirst(): Promise<void> {
  if (supports(driver, "volumes")) {
    await driver.attachVolume(instance, connection);
    // @ts-expect-error another facet has not been asked for
    await driver.attachInterface(instance, { id: "x" });
  }
  if (supports(driver, "volumes") && supports(driver, "interfaces")) {
    await driver.attachVolume(instance, connection);
    await driver.detachInterface(instance, { id: "x" });
  }
  if (supports(driver, "snapshots")) {
    const handle = driver.snapshot(instance, "image");
    handle satisfies OperationHandle<{ readonly id: string }>;
    // @ts-expect-error a handle is not a promise
    handle.then(() => undefined);
  }
  if (supports(driver, "backups") && supports(driver, "vcpuHotplug")) {
    await driver.setVcpus(instance, 4);
    const handle = driver.backup(instance, { directory: "/backups" });
    (await handle.result).disks satisfies readonly { readonly path: string }[];
    // @ts-expect-error another facet has not been asked for
    await driver.setMemory(instance, 1024);
  }
  if (supports(driver, "removableMedia")) {
    const { source } = await driver.changeMedium(instance, "drive-sda", undefined);
    // @ts-expect-error a drive may be empty
    void source.path;
  }
  if (supports(driver, "templates")) {
    const { spec } = await driver.saveTemplate(instance, "/template").result;
    await driver.spawnFromTemplate({ ...spec, ...instance }, "/template");
    // @ts-expect-error a handle is not a promise
    driver.saveTemplate(instance, "/template").then(() => undefined);
  }
  if (!supports(driver, "pause")) return;
  await driver.pause(instance);
}

export async function doesNotAsk(): Promise<void> {
  // @ts-expect-error a facet's method without asking
  await driver.attachVolume(instance, connection);
  // @ts-expect-error a facet's method without asking
  await driver.pause(instance);
  // @ts-expect-error a facet's method without asking
  driver.liveMigration(instance, {});
  // @ts-expect-error a driver made of parts promises no facet
  await createDriver(parts).suspend(instance);
  // @ts-expect-error no such facet
  supports(driver, "volume");
}

export async function theCoreNeedsNoAsking(): Promise<void> {
  await driver.initHost();
  await driver.powerOff(instance, { graceMs: 0 });
  const { state } = await driver.getInfo({ uuid: instance.uuid });
  state satisfies "nostate" | "running" | "paused" | "shutdown" | "crashed" | "suspended";
  // @ts-expect-error a power operation needs the name, too
  await driver.powerOn({ uuid: instance.uuid });
  // @ts-expect-error no such option
  await driver.powerOff(instance, { grace: 0 });
  // @ts-expect-error no such type of reboot
  await driver.reboot(instance, "cold");
  for await (const event of driver.events()) {
    if (event.type === "lifecycle") event.cause satisfies "self" | "guest" | "external" | "crash";
    // @ts-expect-error only some events are about an instance
    void event.instance;
  }
}

/** Each name narrows to its facet and to nothing wider. */
export function narrows<F extends FacetName>(name: F): Facets[F] | undefined {
  return supports(driver, name) ? driver : undefined;
}

class PlainDriver extends BaseDriver {}
class VolumeDriver extends (BaseDriver as DriverClass<"volumes" | "pause">) {}

export async function classesPromiseWhatTheySay(): Promise<void> {
  await new VolumeDriver(parts).attachVolume(instance, connection);
  await new VolumeDriver(parts).pause(instance);
  // @ts-expect-error not promised
  await new VolumeDriver(parts).suspend(instance);
  // @ts-expect-error not promised
  await new PlainDriver(parts).pause(instance);
  new VolumeDriver(parts) satisfies ComputeDriver;
}

/** Data is read-only, and optional properties are absent rather than undefined. */
export function dataIsReadOnly(ref: InstanceRef): void {
  // @ts-expect-error read-only
  ref.name = "x";
  // @ts-expect-error exactOptionalPropertyTypes: absent, not undefined
  void driver.spawn({ ...ref, flavor: { vcpus: 1, memoryMiB: 1, rootGiB: 0 }, imageId: undefined });
}
