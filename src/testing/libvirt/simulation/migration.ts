/** Live migration from one simulated host to another, as the source's daemon does it on its own (peer to peer). */
import {
  DomainEventResumedDetailType as RESUMED,
  DomainEventStartedDetailType as STARTED,
  DomainEventStoppedDetailType as STOPPED,
  DomainEventSuspendedDetailType as SUSPENDED,
  DomainEventType as EVENT,
  DomainJobOperation,
  DomainJobType,
  DomainMigrateFlags as MIGRATE,
  DomainPausedReason,
  DomainRunningReason,
  DomainShutoffReason,
  DomainState,
  parametersToObject,
} from "../../../libvirt/rpc/index.js";
import type { LibvirtProtocol } from "../../../libvirt/rpc/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { readDomainDefinition } from "./complete-domain.js";
import { DomainRecord } from "./domain-record.js";
import type { DomainDocument } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { pauseGuest, resumeGuest, startGuest, stopGuest, tellLifecycle } from "./lifecycle.js";
import { invalidOperation, refusal } from "./refuse.js";

const EMPTY = new Uint8Array(0);
const MIB = 1024n ** 2n;

export function migrationHandlers(host: HostState): FakeLibvirtHandlers {
  return {
    async domainMigratePerform3Params({ dom, dconnuri, params, flags }) {
      const values = parametersToObject(params) as Readonly<Record<string, unknown>>;
      const { destination_xml: destinationXml, destination_name: name } = values;
      await migrate(host, host.activeDomain(dom), {
        uri: dconnuri ?? "",
        flags,
        xml: typeof destinationXml === "string" ? destinationXml : undefined,
        name: typeof name === "string" ? name : undefined,
      });
      return { cookieOut: EMPTY };
    },
    async domainMigratePerform3({ dom, dconnuri, xmlin, dname, flags }) {
      await migrate(host, host.activeDomain(dom), {
        uri: dconnuri ?? "",
        flags: Number(flags),
        xml: xmlin,
        name: dname,
      });
      return { cookieOut: EMPTY };
    },
    domainAbortJob: ({ dom }) => abort(host.activeDomain(dom)),
    domainAbortJobFlags: ({ dom }) => abort(host.activeDomain(dom)),
    domainGetJobInfo({ dom }) {
      const domain = host.activeDomain(dom);
      const { total, done, elapsed } = progress(host, domain);
      const zero = { timeRemaining: 0n, fileTotal: 0n, fileProcessed: 0n, fileRemaining: 0n };
      const amounts = { dataTotal: total, dataProcessed: done, dataRemaining: total - done };
      const memory = { memTotal: total, memProcessed: done, memRemaining: total - done };
      return {
        type: domain.job === undefined ? DomainJobType.none : DomainJobType.unbounded,
        timeElapsed: elapsed,
        ...zero,
        ...amounts,
        ...memory,
      };
    },
    domainGetJobStats({ dom }) {
      const domain = host.activeDomain(dom);
      if (domain.job === undefined) return { type: DomainJobType.none, params: [] };
      return { type: DomainJobType.unbounded, params: statistics(host, domain) };
    },
    domainMigrateSetMaxSpeed: ({ dom }) => needJob(host.activeDomain(dom), true),
    domainMigrateSetMaxDowntime: ({ dom }) => needJob(host.activeDomain(dom), false),
    domainMigrateGetMaxDowntime({ dom }) {
      host.activeDomain(dom);
      return { downtime: 300n };
    },
    domainMigrateGetMaxSpeed({ dom }) {
      host.activeDomain(dom);
      return { bandwidth: 8796093022207n };
    },
  };
}

interface MigrationRequest {
  readonly uri: string;
  readonly flags: number;
  readonly xml: string | undefined;
  readonly name: string | undefined;
}

async function migrate(source: HostState, domain: DomainRecord, request: MigrationRequest): Promise<void> {
  const { flags } = request;
  if ((flags & MIGRATE.peer2peer) === 0)
    throw refusal("argumentUnsupported", "qemu", "the simulated driver migrates peer to peer alone");
  if (domain.job !== undefined)
    throw refusal("operationTimeout", "qemu", "cannot acquire state change lock (held by migration)");
  if (domain.blockJobs.size > 0) throw invalidOperation("domain has active block job");
  const target = destination(source, request.uri);
  const arrival = prepare(target, domain, request);
  try {
    await transfer(source, domain);
  } catch (error) {
    forget(target, arrival);
    if (domain.active && domain.reason === DomainPausedReason.migration)
      resumeGuest(source, domain, DomainRunningReason.migrationCanceled, RESUMED.migrated);
    throw error;
  }
  finish(source, target, domain, arrival, flags);
}

/** @throws FakeLibvirtError when no host of the URI's name can be reached */
function destination(source: HostState, uri: string): HostState {
  const host = /^[a-z0-9+.-]+:\/\/(?:[^@/]*@)?([^/:]+)/i.exec(uri)?.[1];
  const target = host === undefined ? undefined : source.peers.get(host);
  if (target === undefined || target === source)
    throw refusal("operationFailed", "qemu", `Failed to connect to remote libvirt URI ${uri}: no such host`);
  return target;
}

