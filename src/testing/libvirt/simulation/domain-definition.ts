/** Defining, finding, listing and undefining domains. */
import {
  ConnectListAllDomainsFlags as LIST,
  DomainCreateFlags as CREATE,
  DomainEventDefinedDetailType as DEFINED,
  DomainEventType as EVENT,
  DomainEventUndefinedDetailType as UNDEFINED,
  DomainState,
  DomainUndefineFlagsValues as UNDEFINE,
  DomainXmlFlags as XML,
} from "../../../libvirt/rpc/index.js";
import { formatDomainXml } from "../../../libvirt/xml/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { readDomainDefinition } from "./complete-domain.js";
import { DomainRecord } from "./domain-record.js";
import type { DomainDocument, DomainReference } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { startGuest, tellLifecycle } from "./lifecycle.js";
import { checkFlags, invalidOperation, refusal } from "./refuse.js";

const DEFINE_VALIDATE = 1;

export function definitionHandlers(host: HostState): FakeLibvirtHandlers {
  return {
    domainDefineXml: ({ xml }) => ({ dom: define(host, xml) }),
    domainDefineXmlFlags({ xml, flags }) {
      checkFlags(flags, DEFINE_VALIDATE);
      return { dom: define(host, xml) };
    },
    domainCreateXml({ xmlDesc, flags }, { client }) {
      const document = readDomainDefinition(host, xmlDesc);
      const known = findSame(host, document);
      if (known?.active === true)
        throw refusal("operationInvalid", "domain", `domain '${known.name}' is already active`);
      const domain = known ?? new DomainRecord(document.uuid, document.name);
      host.domains.set(domain.uuid, domain);
      try {
        startGuest(host, domain, { paused: (flags & CREATE.startPaused) !== 0, document });
      } catch (error) {
        if (known === undefined) host.domains.delete(domain.uuid);
        throw error;
      }
      if ((flags & CREATE.startAutodestroy) !== 0) domain.autodestroy = client.number;
      return { dom: domain.reference };
    },
    domainUndefine: ({ dom }) => undefine(host, dom, 0),
    domainUndefineFlags: ({ dom, flags }) => undefine(host, dom, flags),
    domainLookupByName: ({ name }) => ({ dom: found(byName(host, name), `name '${name}'`).reference }),
    domainLookupByUuid: ({ uuid }) => ({ dom: found(host.domains.get(uuid), `uuid '${uuid}'`).reference }),
    domainLookupById: ({ id }) => ({
      dom: found(
        all(host).find((each) => each.id === id),
        `id ${id}`,
      ).reference,
    }),
    domainGetXmlDesc({ dom, flags }) {
      checkFlags(flags, XML.secure | XML.inactive | XML.updateCpu | XML.migratable);
      return { xml: describe(host.domain(dom), flags) };
    },
    connectListAllDomains({ flags }) {
      const domains = all(host).filter((domain) => isListed(domain, flags));
      return { domains: domains.map((domain) => domain.reference), ret: domains.length };
    },
    connectNumOfDomains: () => ({ num: all(host).filter(({ active }) => active).length }),
    connectNumOfDefinedDomains: () => ({ num: all(host).filter(({ active }) => !active).length }),
    connectListDomains: ({ maxids }) => ({
      ids: all(host)
        .flatMap(({ active, id }) => (active ? [id] : []))
        .slice(0, maxids),
    }),
    connectListDefinedDomains: ({ maxnames }) => ({
      names: all(host)
        .flatMap(({ active, name }) => (active ? [] : [name]))
        .slice(0, maxnames),
    }),
    domainRename({ dom, newName }) {
      const domain = host.domain(dom);
      if (domain.active) throw invalidOperation("cannot rename active domain");
      if (newName === undefined || domain.persistent === undefined) throw refusal("invalidArg", "qemu", "no new name");
      if (byName(host, newName) !== undefined) throw invalidOperation(`domain with name '${newName}' already exists`);
      tellLifecycle(host, domain, EVENT.undefined, UNDEFINED.renamed);
      domain.name = newName;
      domain.persistent.name = newName;
      tellLifecycle(host, domain, EVENT.defined, DEFINED.renamed);
      return { retcode: 0 };
    },
  };
}

