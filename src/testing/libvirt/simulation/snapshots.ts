/** Snapshots of domains, of their disks alone or with their memory. */
import type { FakeLibvirtHandlers } from "../fake-call.js";
import {
  DomainEventStartedDetailType as STARTED,
  DomainEventStoppedDetailType as STOPPED,
  DomainRunningReason,
  DomainShutoffReason,
  DomainSnapshotCreateFlags as CREATE,
  DomainSnapshotDeleteFlags as DELETE,
  DomainSnapshotRevertFlags as REVERT,
  DomainState,
} from "../../../libvirt/rpc/index.js";
import type { LibvirtProtocol } from "../../../libvirt/rpc/index.js";
import { formatDomainSnapshotXml, parseDomainSnapshotXml } from "../../../libvirt/xml/index.js";
import { devicesOf } from "./device-names.js";
import { fileOf, targetOf } from "./block-jobs.js";
import type { Disk } from "./block-jobs.js";
import { sizeOfDisk } from "./disk-sizes.js";
import type { DomainDocument, DomainRecord, SnapshotRecord } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { startGuest, stopGuest } from "./lifecycle.js";
import { invalidOperation, refusal } from "./refuse.js";

type SnapshotDocument = ReturnType<typeof parseDomainSnapshotXml>;

const STATE_NAMES: Readonly<Record<number, "running" | "paused" | "shutoff">> = {
  [DomainState.running]: "running",
  [DomainState.paused]: "paused",
  [DomainState.shutoff]: "shutoff",
};

export function snapshotHandlers(host: HostState): FakeLibvirtHandlers {
  const reference = (domain: DomainRecord, { name }: SnapshotRecord): LibvirtProtocol.RemoteDomainSnapshot => ({
    name,
    dom: domain.reference,
  });
  const listed = (domain: DomainRecord, parent: string | undefined, flags: number): SnapshotRecord[] =>
    [...domain.snapshots.values()].filter((each) =>
      parent === undefined ? (flags & 1) === 0 || each.parent === undefined : isBelow(domain, each, parent, flags),
    );
  return {
    domainSnapshotCreateXml({ dom, xmlDesc, flags }) {
      const domain = host.unlockedDomain(dom);
      return { snap: reference(domain, create(host, domain, xmlDesc, flags)) };
    },
    domainSnapshotLookupByName({ dom, name }) {
      const domain = host.domain(dom);
      return { snap: reference(domain, found(domain, name)) };
    },
    domainSnapshotNum: ({ dom, flags }) => ({ num: listed(host.domain(dom), undefined, flags).length }),
    domainSnapshotListNames: ({ dom, maxnames, flags }) => ({
      names: listed(host.domain(dom), undefined, flags)
        .map(({ name }) => name)
        .slice(0, maxnames),
    }),
    domainListAllSnapshots({ dom, flags }) {
      const domain = host.domain(dom);
      const snapshots = listed(domain, undefined, flags).map((each) => reference(domain, each));
      return { snapshots, ret: snapshots.length };
    },
    domainSnapshotListAllChildren({ snapshot, flags }) {
      const domain = host.domain(snapshot.dom);
      const snapshots = listed(domain, found(domain, snapshot.name).name, flags).map((each) => reference(domain, each));
      return { snapshots, ret: snapshots.length };
    },
    domainSnapshotGetParent({ snap }) {
      const domain = host.domain(snap.dom);
      const { parent } = found(domain, snap.name);
      if (parent === undefined)
        throw refusal("noDomainSnapshot", "qemu", `snapshot '${snap.name}' does not have a parent`);
      return { snap: reference(domain, found(domain, parent)) };
    },
    domainHasCurrentSnapshot: ({ dom }) => ({ result: host.domain(dom).currentSnapshot === undefined ? 0 : 1 }),
    domainSnapshotCurrent({ dom }) {
      const domain = host.domain(dom);
      const { currentSnapshot } = domain;
      if (currentSnapshot === undefined)
        throw refusal("noDomainSnapshot", "qemu", "the domain does not have a current snapshot");
      return { snap: reference(domain, found(domain, currentSnapshot)) };
    },
    domainSnapshotIsCurrent({ snap }) {
      const domain = host.domain(snap.dom);
      return { current: found(domain, snap.name).name === domain.currentSnapshot ? 1 : 0 };
    },
    domainSnapshotHasMetadata({ snap }) {
      found(host.domain(snap.dom), snap.name);
      return { metadata: 1 };
    },
    domainSnapshotGetXmlDesc({ snap }) {
      const domain = host.domain(snap.dom);
      return { xml: describe(found(domain, snap.name)) };
    },
    domainRevertToSnapshot({ snap, flags }) {
      const domain = host.unlockedDomain(snap.dom);
      revert(host, domain, found(domain, snap.name), flags);
      return {};
    },
    domainSnapshotDelete({ snap, flags }) {
      const domain = host.domain(snap.dom);
      remove(domain, found(domain, snap.name), flags);
      return {};
    },
  };
}

