/** Live migration: as the source's daemon does it on its own (peer to peer), or step by step as a client drives it. */
import {
  DomainJobType,
  DomainMigrateFlags as MIGRATE,
  DomainState,
  parametersToObject,
} from "../../../libvirt/rpc/index.js";
import type { LibvirtProtocol, TypedParameter } from "../../../libvirt/rpc/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import type { DomainRecord, DomainReference } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { jobProgress, jobStatistics } from "./job-statistics.js";
import { begin, confirm, drop, finish, perform, prepare, reachable } from "./migration-steps.js";
import type { MigrationRequest } from "./migration-steps.js";
import { invalidOperation } from "./refuse.js";

const NO_COOKIE = new Uint8Array(0);
const COMPLETED = { take: 1, keep: 2 } as const;
const DEFAULT_SPEED = 8_796_093_022_207n;

type Nothing = LibvirtProtocol.Nothing;

export function migrationHandlers(host: HostState): FakeLibvirtHandlers {
  const cookie = (name: string): Uint8Array =>
    Buffer.from(`<qemu-migration><name>${name}</name><hostname>${host.name}</hostname></qemu-migration>\0`);
  const named = (name: string | undefined): DomainRecord | undefined =>
    [...host.domains.values()].find((domain) => domain.name === name);
  return {
    domainMigrateBegin3({ dom, xmlin: xml, flags, dname: name }, { client }) {
      const request = { flags: Number(flags), xml, name, uri: undefined, client: client.number };
      return { cookieOut: cookie(dom.name), xml: begin(host, dom, request) };
    },
    domainMigrateBegin3Params({ dom, params, flags }, { client }) {
      const request = { ...requestIn(params), flags, client: client.number };
      return { cookieOut: cookie(dom.name), xml: begin(host, dom, request) };
    },
    domainMigratePrepare3({ uriIn: uri, flags, dname: name, domXml }, { client }) {
      const request = { flags: Number(flags), xml: undefined, name, uri, client: client.number };
      const { record, uri: uriOut } = prepare(host, domXml, request);
      return { cookieOut: cookie(record.name), uriOut };
    },
    domainMigratePrepare3Params({ params, flags }, { client }) {
      const request = { ...requestIn(params), flags, client: client.number };
      const { record, uri: uriOut } = prepare(host, request.xml ?? "<domain/>", request);
      return { cookieOut: cookie(record.name), uriOut };
    },
    async domainMigratePerform3({ dom, xmlin: xml, dconnuri, uri, flags, dname: name }, { client }) {
      await performAs(host, dom, dconnuri, { flags: Number(flags), xml, name, uri, client: client.number });
      return { cookieOut: cookie(dom.name) };
    },
    async domainMigratePerform3Params({ dom, dconnuri, params, flags }, { client }) {
      await performAs(host, dom, dconnuri, { ...requestIn(params), flags, client: client.number });
      return { cookieOut: cookie(dom.name) };
    },
    domainMigrateFinish3({ dname, flags, cancelled }) {
      const { reference } = finish(host, named(dname), Number(flags), cancelled !== 0);
      return { dom: reference, cookieOut: NO_COOKIE };
    },
    domainMigrateFinish3Params({ params, flags, cancelled }) {
      const { reference } = finish(host, named(requestIn(params).name), flags, cancelled !== 0);
      return { dom: reference, cookieOut: NO_COOKIE };
    },
    domainMigrateConfirm3({ dom, flags, cancelled }) {
      confirm(host, host.domain(dom), Number(flags), cancelled !== 0);
      return {};
    },
    domainMigrateConfirm3Params({ dom, flags, cancelled }) {
      confirm(host, host.domain(dom), flags, cancelled !== 0);
      return {};
    },
    domainMigrateStartPostCopy({ dom }) {
      const { job } = host.activeDomain(dom);
      if (job?.kind !== "migration" || job.switchOver === undefined)
        throw invalidOperation("post-copy can only be started while outgoing migration is in progress");
      job.switchOver();
      return {};
    },
    domainMigrateSetMaxSpeed({ dom, bandwidth }) {
      host.domain(dom).maxSpeed = bandwidth;
      return {};
    },
    domainMigrateGetMaxSpeed: ({ dom }) => ({ bandwidth: host.domain(dom).maxSpeed ?? DEFAULT_SPEED }),
    domainMigrateSetMaxDowntime({ dom, downtime }) {
      host.activeDomain(dom).maxDowntime = downtime;
      return {};
    },
    domainMigrateGetMaxDowntime: ({ dom }) => ({ downtime: host.activeDomain(dom).maxDowntime }),
    domainMigrateSetCompressionCache({ dom, cacheSize }) {
      host.activeDomain(dom).compressionCacheBytes = cacheSize;
      return {};
    },
    domainMigrateGetCompressionCache: ({ dom }) => ({ cacheSize: host.activeDomain(dom).compressionCacheBytes }),
    ...jobHandlers(host),
  };
}

