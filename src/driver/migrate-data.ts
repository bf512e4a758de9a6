/** What the hosts of a live migration tell each other, checked as anything from outside. Pure. */
import { check } from "../core/index.js";
import type { Check } from "../core/index.js";
import { diskLimitsCheck } from "./validate-disk-tuning.js";
import { checkCpuModel } from "./operations/host-cpu.js";
import { InvalidArgumentError, Secret } from "../core/index.js";
import { instanceName } from "./operation-options.js";
import type { InstanceDisk, InstanceRecord } from "./instance-record.js";
import type { InstanceRef } from "./instance-spec.js";
import type { LiveMigrateData } from "./facets/live-migration.js";
import { storedSpec, validateInstanceSpec } from "./validate-instance-spec.js";
import type { StoredSpec } from "./validate-instance-spec.js";

const jsonObject = check.json() as unknown as Check<LiveMigrateData["record"]>;
const diskName = check.string({ max: 64, charset: "name" });
const hostName = check.string({ max: 255 });

/** As base64, of a drive of 48 MiB of files at most; no error shows it. */
const packedDrive: Check<string> = (value, path) => {
  if (typeof value === "string" && value.length <= 72 * 1_048_576 && /^[A-Za-z0-9+/]*={0,2}$/.test(value)) return value;
  throw new InvalidArgumentError({
    field: path,
    value: Secret.of("a config drive"),
    expected: "a packed config drive",
  });
};

const shape: Check<LiveMigrateData> = check.object({
  version: check.oneOf([1] as const),
  id: check.uuid(),
  instance: check.object({ uuid: check.uuid(), name: instanceName }),
  record: jsonObject,
  sourceHost: hostName,
  sourceHypervisor: hostName,
  destinationHost: check.optional(hostName),
  sourceCpu: checkCpuModel,
  guest: check.optional(jsonObject),
  storageToken: check.optional(check.string({ max: 128, charset: "name" })),
  sharedStorage: check.optional(check.boolean()),
  copyDisks: check.optional(check.array(diskName, { max: 256 })),
  configDriveSecret: check.optional(packedDrive),
  token: check.optional(jsonObject),
});

/** @throws InvalidArgumentError naming the bad field below `data`. */
export function checkMigrateData(value: unknown, instance?: InstanceRef): LiveMigrateData {
  const data = shape(value, "data");
  if (instance !== undefined && data.instance.uuid !== instance.uuid) {
    throw new InvalidArgumentError({
      field: "data.instance.uuid",
      value: data.instance.uuid,
      expected: `the instance's, ${instance.uuid}`,
    });
  }
  return data;
}

/** A disk of the instance's own that the destination must have. */
const movedDisk = check.object({
  name: diskName,
  sizeBytes: check.integer({ min: 1 }),
  limits: check.optional(diskLimitsCheck),
});
const movedTemplate = check.object({ id: check.uuid(), directory: check.absolutePath() });

export interface MovedInstance {
  readonly spec: StoredSpec;
  readonly disks: readonly Pick<InstanceDisk, "name" | "sizeBytes" | "limits">[];
  readonly desiredState: InstanceRecord["desiredState"];
  /** The template that the instance was started from. */
  readonly template?: NonNullable<InstanceRecord["template"]>;
}

/** What the destination needs of the source's record. @throws InvalidArgumentError */
export function movedInstance({ record }: LiveMigrateData): MovedInstance {
  const spec = storedSpec(validateInstanceSpec(record["spec"]));
  const given = record["disks"];
  const list = Array.isArray(given) ? given : [];
  const disks = list.map((disk, index) => {
    const { name, sizeBytes, limits } = (disk ?? {}) as { readonly [K in keyof InstanceDisk]?: unknown };
    const given = limits === undefined ? { name, sizeBytes } : { name, sizeBytes, limits };
    return movedDisk(given, `data.record.disks[${index}]`);
  });
  const cloned = record["template"];
  const template = cloned === undefined ? undefined : movedTemplate(cloned, "data.record.template");
  const desiredState = check.oneOf(["running", "paused"])(record["desiredState"], "data.record.desiredState");
  return { spec, disks, desiredState, ...(template === undefined ? {} : { template }) };
}
