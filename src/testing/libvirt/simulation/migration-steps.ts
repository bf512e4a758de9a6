/** The five steps of a migration: begin (source), prepare (destination), perform (source), finish (destination), confirm (source). */
import {
  DomainEventResumedDetailType as RESUMED,
  DomainEventStartedDetailType as STARTED,
  DomainEventStoppedDetailType as STOPPED,
  DomainEventSuspendedDetailType as SUSPENDED,
  DomainEventType as EVENT,
  DomainMigrateFlags as MIGRATE,
  DomainPausedReason,
  DomainRunningReason,
  DomainShutoffReason,
  DomainState,
} from "../../../libvirt/rpc/index.js";
import { formatDomainXml } from "../../../libvirt/xml/index.js";
import { readDomainDefinition } from "./complete-domain.js";
import { DomainRecord } from "./domain-record.js";
import type { DomainReference } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { completeJob } from "./job-statistics.js";
import { pauseGuest, resumeGuest, startGuest, stopGuest, tellLifecycle } from "./lifecycle.js";
import { checkFlags, invalidOperation, refusal } from "./refuse.js";

const ALL_FLAGS = Object.values(MIGRATE).reduce<number>((all, bit) => all | bit, 0);

export interface MigrationRequest {
  readonly flags: number;
  /** The definition that the guest has at the destination, where it is another. */
  readonly xml: string | undefined;
  readonly name: string | undefined;
  /** Where the guest's memory goes. */
  readonly uri: string | undefined;
  /** Whose connection it is; undefined for a daemon's. */
  readonly client: number | undefined;
}

/** Looks whether a guest may leave, and says what it is. With `changeProtection` nothing else may change it from now on. */
export function begin(source: HostState, dom: DomainReference, request: MigrationRequest): string {
  checkFlags(request.flags, ALL_FLAGS);
  const domain = source.activeDomain(dom);
  checkFree(domain);
  if ((request.flags & MIGRATE.changeProtection) !== 0) hold(source, domain, request.client);
  const document =
    request.xml === undefined ? structuredClone(domain.document) : readDomainDefinition(source, request.xml);
  delete document.id;
  return formatDomainXml(document);
}

/** The destination takes the definition, and waits. Its guest is there and paused. @returns the URI for the guest's memory */
export function prepare(
  target: HostState,
  xml: string,
  request: MigrationRequest,
): { record: DomainRecord; uri: string } {
  checkFlags(request.flags, ALL_FLAGS);
  const document = readDomainDefinition(target, xml);
  document.name = request.name ?? document.name;
  const known = target.domains.get(document.uuid);
  if (known?.active === true) throw refusal("operationInvalid", "domain", `domain '${known.name}' is already active`);
  const namesake = [...target.domains.values()].find(
    ({ name, uuid }) => name === document.name && uuid !== document.uuid,
  );
  if (namesake !== undefined)
    throw refusal("operationFailed", "domain", `domain '${namesake.name}' already exists with uuid ${namesake.uuid}`);
  const record = known ?? new DomainRecord(document.uuid, document.name);
  target.domains.set(record.uuid, record);
  try {
    startGuest(target, record, { document, paused: true, booted: true, silent: true });
  } catch (error) {
    if (known === undefined) target.domains.delete(record.uuid);
    throw error;
  }
  record.incoming = { client: request.client, arrived: false };
  record.reason = DomainPausedReason.migration;
  tellLifecycle(target, record, EVENT.started, STARTED.migrated);
  return { record, uri: memoryUri(target, request.uri) };
}

/** Sends the guest's memory; at the end it is stopped here, and neither is told that it is gone. @throws FakeLibvirtError */
export async function perform(source: HostState, domain: DomainRecord, request: MigrationRequest): Promise<void> {
  const target = reachable(source, request.uri);
  const arrival = target.domains.get(domain.uuid);
  if (arrival?.incoming === undefined)
    throw refusal("systemError", "rpc", `unable to connect to server at '${request.uri ?? ""}': Connection refused`, {
      int1: 111,
    });
  const held = domain.job?.kind === "migration";
  if (!held) checkFree(domain);
  const wasRunning = domain.state === DomainState.running;
  try {
    await transfer(source, domain, request.client);
  } catch (error) {
    if (!held) domain.job = undefined;
    throw error;
  }
  if (wasRunning) pauseGuest(source, domain, DomainPausedReason.migration, SUSPENDED.migrated);
  if (arrival.incoming !== undefined) arrival.incoming.arrived = true;
}

