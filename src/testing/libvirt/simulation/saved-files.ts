/** Guests that are saved to files and restored from them, and dumps of their memory. */
import {
  DomainCoreDumpFlags as DUMP,
  DomainEventResumedDetailType as RESUMED,
  DomainEventStartedDetailType as STARTED,
  DomainEventStoppedDetailType as STOPPED,
  DomainEventSuspendedDetailType as SUSPENDED,
  DomainPausedReason,
  DomainRunningReason,
  DomainSaveRestoreFlags as SAVE,
  DomainShutoffReason,
  DomainState,
  parametersToObject,
} from "../../../libvirt/rpc/index.js";
import type { TypedParameter } from "../../../libvirt/rpc/index.js";
import { formatDomainXml } from "../../../libvirt/xml/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { readDomainDefinition } from "./complete-domain.js";
import { DomainRecord } from "./domain-record.js";
import type { DomainDocument, SavedImage } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { pauseGuest, resumeGuest, startGuest, stopGuest } from "./lifecycle.js";
import { invalidOperation, refusal } from "./refuse.js";

type Reference = { readonly uuid: string; readonly name: string };
type Nothing = Record<string, never>;

export function savedFileHandlers(host: HostState): FakeLibvirtHandlers {
  const image = (file: string): SavedImage => {
    const saved = host.savedFiles.get(file);
    if (saved === undefined)
      throw refusal("systemError", "qemu", `Failed to open file '${file}': No such file or directory`, { int1: 2 });
    return saved;
  };
  const managed = (dom: Reference): { readonly domain: DomainRecord; readonly saved: SavedImage } => {
    const domain = host.domain(dom);
    const { saved } = domain;
    if (saved === undefined) throw invalidOperation("domain does not have managed save image");
    return { domain, saved };
  };
  return {
    domainSave: ({ dom, to }) => save(host, dom, { file: to, xml: undefined, flags: 0 }),
    domainSaveFlags: ({ dom, to, dxml, flags }) => save(host, dom, { file: to, xml: dxml, flags }),
    domainSaveParams: ({ dom, params, flags }) => save(host, dom, { ...placeIn(params), flags }),
    domainRestore: ({ from }) => restore(host, image(from), undefined, 0),
    domainRestoreFlags: ({ from, dxml, flags }) => restore(host, image(from), dxml, flags),
    domainRestoreParams({ params, flags }) {
      const { file, xml } = placeIn(params);
      return restore(host, image(file), xml, flags);
    },
    domainSaveImageGetXmlDesc: ({ file }) => ({ xml: describe(image(file)) }),
    domainSaveImageDefineXml({ file, dxml, flags }) {
      host.savedFiles.set(file, changed(host, image(file), dxml, flags));
      return {};
    },
    domainManagedSaveGetXmlDesc: ({ dom }) => ({ xml: describe(managed(dom).saved) }),
    domainManagedSaveDefineXml({ dom, dxml, flags }) {
      const { domain, saved } = managed(dom);
      domain.saved = changed(host, saved, dxml, flags);
      return {};
    },
    domainCoreDump: ({ dom, to, flags }) => dump(host, dom, to, flags),
    domainCoreDumpWithFormat: ({ dom, to, flags }) => dump(host, dom, to, flags),
  };
}

function placeIn(params: readonly TypedParameter[]): { readonly file: string; readonly xml: string | undefined } {
  const { file = "", dxml } = parametersToObject(params) as { readonly file?: string; readonly dxml?: string };
  return { file, xml: dxml };
}

interface SaveRequest {
  readonly file: string;
  readonly xml: string | undefined;
  readonly flags: number;
}

function save(host: HostState, dom: Reference, { file, xml, flags }: SaveRequest): Nothing {
  const domain = host.unlockedDomain(dom);
  host.activeDomain(dom);
  const ran = domain.state === DomainState.running;
  const wasRunning = (flags & SAVE.running) !== 0 || ((flags & SAVE.paused) === 0 && ran);
  const document = xml === undefined ? structuredClone(domain.document) : readDomainDefinition(host, xml);
  delete document.id;
  if (ran) pauseGuest(host, domain, DomainPausedReason.save, SUSPENDED.paused);
  host.savedFiles.set(file, { document, wasRunning });
  stopGuest(host, domain, DomainShutoffReason.saved, STOPPED.saved);
  return {};
}

function restore(host: HostState, image: SavedImage, xml: string | undefined, flags: number): Nothing {
  const document: DomainDocument =
    xml === undefined ? structuredClone(image.document) : readDomainDefinition(host, xml);
  const { uuid = "", name = "" } = document;
  const known = host.domains.get(uuid);
  if (known?.active === true) throw refusal("operationInvalid", "domain", `domain '${known.name}' is already active`);
  const domain = known ?? new DomainRecord(uuid, name);
  host.domains.set(uuid, domain);
  const asked = (flags & SAVE.paused) !== 0;
  const paused = asked || ((flags & SAVE.running) === 0 && !image.wasRunning);
  const suspendedDetail = asked ? SUSPENDED.paused : SUSPENDED.restored;
  try {
    startGuest(host, domain, { document, detail: STARTED.restored, paused, suspendedDetail, booted: true });
  } catch (error) {
    if (known === undefined) host.domains.delete(uuid);
    throw error;
  }
  return {};
}

function changed(host: HostState, image: SavedImage, xml: string | undefined, flags: number): SavedImage {
  const document = xml === undefined ? image.document : readDomainDefinition(host, xml);
  const wasRunning = (flags & SAVE.running) !== 0 || ((flags & SAVE.paused) === 0 && image.wasRunning);
  return { document, wasRunning };
}

function describe({ document }: SavedImage): string {
  const { id: _, ...plain } = document;
  return formatDomainXml(plain);
}

function dump(host: HostState, dom: Reference, file: string, flags: number): Nothing {
  const domain = host.unlockedDomain(dom);
  host.activeDomain(dom);
  const memory = BigInt(domain.document.currentMemory?.$text ?? 0) * 1024n;
  const ran = domain.state === DomainState.running;
  if (ran && (flags & DUMP.live) === 0) pauseGuest(host, domain, DomainPausedReason.dump, SUSPENDED.paused);
  host.fileSizes.set(file, memory);
  if ((flags & DUMP.crash) !== 0) stopGuest(host, domain, DomainShutoffReason.crashed, STOPPED.crashed);
  else if (ran && (flags & DUMP.live) === 0) resumeGuest(host, domain, DomainRunningReason.unpaused, RESUMED.unpaused);
  return {};
}
