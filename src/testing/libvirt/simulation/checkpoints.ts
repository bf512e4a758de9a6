/** Checkpoints of running domains, from which backups take what has changed since. */
import {
  DomainCheckpointCreateFlags as CREATE,
  DomainCheckpointDeleteFlags as DELETE,
  DomainCheckpointListFlags as LIST,
  DomainCheckpointXmlFlags as XML,
} from "../../../libvirt/rpc/index.js";
import type { LibvirtProtocol } from "../../../libvirt/rpc/index.js";
import { formatDomainCheckpointXml, parseDomainCheckpointXml } from "../../../libvirt/xml/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { targetOf } from "./block-jobs.js";
import type { Disk } from "./block-jobs.js";
import { devicesOf } from "./device-names.js";
import type { CheckpointRecord, DomainRecord } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { readDocument } from "./read-document.js";
import { refusal } from "./refuse.js";

type Reference = LibvirtProtocol.RemoteDomainCheckpoint;

export function checkpointHandlers(host: HostState): FakeLibvirtHandlers {
  const reference = (domain: DomainRecord, { name }: CheckpointRecord): Reference => ({ name, dom: domain.reference });
  const listed = (domain: DomainRecord, all: readonly CheckpointRecord[], flags: number): Reference[] =>
    all
      .filter((each) => {
        const isLeaf = ![...domain.checkpoints.values()].some(({ parent }) => parent === each.name);
        return isLeaf ? (flags & LIST.noLeaves) === 0 : (flags & LIST.leaves) === 0;
      })
      .map((each) => reference(domain, each));
  return {
    domainCheckpointCreateXml({ dom, xmlDesc, flags }) {
      const domain = host.unlockedDomain(dom);
      return { checkpoint: reference(domain, addCheckpoint(host, domain, xmlDesc, flags)) };
    },
    domainCheckpointGetXmlDesc({ checkpoint, flags }) {
      const domain = host.domain(checkpoint.dom);
      return { xml: describe(found(domain, checkpoint.name), flags) };
    },
    domainListAllCheckpoints({ dom, flags }) {
      const domain = host.domain(dom);
      const all = [...domain.checkpoints.values()].filter(
        ({ parent }) => (flags & LIST.roots) === 0 || parent === undefined,
      );
      const checkpoints = listed(domain, all, flags);
      return { checkpoints, ret: checkpoints.length };
    },
    domainCheckpointListAllChildren({ checkpoint, flags }) {
      const domain = host.domain(checkpoint.dom);
      const { name } = found(domain, checkpoint.name);
      const all = [...domain.checkpoints.values()].filter((each) =>
        isBelow(domain, each, name, (flags & LIST.descendants) !== 0),
      );
      const checkpoints = listed(domain, all, flags);
      return { checkpoints, ret: checkpoints.length };
    },
    domainCheckpointLookupByName({ dom, name }) {
      const domain = host.domain(dom);
      return { checkpoint: reference(domain, found(domain, name)) };
    },
    domainCheckpointGetParent({ checkpoint }) {
      const domain = host.domain(checkpoint.dom);
      const { parent } = found(domain, checkpoint.name);
      if (parent === undefined) throw missing(`checkpoint '${checkpoint.name}' does not have a parent`);
      return { parent: reference(domain, found(domain, parent)) };
    },
    domainCheckpointDelete({ checkpoint, flags }) {
      const domain = host.unlockedDomain(checkpoint.dom);
      remove(domain, found(domain, checkpoint.name), flags);
      return {};
    },
  };
}

/** Makes a checkpoint on top of the current one. @throws FakeLibvirtError */
export function addCheckpoint(host: HostState, domain: DomainRecord, xml: string, flags: number): CheckpointRecord {
  const document = readDocument("domain_checkpoint", "domainCheckpoint", () => parseDomainCheckpointXml(xml));
  const redefined = (flags & CREATE.redefine) !== 0;
  if (!domain.active && !redefined)
    throw refusal("operationUnsupported", "qemu", "cannot create checkpoint for inactive domain");
  const name = document.name ?? String(Math.floor(host.clock.now() / 1000));
  const known = domain.checkpoints.get(name);
  if (known !== undefined && !redefined)
    throw refusal("operationFailed", "domain", `domain moment ${name} already exists`);
  const targets = (devicesOf(domain.document, "disk") as Disk[]).map(targetOf);
  const said = document.disks?.disk;
  for (const { name: disk = "" } of said ?? [])
    if (!targets.includes(disk)) throw refusal("configUnsupported", "domain", `no disk named '${disk}'`);
  const checkpoint: CheckpointRecord = {
    name,
    description: document.description,
    parent: redefined ? document.parent?.name : domain.currentCheckpoint,
    createdAt: known?.createdAt ?? host.clock.now(),
    document: structuredClone(domain.document),
    disks: said?.filter((each) => each.checkpoint !== "no").flatMap((each) => each.name ?? []) ?? targets,
  };
  domain.checkpoints.set(name, checkpoint);
  domain.currentCheckpoint = name;
  return checkpoint;
}

function remove(domain: DomainRecord, checkpoint: CheckpointRecord, flags: number): void {
  const { name, parent } = checkpoint;
  const below = [...domain.checkpoints.values()].filter((each) => isBelow(domain, each, name, true));
  const withChildren = (flags & (DELETE.children | DELETE.childrenOnly)) !== 0;
  if (!domain.active && (flags & DELETE.metadataOnly) === 0)
    throw refusal("operationInvalid", "domain", "cannot delete checkpoint for inactive domain");
  for (const child of below)
    if (withChildren) domain.checkpoints.delete(child.name);
    else if (child.parent === name) domain.checkpoints.set(child.name, { ...child, parent });
  if ((flags & DELETE.childrenOnly) === 0) domain.checkpoints.delete(name);
  if (domain.currentCheckpoint !== undefined && !domain.checkpoints.has(domain.currentCheckpoint))
    domain.currentCheckpoint = domain.checkpoints.has(name) ? name : parent;
}

function describe({ name, description, parent, createdAt, disks, document }: CheckpointRecord, flags: number): string {
  const { id: _, ...domain } = structuredClone(document);
  return formatDomainCheckpointXml({
    name,
    ...(description === undefined ? {} : { description }),
    ...(parent === undefined ? {} : { parent: { name: parent } }),
    creationTime: BigInt(Math.floor(createdAt / 1000)),
    disks: { disk: disks.map((disk) => ({ name: disk, checkpoint: "bitmap" as const, bitmap: name })) },
    ...((flags & XML.noDomain) === 0 ? { domain } : {}),
  });
}

function isBelow(domain: DomainRecord, checkpoint: CheckpointRecord, ancestor: string, anywhere: boolean): boolean {
  const { parent } = checkpoint;
  if (parent === undefined || parent === ancestor) return parent === ancestor;
  const above = domain.checkpoints.get(parent);
  return anywhere && above !== undefined && isBelow(domain, above, ancestor, true);
}

function found(domain: DomainRecord, name: string): CheckpointRecord {
  const checkpoint = domain.checkpoints.get(name);
  if (checkpoint === undefined) throw missing(`no domain checkpoint with matching name '${name}'`);
  return checkpoint;
}

function missing(what: string): Error {
  return refusal("noDomainCheckpoint", "qemu", `Domain checkpoint not found: ${what}`);
}