/** The guest runs at the destination, or is dropped there. @throws FakeLibvirtError also for one that is dropped as asked */
export function finish(
  target: HostState,
  record: DomainRecord | undefined,
  flags: number,
  cancelled: boolean,
): DomainRecord {
  checkFlags(flags, ALL_FLAGS);
  if (record === undefined) throw refusal("noDomain", "qemu", "Domain not found: no domain with matching name");
  const { incoming } = record;
  if (incoming === undefined) throw invalidOperation(`domain '${record.name}' is not processing incoming migration`);
  if (cancelled || !incoming.arrived) {
    drop(target, record);
    if (cancelled) throw refusal("migrateFinishOk", "qemu", "migration successfully aborted");
    throw refusal("operationFailed", "qemu", "migration failed: the guest's memory did not arrive");
  }
  record.incoming = undefined;
  if ((flags & MIGRATE.persistDest) !== 0) {
    const known = record.persistent !== undefined;
    record.persistent = structuredClone(record.document);
    delete record.persistent.id;
    tellLifecycle(target, record, EVENT.defined, known ? 1 : 0);
  }
  if ((flags & MIGRATE.paused) !== 0) pauseGuest(target, record, DomainPausedReason.user, SUSPENDED.paused);
  else resumeGuest(target, record, DomainRunningReason.migrated, RESUMED.migrated);
  return record;
}

/** The source lets go of the guest, or runs it on. */
export function confirm(source: HostState, domain: DomainRecord, flags: number, cancelled: boolean): void {
  checkFlags(flags, ALL_FLAGS);
  if (!domain.active) return;
  if (cancelled) {
    domain.job = undefined;
    if (domain.state === DomainState.paused && domain.reason === DomainPausedReason.migration)
      resumeGuest(source, domain, DomainRunningReason.migrationCanceled, RESUMED.migrated);
    return;
  }
  const { job } = domain;
  // Of the definition that goes with it libvirt tells nothing.
  if ((flags & MIGRATE.undefineSource) !== 0) domain.persistent = undefined;
  stopGuest(source, domain, DomainShutoffReason.migrated, STOPPED.migrated);
  domain.job = job;
  completeJob(source, domain);
}

/** Takes a guest away that was to come. */
export function drop(target: HostState, record: DomainRecord): void {
  stopGuest(target, record, DomainShutoffReason.failed, STOPPED.failed);
}

/** Who drives a migration has gone: what he began is undone at either end. */
export function driverLeft(host: HostState, client: number): void {
  for (const domain of [...host.domains.values()]) {
    if (domain.incoming?.client === client) drop(host, domain);
    else if (domain.job?.kind === "migration" && domain.job.client === client) {
      if (domain.job.abort !== undefined) domain.job.abort();
      confirm(host, domain, 0, true);
    }
  }
}

/** @throws FakeLibvirtError when no host of the URI's name can be reached */
export function reachable(source: HostState, uri: string | undefined): HostState {
  const host = /^[a-z0-9+.-]+:(?:\/\/)?(?:[^@/]*@)?([^/:]+)/i.exec(uri ?? "")?.[1];
  const target = host === undefined ? undefined : source.peers.get(host);
  if (target === undefined || target === source)
    throw refusal("operationFailed", "qemu", `Failed to connect to remote libvirt URI ${uri ?? ""}: no such host`);
  return target;
}

function memoryUri(target: HostState, wished: string | undefined): string {
  const [, scheme = "tcp", host = target.name, port] =
    /^([a-z+]+):(?:\/\/)?([^/:]+)(?::(\d+))?/i.exec(wished ?? "") ?? [];
  return `${scheme}://${host}:${port ?? target.takeMigrationPort()}`;
}

function checkFree(domain: DomainRecord): void {
  if (domain.job?.kind === "migration")
    throw invalidOperation(`another migration job is already running for domain '${domain.name}'`);
  if (domain.job !== undefined)
    throw refusal("operationTimeout", "none", "Timed out during operation: cannot acquire state change lock");
  if (domain.blockJobs.size > 0) throw invalidOperation("domain has active block job");
}

function hold(source: HostState, domain: DomainRecord, client: number | undefined): void {
  domain.completedJob = undefined;
  domain.job = {
    kind: "migration",
    startedAt: source.clock.now(),
    lastsMs: source.behaviourOf(domain).migrationMs,
    totalBytes: BigInt(domain.document.memory?.$text ?? 0) * 1024n,
    client,
  };
}

function transfer(source: HostState, domain: DomainRecord, client: number | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    hold(source, domain, client);
    const job = domain.job as NonNullable<DomainRecord["job"]>;
    const end = (settle: () => void): void => {
      delete job.abort;
      delete job.switchOver;
      settle();
    };
    job.abort = () => end(() => reject(refusal("operationAborted", "qemu", "migration out job: canceled by client")));
    job.switchOver = () => end(resolve);
    source.emit("domain", "migrationIteration", { dom: domain.reference, iteration: 1 });
    // A timer of the host's, not of the guest's: a guest that ends lets the migration fail.
    source.later(job.lastsMs, () => {
      if (domain.job === job) job.switchOver?.();
      else reject(refusal("operationFailed", "qemu", "domain is not running"));
    });
  });
}
