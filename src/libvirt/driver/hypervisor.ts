/** A host's libvirt, as the driver's seam. */
import { ClosedError, traceMessage } from "../../core/index.js";
import type { CommonOptions } from "../../core/index.js";
import type {
  CpuComparison,
  CpuModel,
  GuestDefinition,
  GuestInfo,
  GuestStatistics,
  HostCpuStatistics,
  HostDevices,
  HostFacts,
  Hypervisor,
  HypervisorContext,
  HypervisorFeature,
  IncomingMigration,
  IncomingMigrationRequest,
} from "../../driver/index.js";
import { InstanceNotFoundError, ReadOnlyError } from "../../driver/index.js";
import type { FileLock } from "../../host/index.js";
import { formatDomainXml } from "../xml/index.js";
import type { DomainXml } from "../xml/index.js";
import { followConnection } from "./events/connection-feed.js";
import { followEvents } from "./events/event-feed.js";
import { featuresOf } from "./features.js";
import { GuestRegistry } from "./guest-registry.js";
import type { LibvirtGuest } from "./guest.js";
import { readHostCpuStatistics } from "./host/cpu-statistics.js";
import { readHostDevices } from "./host/host-devices.js";
import { readHostFacts } from "./host/host-facts.js";
import type { LibvirtHost } from "./host.js";
import { compareCpu } from "./migration/compare-cpu.js";
import { dropIncoming, prepareIncoming, takeGuest } from "./migration/incoming.js";
import { openHost } from "./open-host.js";
import { resolveOptions } from "./options.js";
import type { LibvirtHypervisorOptions, ResolvedLibvirtOptions } from "./options.js";
import { allInfos, allStatistics } from "./statistics/read-statistics.js";
import { planOnHost } from "./plan-on-host.js";

/** What libvirt would be given. */
export interface LibvirtPlan {
  readonly domain: DomainXml;
  /** The same as a document. */
  readonly xml: string;
}

interface Opened {
  readonly host: LibvirtHost;
  readonly guests: GuestRegistry;
  readonly lock: FileLock | undefined;
  readonly features: ReadonlySet<HypervisorFeature>;
  readonly stopFollowing: () => Promise<void>;
}

/** Runs guests by a libvirt daemon, which keeps them when this process ends. What libvirt does not know of them stands in the state store. */
export class LibvirtHypervisor implements Hypervisor {
  readonly type = "libvirt";
  readonly readOnly: boolean;
  readonly #options: ResolvedLibvirtOptions;
  #opened: Opened | undefined;
  #opening: Promise<void> | undefined;

  /** Touches nothing before `open`. @throws InvalidArgumentError that names the bad option */
  constructor(options: LibvirtHypervisorOptions) {
    this.#options = resolveOptions(options);
    this.readOnly = this.#options.readOnly;
  }

  get features(): ReadonlySet<HypervisorFeature> {
    return this.#opened?.features ?? new Set();
  }

  open(context: HypervisorContext, options: CommonOptions = {}): Promise<void> {
    this.#opening ??= this.#open(context, options.signal).finally(() => (this.#opening = undefined));
    return this.#opening;
  }

  async close(): Promise<void> {
    await this.#opening?.catch(() => undefined);
    const opened = this.#opened;
    this.#opened = undefined;
    if (opened === undefined) return;
    opened.guests.release();
    await opened.stopFollowing();
    await opened.host.client.close();
    await opened.lock?.release();
  }

  hostFacts(options: CommonOptions = {}): Promise<HostFacts> {
    const { host, guests } = this.#require();
    const inMemory = guests.cores().filter((core) => core.inMemory);
    return readHostFacts(
      host,
      inMemory.map(({ definition }) => definition),
      options,
    );
  }

