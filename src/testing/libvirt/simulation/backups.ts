/** Backups of running domains' disks: to files (push), or to whoever fetches them (pull). */
import { DomainBackupBeginFlags as BEGIN } from "../../../libvirt/rpc/index.js";
import { formatDomainBackupXml, parseDomainBackupXml } from "../../../libvirt/xml/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { targetOf } from "./block-jobs.js";
import type { Disk } from "./block-jobs.js";
import { addCheckpoint } from "./checkpoints.js";
import { devicesOf } from "./device-names.js";
import { sizeOfDisk } from "./disk-sizes.js";
import type { DomainRecord } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { completeJob } from "./job-statistics.js";
import { readDocument } from "./read-document.js";
import { refusal } from "./refuse.js";

type BackupDocument = ReturnType<typeof parseDomainBackupXml>;
type BackupDisk = NonNullable<NonNullable<BackupDocument["disks"]>["disk"]>[number];

export function backupHandlers(host: HostState): FakeLibvirtHandlers {
  return {
    domainBackupBegin({ dom, backupXml, checkpointXml, flags }) {
      const domain = host.unlockedDomain(dom);
      const backup = readDocument("domain_backup", "domain", () => parseDomainBackupXml(backupXml));
      if (!domain.active)
        throw refusal("operationUnsupported", "qemu", "cannot perform disk backup for inactive domain");
      if (domain.backup !== undefined)
        throw refusal("operationTimeout", "none", "Timed out during operation: cannot acquire state change lock");
      const disks = disksOf(host, domain, backup);
      for (const { plan } of disks) checkFrom(domain, plan, backup.incremental);
      if (backup.mode !== "pull" && (flags & BEGIN.reuseExternal) === 0)
        for (const { plan } of disks) checkFree(host, plan);
      if (checkpointXml !== undefined) addCheckpoint(host, domain, checkpointXml, 0);
      start(host, domain, backup, disks);
      return {};
    },
    domainBackupGetXmlDesc({ dom }) {
      const { backup } = host.domain(dom);
      if (backup === undefined)
        throw refusal("noDomainBackup", "qemu", "Domain backup job id not found: no domain backup job present");
      return { xml: formatDomainBackupXml(backup) };
    },
  };
}

interface PlannedDisk {
  readonly disk: Disk;
  readonly plan: BackupDisk;
}

/** The disks that are backed up: those that are named, or else all. @throws FakeLibvirtError for those that are not there */
function disksOf(host: HostState, domain: DomainRecord, backup: BackupDocument): readonly PlannedDisk[] {
  const disks = (devicesOf(domain.document, "disk") as Disk[]).filter(({ device = "disk" }) => device === "disk");
  const wanted = backup.disks?.disk;
  if (wanted === undefined) {
    const plans = disks.map((disk): PlannedDisk => ({
      disk,
      plan: { name: targetOf(disk), ...destination(host, disk) },
    }));
    backup.disks = { disk: plans.map(({ plan }) => plan) };
    return plans;
  }
  return wanted
    .filter(({ backup: takes }) => takes !== "no")
    .map((plan) => {
      const disk = disks.find((each) => targetOf(each) === plan.name);
      if (disk === undefined)
        throw refusal("configUnsupported", "domain", `no disk named '${plan.name ?? ""}' found in the domain`);
      return { disk, plan };
    });
}

function destination(host: HostState, disk: Disk): Partial<BackupDisk> {
  const { file = targetOf(disk) } = (disk.source ?? {}) as { readonly file?: string };
  return { type: "file", target: { file: `${file}.${Math.floor(host.clock.now() / 1000)}` } };
}

function checkFrom(domain: DomainRecord, plan: BackupDisk, since: string | undefined): void {
  const from = plan.incremental ?? since;
  if (from === undefined || domain.checkpoints.get(from)?.disks.includes(plan.name ?? "") === true) return;
  throw refusal(
    "noDomainCheckpoint",
    "qemu",
    `Domain checkpoint not found: Checkpoint '${from}' for incremental backup of disk '${plan.name ?? ""}' not found`,
  );
}

function checkFree(host: HostState, { name = "", target = {} }: BackupDisk): void {
  const { file } = target;
  if (file !== undefined && host.fileSizes.has(file))
    throw refusal("invalidArg", "qemu", `invalid argument: store '${file}' for backup of '${name}' exists`);
}

function start(host: HostState, domain: DomainRecord, backup: BackupDocument, disks: readonly PlannedDisk[]): void {
  const { blockJobMs } = host.behaviourOf(domain);
  const sizes = disks.map(({ disk }) => sizeOfDisk(host, disk));
  const end = (success: boolean): void => {
    domain.backup = undefined;
    completeJob(host, domain, success);
  };
  domain.backup = backup;
  disks.forEach(({ plan }, index) => {
    const { file } = plan.target ?? {};
    if (file !== undefined) host.fileSizes.set(file, sizes[index] ?? 0n);
  });
  domain.job = {
    kind: "backup",
    startedAt: host.clock.now(),
    lastsMs: blockJobMs,
    totalBytes: sizes.reduce((sum, size) => sum + size, 0n),
    // What somebody fetches is through when he says so.
    abort: () => end(backup.mode === "pull"),
  };
  if (backup.mode === "pull") return;
  const { job } = domain;
  host.later(
    blockJobMs,
    () => {
      if (domain.job === job) end(true);
    },
    domain.timers,
  );
}
