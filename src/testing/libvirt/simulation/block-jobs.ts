/** Jobs on the disks of running domains: copies, commits, pulls, and how they end. */
import type { FakeLibvirtHandlers } from "../fake-call.js";
import {
  ConnectDomainEventBlockJobStatus as STATUS,
  DomainBlockCommitFlags as COMMIT,
  DomainBlockJobAbortFlags as ABORT,
  DomainBlockJobType as TYPE,
  DomainBlockRebaseFlags as REBASE,
} from "../../../libvirt/rpc/index.js";
import type { LibvirtProtocol } from "../../../libvirt/rpc/index.js";
import { parseDeviceXml } from "../../../libvirt/xml/index.js";
import { devicesOf } from "./device-names.js";
import { sizeOfDisk } from "./disk-sizes.js";
import type { BlockJob, DomainDocument, DomainRecord } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { invalidOperation, refusal } from "./refuse.js";

export type Disk = NonNullable<NonNullable<DomainDocument["devices"]>["disk"]>[number];

export function blockJobHandlers(host: HostState): FakeLibvirtHandlers {
  return {
    domainBlockCopy({ dom, path, destxml }) {
      let copy: Disk;
      try {
        copy = parseDeviceXml("disk", destxml);
      } catch (error) {
        throw refusal("xmlError", "domain", error instanceof Error ? error.message : "the disk can't be read");
      }
      copyTo(host, host.activeDomain(dom), path, copy);
      return {};
    },
    domainBlockRebase({ dom, path, base, flags }) {
      const domain = host.activeDomain(dom);
      if ((flags & REBASE.copy) === 0) return pull(host, domain, path, base);
      const source = (flags & REBASE.copyDev) === 0 ? { file: base ?? "" } : { dev: base ?? "" };
      const format = (flags & REBASE.copyRaw) === 0 ? undefined : "raw";
      copyTo(host, domain, path, {
        type: (flags & REBASE.copyDev) === 0 ? "file" : "block",
        source,
        ...(format === undefined ? {} : { driver: { type: format } }),
      });
      return {};
    },
    domainBlockPull: ({ dom, path }) => pull(host, host.activeDomain(dom), path, undefined),
    domainBlockCommit({ dom, disk: path, top, flags }) {
      const domain = host.activeDomain(dom);
      const disk = diskOf(domain, path);
      const { backingStore } = disk;
      if (backingStore?.source === undefined)
        throw refusal(
          "invalidArg",
          "storage",
          `top '${fileOf(disk)}' in chain for '${disk.target?.dev ?? ""}' has no backing file`,
        );
      const active = top === undefined || top === fileOf(disk) || top === disk.target?.dev;
      if (active && (flags & COMMIT.active) === 0)
        throw refusal("invalidArg", "qemu", `commit of '${disk.target?.dev ?? ""}' active layer requires active flag`);
      start(host, domain, disk, {
        type: active ? TYPE.activeCommit : TYPE.commit,
        waits: active,
        apply(pivot) {
          if (active ? pivot : true) for (const each of everywhere(domain, disk)) Object.assign(each, lower(each));
        },
      });
      if (active) disk.mirror = { type: backingStore.type, job: "active-commit", source: backingStore.source };
      return {};
    },
    domainBlockJobAbort({ dom, path, flags }) {
      const domain = host.activeDomain(dom);
      const disk = diskOf(domain, path);
      const job = domain.blockJobs.get(targetOf(disk));
      if (job === undefined)
        throw refusal("invalidArg", "qemu", `disk ${targetOf(disk)} does not have an active block job`);
      const pivot = (flags & ABORT.pivot) !== 0;
      if (pivot && !job.ready)
        throw refusal(
          "blockCopyActive",
          "qemu",
          `block copy still active: disk '${targetOf(disk)}' not ready for pivot yet`,
        );
      if (pivot && !job.waits) throw invalidOperation(`job type does not support pivot`);
      domain.blockJobs.delete(job.target);
      if (pivot) job.apply(true);
      else if (job.waits && job.ready) job.apply(false);
      delete disk.mirror;
      const status = job.ready && job.waits ? STATUS.completed : STATUS.canceled;
      // Without the flag for it libvirt answers when the job has ended, and both ways it tells.
      host.later(0, () => tell(host, domain, disk, job, status), domain.timers);
      return {};
    },
    domainGetBlockJobInfo({ dom, path }) {
      const domain = host.activeDomain(dom);
      const job = domain.blockJobs.get(targetOf(diskOf(domain, path)));
      if (job === undefined) return { found: 0, type: 0, bandwidth: 0n, cur: 0n, end: 0n };
      const cur = progressOf(host, domain, job);
      return { found: 1, type: job.type, bandwidth: job.bandwidth, cur, end: job.lengthBytes };
    },
    domainBlockJobSetSpeed({ dom, path, bandwidth }) {
      const domain = host.activeDomain(dom);
      const job = domain.blockJobs.get(targetOf(diskOf(domain, path)));
      if (job === undefined) throw invalidOperation("no active block job");
      job.bandwidth = bandwidth;
      return {};
    },
    domainBlockResize({ dom, disk: path, size, flags }) {
      const domain = host.activeDomain(dom);
      const disk = diskOf(domain, path);
      host.fileSizes.set(fileOf(disk), (flags & 1) === 0 ? size * 1024n : size);
      return {};
    },
    domainGetBlockInfo({ dom, path }) {
      const domain = host.domain(dom);
      const size = sizeOfDisk(host, diskOf(domain, path));
      return { allocation: size, capacity: size, physical: size };
    },
  };
}