function define(host: HostState, xml: string): DomainReference {
  const document = readDomainDefinition(host, xml);
  const known = findSame(host, document);
  const domain = known ?? new DomainRecord(document.uuid, document.name);
  host.domains.set(domain.uuid, domain);
  const updated = domain.persistent !== undefined;
  domain.persistent = document;
  tellLifecycle(host, domain, EVENT.defined, updated ? DEFINED.updated : DEFINED.added);
  return domain.reference;
}

/** The domain that a definition is for. @throws FakeLibvirtError when its uuid and its name are of two */
function findSame(host: HostState, { uuid, name }: { uuid: string; name: string }): DomainRecord | undefined {
  const known = host.domains.get(uuid);
  if (known !== undefined && known.name !== name)
    throw refusal("operationFailed", "domain", `domain '${known.name}' is already defined with uuid ${uuid}`);
  const namesake = byName(host, name);
  if (namesake !== undefined && namesake !== known)
    throw refusal("operationFailed", "domain", `domain '${name}' already exists with uuid ${namesake.uuid}`);
  return known;
}

function undefine(host: HostState, dom: DomainReference, flags: number): Record<string, never> {
  const domain = host.domain(dom);
  if (domain.persistent === undefined) throw invalidOperation("cannot undefine transient domain");
  if (domain.saved !== undefined && (flags & UNDEFINE.managedSave) === 0)
    throw invalidOperation("Refusing to undefine while domain managed save image exists");
  if (!domain.active && domain.snapshots.size > 0 && (flags & UNDEFINE.snapshotsMetadata) === 0)
    throw invalidOperation(`cannot delete inactive domain with ${domain.snapshots.size} snapshots`);
  if (!domain.active && domain.checkpoints.size > 0 && (flags & UNDEFINE.checkpointsMetadata) === 0)
    throw invalidOperation(`cannot delete inactive domain with ${domain.checkpoints.size} checkpoints`);
  if (domain.persistent.os?.nvram !== undefined && (flags & (UNDEFINE.nvram | UNDEFINE.keepNvram)) === 0)
    throw invalidOperation("cannot undefine domain with nvram");
  domain.saved = undefined;
  tellLifecycle(host, domain, EVENT.undefined, UNDEFINED.removed);
  domain.persistent = undefined;
  domain.autostart = false;
  if (!domain.active) host.domains.delete(domain.uuid);
  return {};
}

function describe(domain: DomainRecord, flags: number): string {
  const inactive = (flags & XML.inactive) !== 0;
  const document = structuredClone(inactive ? (domain.persistent ?? domain.document) : domain.document);
  if ((flags & XML.secure) === 0) hideSecrets(document);
  return formatDomainXml(document);
}

function hideSecrets(document: DomainDocument): void {
  for (const graphics of document.devices?.graphics ?? []) if ("passwd" in graphics) delete graphics.passwd;
}

function isListed(domain: DomainRecord, flags: number): boolean {
  const running = domain.state === DomainState.running;
  const paused = domain.state === DomainState.paused;
  const groups: readonly (readonly [flag: number, holds: boolean])[][] = [
    [
      [LIST.active, domain.active],
      [LIST.inactive, !domain.active],
    ],
    [
      [LIST.persistent, domain.persistent !== undefined],
      [LIST.transient, domain.persistent === undefined],
    ],
    [
      [LIST.running, running],
      [LIST.paused, paused],
      [LIST.shutoff, domain.state === DomainState.shutoff],
      [LIST.other, !running && !paused && domain.state !== DomainState.shutoff],
    ],
    [
      [LIST.managedsave, domain.saved !== undefined],
      [LIST.noManagedsave, domain.saved === undefined],
    ],
    [
      [LIST.autostart, domain.autostart],
      [LIST.noAutostart, !domain.autostart],
    ],
    [
      [LIST.hasSnapshot, domain.snapshots.size > 0],
      [LIST.noSnapshot, domain.snapshots.size === 0],
    ],
  ];
  return groups.every((group) => {
    const asked = group.filter(([flag]) => (flags & flag) !== 0);
    return asked.length === 0 || asked.some(([, holds]) => holds);
  });
}

function all(host: HostState): DomainRecord[] {
  return [...host.domains.values()];
}

function byName(host: HostState, name: string): DomainRecord | undefined {
  return [...host.domains.values()].find((domain) => domain.name === name);
}

function found(domain: DomainRecord | undefined, by: string): DomainRecord {
  if (domain === undefined) throw refusal("noDomain", "qemu", `Domain not found: no domain with matching ${by}`);
  return domain;
}
