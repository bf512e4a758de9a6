/** The simulated host behind its door: what it starts with, and its procedures. */
import { DomainShutoffReason, DomainEventStoppedDetailType as STOPPED } from "../../../libvirt/rpc/index.js";
import { parseNodeDeviceXml } from "../../../libvirt/xml/index.js";
import type { FakeLibvirtCall, FakeLibvirtClient, FakeLibvirtHandlers, UntypedHandler } from "../fake-call.js";
import { backupHandlers } from "./backups.js";
import { blockJobHandlers } from "./block-jobs.js";
import { checkpointHandlers } from "./checkpoints.js";
import { diskLimitHandlers } from "./disk-limits.js";
import { domainContentHandlers } from "./domain-contents.js";
import { definitionHandlers } from "./domain-definition.js";
import { deviceHandlers } from "./domain-devices.js";
import { crash, powerHandlers, powerOff } from "./domain-power.js";
import type { DomainRecord } from "./domain-record.js";
import { stateHandlers } from "./domain-state.js";
import { streamHandlers } from "./domain-streams.js";
import type { ConsoleProgram } from "./domain-streams.js";
import { agentHandlers } from "./guest-agent.js";
import type { AgentCommand } from "./guest-agent.js";
import { HostState } from "./host-state.js";
import type { HostOptions } from "./host-state.js";
import { stopGuest } from "./lifecycle.js";
import { migrationHandlers } from "./migration.js";
import { driverLeft } from "./migration-steps.js";
import { addNetwork, networkHandlers, nwFilterHandlers } from "./networks.js";
import { DEFAULT_NETWORK, DEFAULT_POOL, NODE_DEVICES } from "./node-devices.js";
import { nodeHandlers } from "./node.js";
import { processorPinHandlers } from "./processor-pins.js";
import { refusal } from "./refuse.js";
import { resourceLimitHandlers } from "./resource-limits.js";
import { savedFileHandlers } from "./saved-files.js";
import { secretHandlers } from "./secrets.js";
import { snapshotHandlers } from "./snapshots.js";
import { statisticsHandlers } from "./statistics.js";
import { addPool, poolHandlers } from "./storage-pools.js";
import { volumeHandlers } from "./storage-volumes.js";

/** Procedures that only look: all that connections for reading may call. */
const LOOKS =
  /^(auth|connect(?!DomainXml|FindStorage)|node(?!Device(Create|Define|Destroy|Det|ReAttach|Reset|Set|Undefine|Update)|Alloc|Set|Suspend)|[a-zA-Z]+(Get(?!Value|Metadata$)|Is[A-Z]|Has[A-Z]|List|Lookup|NumOf|BlockStats|InterfaceStats|MemoryStats|InterfaceAddresses|SnapshotNum|SnapshotCurrent)|domainGetMetadata)/;

export class SimulationEngine {
  readonly host: HostState;
  agentCommand: AgentCommand | undefined;
  consoleProgram: ConsoleProgram = (_, input) => input;

  constructor(options: HostOptions) {
    const host = (this.host = new HostState(options));
    const network = addNetwork(host, DEFAULT_NETWORK);
    network.active = network.persistent = network.autostart = true;
    const pool = addPool(host, DEFAULT_POOL);
    pool.active = pool.persistent = pool.autostart = true;
    for (const xml of NODE_DEVICES) {
      const device = parseNodeDeviceXml(xml);
      host.nodeDevices.set(device.name ?? "", device);
    }
  }

  /** Answers for every procedure that it has. */
  handlers(): FakeLibvirtHandlers {
    const { host } = this;
    const all: FakeLibvirtHandlers = {
      ...nodeHandlers(host),
      ...definitionHandlers(host),
      ...powerHandlers(host),
      ...stateHandlers(host),
      ...deviceHandlers(host),
      ...blockJobHandlers(host),
      ...diskLimitHandlers(host),
      ...processorPinHandlers(host),
      ...resourceLimitHandlers(host),
      ...snapshotHandlers(host),
      ...checkpointHandlers(host),
      ...backupHandlers(host),
      ...savedFileHandlers(host),
      ...migrationHandlers(host),
      ...statisticsHandlers(host),
      ...domainContentHandlers(host),
      ...agentHandlers(host, () => this.agentCommand),
      ...streamHandlers(host, () => this.consoleProgram),
      ...networkHandlers(host),
      ...nwFilterHandlers(host),
      ...secretHandlers(host),
      ...poolHandlers(host),
      ...volumeHandlers(host),
    };
    const guarded = Object.entries(all as Readonly<Record<string, UntypedHandler>>).map(([name, handler]) => [
      name,
      LOOKS.test(name) ? handler : refuseReaders(handler),
    ]);
    return Object.fromEntries(guarded) as FakeLibvirtHandlers;
  }

  /** A client has gone, and the domains with it that were to end so. */
  clientLeft({ number }: FakeLibvirtClient): void {
    driverLeft(this.host, number);
    for (const domain of [...this.host.domains.values()])
      if (domain.autodestroy === number) stopGuest(this.host, domain, DomainShutoffReason.destroyed, STOPPED.destroyed);
  }

  crash(domain: string): void {
    crash(this.host, this.#running(domain));
  }

  powerOff(domain: string): void {
    powerOff(this.host, this.#running(domain));
  }

  /** Something that the guest writes to its console. */
  async writeConsole(domain: string, text: Uint8Array): Promise<void> {
    await Promise.all([...this.#running(domain).consoles].map((stream) => stream.write(text)));
  }

  #running(nameOrUuid: string): DomainRecord {
    const domain = [...this.host.domains.values()].find(({ uuid, name }) => uuid === nameOrUuid || name === nameOrUuid);
    if (domain?.active !== true) throw new TypeError(`no domain ${nameOrUuid} runs on ${this.host.name}`);
    return domain;
  }
}

function refuseReaders(handler: UntypedHandler): UntypedHandler {
  return (args: unknown, call: FakeLibvirtCall) => {
    if (call.client.readOnly) throw refusal("operationDenied", "domain", "operation forbidden for read only access");
    return handler(args, call);
  };
}