function create(host: HostState, domain: DomainRecord, xml: string, flags: number): SnapshotRecord {
  let document: SnapshotDocument;
  try {
    document = parseDomainSnapshotXml(xml);
  } catch (error) {
    throw refusal("xmlDetail", "domainSnapshot", error instanceof Error ? error.message : "");
  }
  const name = document.name ?? String(Math.floor(host.clock.now() / 1000));
  if (domain.snapshots.has(name) && (flags & CREATE.redefine) === 0)
    throw invalidOperation(`domain moment ${name} already exists`);
  const diskOnly = (flags & CREATE.diskOnly) !== 0;
  if ((flags & CREATE.quiesce) !== 0 && !diskOnly) throw refusal("invalidArg", "domain", "quiesce requires disk-only");
  const snapshot: SnapshotRecord = {
    name,
    description: document.description,
    parent: domain.currentSnapshot,
    createdAt: host.clock.now(),
    state: domain.state,
    document: structuredClone(domain.document),
    diskOnly,
  };
  if (diskOnly) for (const each of definitionsOf(domain)) layer(host, each, document, name);
  if ((flags & CREATE.noMetadata) === 0) {
    domain.snapshots.set(name, snapshot);
    domain.currentSnapshot = name;
  }
  if ((flags & CREATE.halt) !== 0 && domain.active)
    stopGuest(host, domain, DomainShutoffReason.fromSnapshot, STOPPED.fromSnapshot);
  return snapshot;
}

/** Puts a new file over each disk. */
function layer(host: HostState, document: DomainDocument, wanted: SnapshotDocument, name: string): void {
  for (const disk of devicesOf(document, "disk") as Disk[]) {
    if (disk.device !== undefined && disk.device !== "disk") continue;
    const said = wanted.disks?.disk?.find((each) => each.name === targetOf(disk) || each.name === fileOf(disk));
    if (said?.snapshot === "no") continue;
    const file = fileOf(said ?? {}) || `${fileOf(disk).replace(/\.[^./]*$/, "")}.${name}`;
    host.fileSizes.set(file, sizeOfDisk(host, disk));
    const { source, type, driver, backingStore } = disk;
    const below = {
      type,
      format: { type: driver?.type ?? "raw" },
      source,
      ...(backingStore === undefined ? {} : { backingStore }),
    };
    Object.assign(disk, {
      type: said?.type ?? "file",
      driver: { ...driver, type: said?.driver?.type ?? "qcow2" },
      source: said?.type === "block" ? { dev: file } : { file },
      backingStore: below,
    });
  }
}