/** The disk of a target's name or of a file. @throws FakeLibvirtError */
export function diskOf(domain: DomainRecord, path: string): Disk {
  const disks = devicesOf(domain.document, "disk") as Disk[];
  const disk = disks.find((each) => each.target?.dev === path || (path !== "" && fileOf(each) === path));
  if (disk === undefined) throw refusal("invalidArg", "qemu", `invalid path ${path} not assigned to domain`);
  return disk;
}

export function targetOf({ target }: Disk): string {
  return target?.dev ?? "";
}

/** What a disk is kept in: a file, a device, or a name on the network. */
export function fileOf({ source }: { readonly source?: unknown }): string {
  const { file, dev, name } = (source ?? {}) as {
    readonly file?: string;
    readonly dev?: string;
    readonly name?: string;
  };
  return file ?? dev ?? name ?? "";
}

/** The disk in memory, and where it stands on the same, the one that the domain starts with the next time. */
function everywhere({ persistent }: DomainRecord, disk: Disk): readonly Disk[] {
  const all = persistent === undefined ? [] : (devicesOf(persistent, "disk") as Disk[]);
  return [
    disk,
    ...all.filter((each) => targetOf(each) === targetOf(disk) && fileOf(each) === fileOf(disk) && each !== disk),
  ];
}

function copyTo(host: HostState, domain: DomainRecord, path: string, copy: Disk): void {
  const disk = diskOf(domain, path);
  if (domain.persistent !== undefined && domain.saved !== undefined) throw invalidOperation("domain has a saved state");
  start(host, domain, disk, {
    type: TYPE.copy,
    waits: true,
    apply(pivot) {
      if (!pivot) return;
      host.fileSizes.set(fileOf(copy), sizeOfDisk(host, disk));
      const { driver, type, source } = copy;
      for (const each of everywhere(domain, disk)) {
        Object.assign(each, { type, source, driver: { ...each.driver, ...driver } });
        delete each.backingStore;
      }
    },
  });
  disk.mirror = {
    type: copy.type,
    job: "copy",
    ...(copy.source === undefined ? {} : { source: copy.source }),
  };
}

function pull(host: HostState, domain: DomainRecord, path: string, base: string | undefined): LibvirtProtocol.Nothing {
  const disk = diskOf(domain, path);
  const apply = (): void => {
    if (base === undefined) delete disk.backingStore;
  };
  start(host, domain, disk, { type: TYPE.pull, waits: false, apply });
  return {};
}

function start(
  host: HostState,
  domain: DomainRecord,
  disk: Disk,
  what: Pick<BlockJob, "type" | "waits" | "apply">,
): void {
  host.unlockedDomain(domain);
  const target = targetOf(disk);
  if (domain.blockJobs.has(target))
    throw refusal("blockCopyActive", "qemu", `block copy still active: disk '${target}' already in active block job`);
  const job: BlockJob = {
    ...what,
    target,
    startedAt: host.clock.now(),
    lengthBytes: sizeOfDisk(host, disk),
    ready: false,
    bandwidth: 0n,
  };
  domain.blockJobs.set(target, job);
  host.later(host.behaviourOf(domain).blockJobMs, () => arrive(host, domain, disk, job), domain.timers);
}

function arrive(host: HostState, domain: DomainRecord, disk: Disk, job: BlockJob): void {
  if (domain.blockJobs.get(job.target) !== job) return;
  job.ready = true;
  if (disk.mirror !== undefined) disk.mirror.ready = "yes";
  if (job.waits) return tell(host, domain, disk, job, STATUS.ready);
  domain.blockJobs.delete(job.target);
  job.apply(false);
  tell(host, domain, disk, job, STATUS.completed);
}

/** Libvirt tells twice: by the disk's file, and by its name. */
function tell(host: HostState, domain: DomainRecord, disk: Disk, { type }: BlockJob, status: number): void {
  const dom = domain.reference;
  host.emit("domain", "blockJob", { dom, path: fileOf(disk), type, status });
  host.emit("domain", "blockJob2", { dom, dst: targetOf(disk), type, status });
}

function progressOf(host: HostState, domain: DomainRecord, job: BlockJob): bigint {
  if (job.ready) return job.lengthBytes;
  const { blockJobMs } = host.behaviourOf(domain);
  const share = Math.min(0.99, (host.clock.now() - job.startedAt) / Math.max(1, blockJobMs));
  return BigInt(Math.floor(Number(job.lengthBytes) * share));
}

/** The disk without its top layer. */
function lower(disk: Disk): Partial<Disk> {
  const { backingStore } = disk;
  return {
    source: backingStore?.source,
    driver: { ...disk.driver, ...(backingStore?.format?.type === undefined ? {} : { type: backingStore.format.type }) },
    backingStore: backingStore?.backingStore,
  };
}