  hostDevices(options: CommonOptions = {}): Promise<HostDevices> {
    return readHostDevices(this.#require().host, options);
  }

  hostCpuStatistics(options: CommonOptions = {}): Promise<HostCpuStatistics> {
    return readHostCpuStatistics(this.#require().host, options);
  }

  async allInfos(options: CommonOptions = {}): Promise<ReadonlyMap<string, GuestInfo>> {
    const { host, guests } = await this.#look();
    return allInfos(host, guests.cores(), options);
  }

  async allStatistics(options: CommonOptions = {}): Promise<ReadonlyMap<string, GuestStatistics>> {
    const { host, guests } = await this.#look();
    return allStatistics(host, guests.cores(), options);
  }

  check(definition: GuestDefinition): void {
    planOnHost(this.#require().host, definition);
  }

  plan(definition: GuestDefinition): LibvirtPlan {
    const { host, guests } = this.#require();
    const domain = planOnHost(host, definition, guests.core(definition.uuid)?.state);
    return { domain, xml: formatDomainXml(domain) };
  }

  async define(definition: GuestDefinition, options: CommonOptions = {}): Promise<LibvirtGuest> {
    const { host, guests } = this.#change("define");
    planOnHost(host, definition);
    return guests.define(definition, options);
  }

  async redefine(definition: GuestDefinition, options: CommonOptions = {}): Promise<LibvirtGuest> {
    const { host, guests } = this.#change("redefine");
    planOnHost(host, definition, guests.core(definition.uuid)?.state);
    return guests.redefine(definition, options);
  }

  async undefine(uuid: string): Promise<void> {
    await this.#change("undefine").guests.undefine(uuid);
  }

  async prepareIncoming(
    definition: GuestDefinition,
    request: IncomingMigrationRequest,
    options: CommonOptions = {},
  ): Promise<IncomingMigration> {
    const { host, guests } = this.#change("prepareIncoming");
    return prepareIncoming(host, guests, definition, request, options);
  }

  async finishIncoming(uuid: string, options: CommonOptions = {}): Promise<LibvirtGuest> {
    const { guests } = this.#change("finishIncoming");
    const core = guests.core(uuid);
    const guest = guests.find(uuid);
    if (core === undefined || guest === undefined) throw new InstanceNotFoundError(uuid);
    await takeGuest(core, options);
    return guest;
  }

  async abortIncoming(uuid: string, options: CommonOptions = {}): Promise<void> {
    const { guests } = this.#change("abortIncoming");
    const core = guests.core(uuid);
    if (core === undefined) return;
    await dropIncoming(core, options);
    await guests.undefine(uuid);
  }

  compareCpu(cpu: CpuModel, options: CommonOptions = {}): Promise<CpuComparison> {
    return compareCpu(this.#require().host, cpu, options);
  }

  async find(uuid: string): Promise<LibvirtGuest | undefined> {
    return (await this.#look()).guests.find(uuid);
  }

  async list(): Promise<readonly LibvirtGuest[]> {
    return (await this.#look()).guests.list();
  }

  async #open(context: HypervisorContext, signal: AbortSignal | undefined): Promise<void> {
    if (this.#opened !== undefined) return;
    const { host, lock, refresh } = await openHost(this.#options, context, signal);
    const { client } = host;
    const guests = new GuestRegistry(host);
    try {
      await guests.load();
      const onGap = async (): Promise<void> => {
        // The daemon that is back may be another release.
        await refresh().catch(traceFailure);
        await guests.reconcile();
      };
      // What happens from here on is told; what was before is looked at afterwards.
      const stopEvents = await followEvents(
        { connection: client.connection, find: (uuid) => guests.core(uuid) ?? guests.discover(uuid), onGap },
        signal,
      );
      const stopConnection = followConnection(client.connection, host.emit);
      await guests.adopt();
      const stopFollowing = async (): Promise<void> => {
        await Promise.all([stopEvents(), stopConnection()]);
      };
      this.#opened = { host, lock, guests, features: featuresOf(host.facts, host.options), stopFollowing };
    } catch (error) {
      guests.release();
      await client.close();
      await lock?.release();
      throw error;
    }
  }

  /** For questions: who only looks follows what another driver has written since. */
  async #look(): Promise<Opened> {
    const opened = this.#require();
    if (this.readOnly) await opened.guests.follow();
    return opened;
  }

  /** @throws ReadOnlyError */
  #change(operation: string): Opened {
    if (this.readOnly) throw new ReadOnlyError(operation);
    return this.#require();
  }

  #require(): Opened {
    if (this.#opened === undefined) throw new ClosedError("the hypervisor is not open");
    return this.#opened;
  }
}

function traceFailure(error: unknown): void {
  traceMessage("hypervise:libvirt:background-failure", () => ({ error: String(error) }));
}