function revert(host: HostState, domain: DomainRecord, snapshot: SnapshotRecord, flags: number): void {
  if (snapshot.diskOnly) throw refusal("configUnsupported", "qemu", "revert to external snapshot not supported yet");
  if (domain.persistent !== undefined) domain.persistent = withoutId(snapshot.document);
  if (domain.active) stopGuest(host, domain, DomainShutoffReason.fromSnapshot, STOPPED.fromSnapshot);
  domain.currentSnapshot = snapshot.name;
  const wasPaused = snapshot.state === DomainState.paused;
  const runs = snapshot.state === DomainState.running || wasPaused || (flags & (REVERT.running | REVERT.paused)) !== 0;
  if (!runs) return;
  const paused = (flags & REVERT.paused) !== 0 || ((flags & REVERT.running) === 0 && wasPaused);
  host.domains.set(domain.uuid, domain);
  startGuest(host, domain, {
    detail: STARTED.fromSnapshot,
    runningReason: DomainRunningReason.fromSnapshot,
    document: withoutId(snapshot.document),
    paused,
    booted: true,
  });
}

function remove(domain: DomainRecord, snapshot: SnapshotRecord, flags: number): void {
  if (snapshot.diskOnly && (flags & DELETE.metadataOnly) === 0)
    throw refusal("configUnsupported", "qemu", "deletion of 1 external disk snapshots not supported yet");
  const below = [...domain.snapshots.values()].filter((each) => isBelow(domain, each, snapshot.name, 1));
  const withChildren = (flags & (DELETE.children | DELETE.childrenOnly)) !== 0;
  for (const child of below)
    if (withChildren) domain.snapshots.delete(child.name);
    else if (child.parent === snapshot.name) domain.snapshots.set(child.name, { ...child, parent: snapshot.parent });
  if ((flags & DELETE.childrenOnly) === 0) domain.snapshots.delete(snapshot.name);
  if (domain.currentSnapshot !== undefined && !domain.snapshots.has(domain.currentSnapshot))
    domain.currentSnapshot = domain.snapshots.has(snapshot.name) ? snapshot.name : snapshot.parent;
}

/** Whether a snapshot was made on top of another; with bit 0 not only at once. */
function isBelow(domain: DomainRecord, snapshot: SnapshotRecord, parent: string, flags: number): boolean {
  if (snapshot.parent === parent) return true;
  const above = snapshot.parent === undefined ? undefined : domain.snapshots.get(snapshot.parent);
  return (flags & 1) !== 0 && above !== undefined && isBelow(domain, above, parent, flags);
}

function describe(snapshot: SnapshotRecord): string {
  const disks = (devicesOf(snapshot.document, "disk") as Disk[]).map((disk) => ({
    name: targetOf(disk),
    snapshot: snapshot.diskOnly ? ("external" as const) : ("internal" as const),
  }));
  return formatDomainSnapshotXml({
    name: snapshot.name,
    ...(snapshot.description === undefined ? {} : { description: snapshot.description }),
    state: snapshot.diskOnly ? "disk-snapshot" : (STATE_NAMES[snapshot.state] ?? "shutoff"),
    ...(snapshot.parent === undefined ? {} : { parent: { name: snapshot.parent } }),
    creationTime: String(Math.floor(snapshot.createdAt / 1000)),
    memory: { snapshot: snapshot.diskOnly || snapshot.state === DomainState.shutoff ? "no" : "internal" },
    disks: { disk: disks },
    domain: withoutId(snapshot.document),
  });
}

function definitionsOf(domain: DomainRecord): DomainDocument[] {
  return [domain.live, domain.persistent].filter((each) => each !== undefined);
}

function withoutId(document: DomainDocument): DomainDocument {
  const copy = structuredClone(document);
  delete copy.id;
  return copy;
}

function found(domain: DomainRecord, name: string): SnapshotRecord {
  const snapshot = domain.snapshots.get(name);
  if (snapshot === undefined)
    throw refusal(
      "noDomainSnapshot",
      "qemu",
      `Domain snapshot not found: no domain snapshot with matching name '${name}'`,
    );
  return snapshot;
}