function jobHandlers(host: HostState): FakeLibvirtHandlers {
  return {
    domainAbortJob: ({ dom }) => abort(host.activeDomain(dom)),
    domainAbortJobFlags: ({ dom }) => abort(host.activeDomain(dom)),
    domainGetJobInfo({ dom }) {
      const domain = host.activeDomain(dom);
      const { total, done, elapsed } = jobProgress(host, domain);
      const amounts = { dataTotal: total, dataProcessed: done, dataRemaining: total - done };
      const none = { timeRemaining: 0n, fileTotal: 0n, fileProcessed: 0n, fileRemaining: 0n };
      const memory = { memTotal: total, memProcessed: done, memRemaining: total - done };
      return { type: typeOf(domain), timeElapsed: elapsed, ...none, ...amounts, ...memory };
    },
    domainGetJobStats({ dom, flags }) {
      const domain = host.domain(dom);
      const { job, completedJob } = domain;
      if ((flags & COMPLETED.take) !== 0) {
        if ((flags & COMPLETED.keep) === 0) domain.completedJob = undefined;
        return completedJob === undefined
          ? { type: DomainJobType.none, params: [] }
          : { type: DomainJobType.completed, params: [...completedJob] };
      }
      const params = job === undefined ? [] : jobStatistics(host, domain, job);
      return { type: typeOf(domain), params: [...params] };
    },
  };
}

function typeOf({ job }: DomainRecord): number {
  return job === undefined ? DomainJobType.none : DomainJobType.unbounded;
}

type Placeless = Pick<MigrationRequest, "xml" | "name" | "uri">;

function requestIn(params: readonly TypedParameter[]): Placeless {
  const values = parametersToObject(params) as Readonly<Record<string, unknown>>;
  const text = (name: string): string | undefined => (typeof values[name] === "string" ? values[name] : undefined);
  return { xml: text("destination_xml"), name: text("destination_name"), uri: text("migrate_uri") };
}

async function performAs(
  source: HostState,
  dom: DomainReference,
  peer: string | undefined,
  request: MigrationRequest,
): Promise<void> {
  const domain = source.activeDomain(dom);
  if ((request.flags & MIGRATE.peer2peer) === 0) return perform(source, domain, request);
  const { flags } = request;
  const target = reachable(source, peer);
  const xml = begin(source, dom, { ...request, flags: flags & ~MIGRATE.changeProtection });
  const byDaemon: MigrationRequest = { ...request, client: undefined };
  const paused = domain.state === DomainState.paused ? MIGRATE.paused : 0;
  const { record } = prepare(target, xml, { ...byDaemon, uri: request.uri ?? `tcp://${target.name}` });
  try {
    await perform(source, domain, { ...request, uri: `tcp://${target.name}` });
  } catch (error) {
    drop(target, record);
    confirm(source, domain, flags, true);
    throw error;
  }
  finish(target, record, flags | paused, false);
  confirm(source, domain, flags, false);
}

function abort(domain: DomainRecord): Nothing {
  if (domain.job?.abort === undefined) throw invalidOperation("no job is active on the domain");
  domain.job.abort();
  return {};
}
