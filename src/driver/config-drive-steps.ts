/** Making a config drive: its image in a temporary place, and from that a disk of the instance's. */
import { HyperviseError, NotSupportedError } from "../core/index.js";
import type { ConfigDriveBuilder, ConfigDriveImage } from "../storage/index.js";
import { configDriveContentOf } from "./plan-config-drive.js";
import type { Injection, PlannedConfigDrive } from "./plan-config-drive.js";
import type { Guest } from "./guest.js";
import type { HostContext } from "./host-context.js";
import type { InstanceDisk, InstanceRecord } from "./instance-record.js";
import type { InjectedFile } from "./instance-spec.js";
import type { Operation } from "./operation.js";
import type { Secret } from "../core/index.js";
import type { Vif } from "../network/index.js";

/** Entropy that a guest is given. */
const SEED_BYTES = 512;

/** A password and files for the guest, given with one call and kept in no record. */
export interface GivenInjection {
  readonly adminPassword?: Secret | undefined;
  readonly files?: readonly InjectedFile[] | undefined;
}

function isEmpty({ adminPassword, files = [] }: GivenInjection): boolean {
  return adminPassword === undefined && files.length === 0;
}

/** Whether what is given has a way into the guest: its config drive, or the hypervisor's own. @throws NotSupportedError */
export function requireInjection(
  host: HostContext,
  spec: Pick<InstanceRecord["spec"], "configDrive">,
  given: GivenInjection,
): void {
  if (spec.configDrive !== undefined) return void requireConfigDrives(host);
  if (!isEmpty(given) && !host.lifecycle.capabilities.flags.injectAtSpawn)
    throw new NotSupportedError({
      capability: "injectAtSpawn",
      remedy:
        "Give the instance a config drive, or set the password and write the files by the guest agent when it runs.",
    });
}

/** Puts into a guest what no config drive tells it. */
export async function inject(
  { signal }: Pick<Operation, "signal">,
  guest: Guest,
  spec: Pick<InstanceRecord["spec"], "configDrive">,
  given: GivenInjection,
): Promise<void> {
  const { adminPassword, files = [] } = given;
  if (spec.configDrive !== undefined || isEmpty(given)) return;
  if (guest.inject === undefined)
    throw new HyperviseError("the hypervisor has the feature injectAtSpawn, but its guest has no inject method", {
      code: "INTERNAL",
    });
  await guest.inject({ ...(adminPassword === undefined ? {} : { adminPassword }), files }, { signal });
}

/** @throws NotSupportedError where guests have no config drives, or nobody makes them */
export function requireConfigDrives({ collaborators, lifecycle }: HostContext): ConfigDriveBuilder {
  const { configDrives } = collaborators;
  if (configDrives === undefined || !lifecycle.capabilities.flags.configDrive)
    throw new NotSupportedError({ capability: "configDrive" });
  return configDrives;
}

type Told = Pick<InstanceRecord, "uuid" | "name" | "spec"> & {
  readonly volumes: Parameters<typeof configDriveContentOf>[0]["volumes"];
  readonly vifs: readonly Vif[];
};

/** Builds an instance's config drive; a failing operation removes it. */
export async function createConfigDrive(
  operation: Operation,
  planned: PlannedConfigDrive,
  told: Told,
  { adminPassword, files }: GivenInjection = {},
): Promise<InstanceDisk> {
  const { configDrive } = told.spec;
  const builder = requireConfigDrives(operation.host);
  const injection: Injection = {
    randomSeed: builder.randomBytes(SEED_BYTES),
    ...(adminPassword === undefined ? {} : { adminPassword }),
    ...(files === undefined ? {} : { files }),
  };
  const content = configDriveContentOf(told, configDrive ?? {}, injection);
  const format = configDrive?.format ?? "iso";
  operation.progress("config-drive");
  return placeConfigDrive(operation, planned, (directory) =>
    builder.build({ directory, format, content }, { signal: operation.signal }),
  );
}

/** The config drive that the instance has on another host, as its bytes came. */
export function receiveConfigDrive(
  operation: Operation,
  planned: PlannedConfigDrive,
  packed: string,
): Promise<InstanceDisk> {
  const builder = requireConfigDrives(operation.host);
  return placeConfigDrive(operation, planned, (directory) =>
    builder.unpack(packed, directory, { signal: operation.signal }),
  );
}

/** The image holds the password: it is gone when this is over, whatever comes of it. */
async function placeConfigDrive(
  operation: Operation,
  planned: PlannedConfigDrive,
  make: (directory: string) => Promise<ConfigDriveImage>,
): Promise<InstanceDisk> {
  const { host, instance, signal } = operation;
  const { disks } = host.collaborators;
  const { uuid } = instance;
  const { name } = planned;
  const directory = await disks.temporaryPath(`config-drive-${uuid}`);
  const { path, sizeBytes } = await operation.effect("temporaryFile", { path: directory }, () => make(directory));
  const image = { id: name, path, format: "raw", virtualSizeBytes: sizeBytes } as const;
  const source = await operation.effect("disk", { uuid, name }, async () => {
    // What was kept of an earlier instance tells of that.
    await disks.remove(uuid, name);
    return disks.create({ instanceUuid: uuid, name, sizeBytes, image, format: "raw" }, { signal });
  });
  await disks.removeTemporary(directory);
  return { ...planned, sizeBytes, source };
}
