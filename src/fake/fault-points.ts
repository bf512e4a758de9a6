/** Every place at which a test can make the fake fail, hang, be slow or die: one for each method of the driver, its seams and its collaborators. */
import { FACET_METHODS, HANDLE_METHODS } from "../driver/index.js";
import type { FacetName } from "../driver/index.js";

/** `before`: nothing is done yet. `partial`: half of the effect is there. `after`: all of it is, but the caller is not told. */
export const FAULT_STAGES = ["before", "partial", "after"] as const;
export type FaultStage = (typeof FAULT_STAGES)[number];

/** Methods of the seams and collaborators; `partial` marks those that have more than one effect. */
const SEAM_POINTS = {
  hypervisor: {
    whole: [
      "open",
      "close",
      "hostFacts",
      "hostCpuStatistics",
      "compareCpu",
      "undefine",
      "find",
      "list",
      "abortIncoming",
    ],
    partial: ["define", "redefine", "prepareIncoming", "finishIncoming"],
  },
  guest: {
    whole: [
      ...["definition", "info", "requestShutdown", "kill", "waitUntilStopped", "pause", "resume", "reset"],
      ...["detachDisk", "detachNic", "resizeDisk", "snapshotDisk", "restore", "discard"],
      ...["consoleLog", "openConsole", "consoleAddress", "screenshot", "statistics", "diskStatistics"],
      ...["interfaceStatistics", "injectNmi", "abortMigration", "forceCompleteMigration"],
      ...["setBalloon", "detachDevice", "limitDisk", "checkpoints", "deleteCheckpoint", "setConsolePassword"],
    ],
    partial: [
      ...[
        "start",
        "attachDisk",
        "attachNic",
        "mirrorDisk",
        "copyDisk",
        "commitDisk",
        "pullDisk",
        "save",
        "migrate",
        "inject",
      ],
      ...["setVcpus", "setMemory", "attachDevice", "changeMedium", "backup", "dumpMemory"],
      ...["saveTemplate", "startFromTemplate"],
    ],
  },
  agent: {
    whole: ["ping", "setPassword", "readFile", "exec", "interfaces", "freeze", "thaw"],
    partial: ["writeFile"],
  },
  images: { whole: ["describe", "delete", "isCached", "ageCache"], partial: ["fetch", "upload"] },
  disks: {
    whole: [
      ...["remove", "list", "listInstances", "resize", "discardParked", "leaveToken", "seesToken", "removeToken"],
      ...["temporaryPath", "removeTemporary", "capacity"],
    ],
    partial: ["create", "removeAll", "exportDisk", "park", "restore"],
  },
  configDrives: { whole: ["pack"], partial: ["build", "unpack"] },
  volumes: { whole: ["disconnect", "extend"], partial: ["connect"] },
  vifs: { whole: ["unplug"], partial: ["plug"] },
  firewall: {
    whole: [
      ...["instanceFilterExists", "refreshSecurityGroupRules", "refreshSecurityGroupMembers", "filterDeferApplyOff"],
      ...["refreshInstanceSecurityRules", "refreshProviderFirewallRules", "unfilterInstance"],
    ],
    partial: ["setupBasicFiltering", "prepareInstanceFilter", "applyInstanceFilter"],
  },
  files: {
    whole: ["identify", "makeDirectory", "publish", "remove", "readText", "writeText", "list"],
    partial: [],
  },
  secrets: { whole: ["put", "get", "delete"], partial: [] },
  state: { whole: ["put", "get", "delete", "list"], partial: [] },
} as const satisfies Record<string, { readonly whole: readonly string[]; readonly partial: readonly string[] }>;

type SeamPoints = typeof SEAM_POINTS;
type SeamPointOf<S extends keyof SeamPoints> =
  `${S & string}.${SeamPoints[S]["whole"][number] | SeamPoints[S]["partial"][number]}`;
/** A method of a seam or a collaborator: `guest.start`, `vifs.plug`, `state.put`. */
export type SeamPoint = { [S in keyof SeamPoints]: SeamPointOf<S> }[keyof SeamPoints];

/** Asynchronous methods that every driver has. */
export const CORE_METHODS = [
  ...["initHost", "spawn", "destroy", "cleanup", "powerOn", "powerOff", "reboot", "getInfo", "getSpec"],
  ...[
    "listInstances",
    "listInstanceUuids",
    "getNumInstances",
    "instanceExists",
    "getInstanceDiskInfo",
    "listTaggedDevices",
    "instanceOnDisk",
  ],
  ...["deleteInstanceFiles", "resumeStateOnHostBoot", "getAvailableResource", "getInventory", "getHostIpAddress"],
  ...["getHostUptimeMs", "plan"],
] as const;

type FacetMethod = { [F in FacetName]: (typeof FACET_METHODS)[F][number] }[FacetName];
/** A method of the driver itself. Methods that return at once (`filterDeferApplyOn`, `events`) have no fault point. */
export type DriverMethod = (typeof CORE_METHODS)[number] | Exclude<FacetMethod, "filterDeferApplyOn">;
export type DriverPoint = `driver.${DriverMethod}`;
export type FaultPoint = SeamPoint | DriverPoint;

export const DRIVER_METHODS: readonly DriverMethod[] = [
  ...CORE_METHODS,
  ...Object.values(FACET_METHODS)
    .flat()
    .filter((name): name is Exclude<typeof name, "filterDeferApplyOn"> => name !== "filterDeferApplyOn"),
];

export interface FaultPointInfo {
  readonly point: FaultPoint;
  /** What `at` may be here. */
  readonly stages: readonly FaultStage[];
}

const TWO_STAGES: readonly FaultStage[] = ["before", "after"];

function collectPoints(): ReadonlyMap<string, FaultPointInfo> {
  const points = new Map<string, FaultPointInfo>();
  const add = (point: string, stages: readonly FaultStage[]): void =>
    void points.set(point, { point: point as FaultPoint, stages });
  for (const [seam, { whole, partial }] of Object.entries(SEAM_POINTS)) {
    for (const method of whole) add(`${seam}.${method}`, TWO_STAGES);
    for (const method of partial) add(`${seam}.${method}`, FAULT_STAGES);
  }
  // A fault strikes a method that answers with a handle before anything is done.
  for (const method of DRIVER_METHODS) add(`driver.${method}`, HANDLE_METHODS.has(method) ? ["before"] : TWO_STAGES);
  return points;
}

/** All fault points by name. */
export const FAULT_POINTS = collectPoints();