/** The destination takes the definition, and waits. */
function prepare(target: HostState, domain: DomainRecord, { xml, name }: MigrationRequest): DomainRecord {
  const document: DomainDocument =
    xml === undefined ? structuredClone(domain.document) : readDomainDefinition(target, xml);
  document.name = name ?? document.name ?? domain.name;
  delete document.id;
  const known = target.domains.get(domain.uuid);
  if (known?.active === true) throw invalidOperation(`domain '${known.name}' is already active`);
  const arrival = known ?? new DomainRecord(domain.uuid, document.name);
  arrival.incoming = known === undefined;
  arrival.live = document;
  target.domains.set(arrival.uuid, arrival);
  return arrival;
}

function forget(target: HostState, arrival: DomainRecord): void {
  arrival.live = undefined;
  if (arrival.persistent === undefined) target.domains.delete(arrival.uuid);
}

function transfer(source: HostState, domain: DomainRecord): Promise<void> {
  return new Promise((resolve, reject) => {
    const { migrationMs } = source.behaviourOf(domain);
    domain.job = {
      kind: "migration",
      startedAt: source.clock.now(),
      abort() {
        domain.job = undefined;
        reject(refusal("operationAborted", "qemu", "migration out job: canceled by client"));
      },
    };
    source.emit("domain", "migrationIteration", { dom: domain.reference, iteration: 1 });
    // A timer of the host's, not of the guest's: a guest that ends lets the migration fail.
    source.later(migrationMs, () => {
      if (!domain.active) return reject(refusal("operationFailed", "qemu", "domain is not running"));
      if (domain.job?.kind === "migration") resolve();
    });
  });
}

function finish(
  source: HostState,
  target: HostState,
  domain: DomainRecord,
  arrival: DomainRecord,
  flags: number,
): void {
  const stats = statistics(source, domain);
  const wasPaused = domain.state === DomainState.paused;
  const document = arrival.live ?? domain.document;
  if (!wasPaused) pauseGuest(source, domain, DomainPausedReason.migration, SUSPENDED.migrated);
  arrival.incoming = false;
  arrive(target, arrival, document, {
    paused: wasPaused || (flags & MIGRATE.paused) !== 0,
    persist: (flags & MIGRATE.persistDest) !== 0,
  });
  source.emit("domain", "jobCompleted", { dom: domain.reference, params: stats });
  if ((flags & MIGRATE.undefineSource) !== 0 && domain.persistent !== undefined) {
    domain.persistent = undefined;
    stopGuest(source, domain, DomainShutoffReason.migrated, STOPPED.migrated);
    tellLifecycle(source, domain, EVENT.undefined, 0);
  } else stopGuest(source, domain, DomainShutoffReason.migrated, STOPPED.migrated);
}

function arrive(
  target: HostState,
  arrival: DomainRecord,
  document: DomainDocument,
  { paused, persist }: { readonly paused: boolean; readonly persist: boolean },
): void {
  const known = arrival.persistent !== undefined;
  arrival.name = document.name ?? arrival.name;
  startGuest(target, arrival, { document, detail: STARTED.migrated, paused: true, booted: true, silent: true });
  tellLifecycle(target, arrival, EVENT.started, STARTED.migrated);
  if (paused) pauseGuest(target, arrival, DomainPausedReason.user, SUSPENDED.paused);
  else resumeGuest(target, arrival, DomainRunningReason.migrated, RESUMED.migrated);
  if (!persist) return;
  arrival.persistent = structuredClone(document);
  tellLifecycle(target, arrival, EVENT.defined, known ? 1 : 0);
}

function abort(domain: DomainRecord): LibvirtProtocol.Nothing {
  if (domain.job?.abort === undefined) throw invalidOperation("no job is active on the domain");
  domain.job.abort();
  return {};
}

function needJob(domain: DomainRecord, optional: boolean): LibvirtProtocol.Nothing {
  if (!optional && domain.job?.kind !== "migration") throw invalidOperation("domain is not being migrated");
  return {};
}

function progress(
  host: HostState,
  domain: DomainRecord,
): { readonly total: bigint; readonly done: bigint; readonly elapsed: bigint } {
  const { job } = domain;
  if (job === undefined) return { total: 0n, done: 0n, elapsed: 0n };
  const total = BigInt(domain.document.memory?.$text ?? 0) * 1024n;
  const elapsed = host.clock.now() - job.startedAt;
  const share = Math.min(1, elapsed / Math.max(1, host.behaviourOf(domain).migrationMs));
  return {
    total,
    done: ((total / MIB) * BigInt(Math.round(share * 1000)) * MIB) / 1000n,
    elapsed: BigInt(Math.round(elapsed)),
  };
}

function statistics(host: HostState, domain: DomainRecord): LibvirtProtocol.RemoteDomainStatsRecord["params"] {
  const { total, done, elapsed } = progress(host, domain);
  const amounts: readonly (readonly [field: string, value: bigint])[] = [
    ["time_elapsed", elapsed],
    ["data_total", total],
    ["data_processed", done],
    ["data_remaining", total - done],
    ["memory_total", total],
    ["memory_processed", done],
    ["memory_remaining", total - done],
  ];
  return [
    { field: "operation", type: "int", value: DomainJobOperation.migrationOut },
    ...amounts.map(([field, value]) => ({ field, type: "ullong" as const, value })),
  ];
}
