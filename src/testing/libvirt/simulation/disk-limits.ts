/** Limits of disks: bytes and operations a second, in bursts and lasting. */
import { parametersToObject } from "../../../libvirt/rpc/index.js";
import type { TypedParameter } from "../../../libvirt/rpc/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { fileOf, targetOf } from "./block-jobs.js";
import type { Disk } from "./block-jobs.js";
import { devicesOf } from "./device-names.js";
import type { DomainDocument, DomainRecord } from "./domain-record.js";
import { chosen } from "./domain-state.js";
import type { HostState } from "./host-state.js";
import { refusal } from "./refuse.js";
import { checkParameters, parameter, someParameters } from "./typed-numbers.js";
import type { ParameterTable } from "./typed-numbers.js";

const KINDS = ["bytes_sec", "iops_sec"] as const;
const LIMITS: ParameterTable = [
  ...limits(""),
  ...limits("_max"),
  ["size_iops_sec", "ullong"],
  ["group_name", "string"],
  ...limits("_max_length"),
];

function limits(suffix: string): [field: string, type: "ullong"][] {
  return KINDS.flatMap((kind) =>
    ["total", "read", "write"].map((way): [string, "ullong"] => [`${way}_${kind}${suffix}`, "ullong"]),
  );
}

export function diskLimitHandlers(host: HostState): FakeLibvirtHandlers {
  return {
    domainSetBlockIoTune({ dom, disk: path, params, flags }) {
      const domain = host.unlockedDomain(dom);
      checkParameters(params, LIMITS);
      const disks = chosen(domain, flags).map((document) => diskIn(domain, document, path));
      const given = parametersToObject(params) as Readonly<Record<string, bigint | string>>;
      for (const kind of KINDS) checkTotals(given, kind);
      for (const disk of disks) disk.iotune = withoutZeros({ ...replaced(disk.iotune ?? {}, given) });
      host.emit("domain", "tunable", {
        dom: domain.reference,
        params: [
          { field: "blkdeviotune.disk", type: "string", value: path },
          ...params.map((each) => ({ ...each, field: `blkdeviotune.${each.field}` })),
        ],
      });
      return {};
    },
    domainGetBlockIoTune({ dom, disk: path, nparams, flags }) {
      const domain = host.domain(dom);
      const [document] = chosen(domain, flags) as [DomainDocument];
      const disk = path === undefined ? undefined : diskIn(domain, document, path);
      const tune: Readonly<Record<string, unknown>> = { ...disk?.iotune };
      const all = LIMITS.map(([field, type]): TypedParameter =>
        parameter(field, type, tune[field] ?? (type === "string" ? "" : 0)),
      );
      return someParameters(all, nparams);
    },
  };
}

/** @throws FakeLibvirtError when the definition has no such disk */
function diskIn(domain: DomainRecord, document: DomainDocument, path: string): Disk {
  const disks = devicesOf(document, "disk") as Disk[];
  const disk = disks.find((each) => targetOf(each) === path || (path !== "" && fileOf(each) === path));
  if (disk !== undefined) return disk;
  if (document === domain.live)
    throw refusal("invalidArg", "qemu", `disk '${path}' was not found in the domain config`);
  throw refusal("invalidArg", "qemu", `missing persistent configuration for disk '${path}'`);
}

function checkTotals(given: Readonly<Record<string, bigint | string>>, kind: string): void {
  for (const suffix of ["", "_max"]) {
    const said = (way: string): boolean => BigInt(given[`${way}_${kind}${suffix}`] ?? 0n) !== 0n;
    if (said("total") && (said("read") || said("write")))
      throw refusal("invalidArg", "qemu", `total and read/write of ${kind}${suffix} cannot be set at the same time`);
  }
}

/** What is said of a group of limits takes the place of all of that group: libvirt sets it anew. */
function replaced(
  known: Readonly<Record<string, unknown>>,
  given: Readonly<Record<string, bigint | string>>,
): Record<string, unknown> {
  const groups = new Set(Object.keys(given).map(groupOf));
  const kept = Object.entries(known).filter(([field]) => !groups.has(groupOf(field)));
  return { ...Object.fromEntries(kept), ...given };
}

function groupOf(field: string): string {
  return field.replace(/^(?:total|read|write)_/, "");
}

function withoutZeros(tune: Record<string, unknown>): Record<string, never> {
  const set = Object.entries(tune).filter(([, value]) => value !== 0n && value !== "");
  return Object.fromEntries(set) as Record<string, never>;
}
