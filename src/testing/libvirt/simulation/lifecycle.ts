/** The states of a simulated domain, and the events that libvirt tells of their changes, in its order. */
import {
  DomainEventResumedDetailType as RESUMED,
  DomainEventShutdownDetailType as SHUTDOWN,
  DomainEventStartedDetailType as STARTED,
  DomainEventStoppedDetailType as STOPPED,
  DomainEventSuspendedDetailType as SUSPENDED,
  DomainEventType as EVENT,
  DomainPausedReason,
  DomainRunningReason,
  DomainState,
} from "../../../libvirt/rpc/index.js";
import { devicesOf, nameDevices } from "./device-names.js";
import type { DomainDocument, DomainRecord } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { refusal } from "./refuse.js";

/** Ends of a guest that goes on elsewhere or later. */
const LEAVING: ReadonlySet<number> = new Set([STOPPED.saved, STOPPED.migrated]);
const AGENT_CHANNEL = "org.qemu.guest_agent.0";
const AGENT = { connected: 1, disconnected: 2, byDomain: 1, byChannel: 2 } as const;

/** Tells of a change of state. */
export function tellLifecycle(host: HostState, domain: DomainRecord, event: number, detail: number): void {
  host.emit("domain", "lifecycle", { dom: domain.reference, event, detail });
}

export interface StartOptions {
  readonly paused?: boolean;
  readonly detail?: number;
  readonly runningReason?: number;
  /** What runs, where it is not the persistent definition. */
  readonly document?: DomainDocument;
  /** Restored guests are up at once. */
  readonly booted?: boolean;
  /** What is told of a guest that is there and waits. */
  readonly suspendedDetail?: number;
  /** Whoever starts it tells of it. */
  readonly silent?: boolean;
}

/** Starts the guest. @throws FakeLibvirtError when the behaviour says so; nothing has changed then */
export function startGuest(host: HostState, domain: DomainRecord, options: StartOptions = {}): void {
  const behaviour = host.behaviourOf(domain);
  if (behaviour.startError !== "") throw refusal("internalError", "qemu", behaviour.startError);
  const { paused = false, detail = STARTED.booted } = options;
  const document = options.document ?? domain.persistent;
  if (document === undefined) throw new TypeError(`the domain ${domain.name} has no definition`);
  domain.id = host.takeDomainId();
  domain.live = liveDocument(document, domain.id);
  domain.startedAt = host.clock.now();
  domain.booted = false;
  const restored = detail === STARTED.restored;
  const { runningReason = restored ? DomainRunningReason.restored : DomainRunningReason.booted } = options;
  // A restored guest is there before it runs; one that boots runs before libvirt says that it is there.
  const resumes = !paused && options.silent !== true;
  if (resumes && !restored) tellLifecycle(host, domain, EVENT.resumed, RESUMED.unpaused);
  domain.state = paused ? DomainState.paused : DomainState.running;
  domain.reason = paused ? DomainPausedReason.user : runningReason;
  if (options.silent !== true) {
    tellLifecycle(host, domain, EVENT.started, detail);
    if (paused) tellLifecycle(host, domain, EVENT.suspended, options.suspendedDetail ?? SUSPENDED.paused);
  }
  if (resumes && restored) tellLifecycle(host, domain, EVENT.resumed, RESUMED.fromSnapshot);
  boot(host, domain, options.booted === true ? 0 : behaviour.bootMs);
}

export function pauseGuest(host: HostState, domain: DomainRecord, reason: number, detail: number): void {
  domain.state = DomainState.paused;
  domain.reason = reason;
  tellLifecycle(host, domain, EVENT.suspended, detail);
}

export function resumeGuest(host: HostState, domain: DomainRecord, reason: number, detail: number): void {
  domain.state = DomainState.running;
  domain.reason = reason;
  tellLifecycle(host, domain, EVENT.resumed, detail);
}

/** The guest is off. A transient domain is gone with it. */
export function stopGuest(host: HostState, domain: DomainRecord, reason: number, detail: number): void {
  if (!domain.active) return;
  if (host.release.tellsEveryShutdown && (LEAVING.has(detail) || domain.incoming !== undefined))
    tellLifecycle(host, domain, EVENT.shutdown, SHUTDOWN.host);
  const agent = domain.booted && hasAgent(domain);
  for (const timer of domain.timers) timer.cancel();
  domain.timers.clear();
  domain.blockJobs.clear();
  domain.unplugging.clear();
  domain.job = undefined;
  domain.backup = undefined;
  domain.incoming = undefined;
  domain.autodestroy = undefined;
  domain.frozenFilesystems = 0;
  domain.offlineVcpus.clear();
  const running = domain.reference;
  domain.live = undefined;
  domain.booted = false;
  domain.state = DomainState.shutoff;
  domain.reason = reason;
  for (const console of domain.consoles) void console.end();
  domain.consoles.clear();
  if (agent) host.emit("domain", "agentLifecycle", { dom: running, state: AGENT.disconnected, reason: AGENT.byDomain });
  host.emit("domain", "lifecycle", { dom: running, event: EVENT.stopped, detail });
  domain.id = -1;
  if (domain.persistent === undefined) host.domains.delete(domain.uuid);
}

/** The guest's operating system comes up after a while, and its agent with it. */
export function boot(host: HostState, domain: DomainRecord, ms: number): void {
  domain.booted = false;
  host.later(
    ms,
    () => {
      domain.booted = true;
      setAgentState(domain, "connected");
      if (hasAgent(domain))
        host.emit("domain", "agentLifecycle", {
          dom: domain.reference,
          state: AGENT.connected,
          reason: AGENT.byChannel,
        });
    },
    domain.timers,
  );
}

/** Whether the guest has an agent on a channel of its own. */
export function hasAgent(domain: DomainRecord): boolean {
  return agentChannel(domain) !== undefined;
}

function agentChannel(domain: DomainRecord): { target?: { name?: string; state?: string } } | undefined {
  const channels = domain.live === undefined ? [] : devicesOf(domain.live, "channel");
  return (channels as { target?: { name?: string; state?: string } }[]).find(
    ({ target }) => target?.name === AGENT_CHANNEL,
  );
}

function setAgentState(domain: DomainRecord, state: "connected" | "disconnected"): void {
  const target = agentChannel(domain)?.target;
  if (target !== undefined) target.state = state;
}

/** The definition of a running domain: with an id, aliases, and names on the host. */
function liveDocument(document: DomainDocument, id: number): DomainDocument {
  const live = structuredClone(document);
  live.id = id;
  const devices = (live.devices ??= {});
  nameDevices(live);
  devices.interface?.forEach((nic, index) => (nic.target ??= { dev: `vnet${id * 8 + index}` }));
  for (const kind of ["serial", "console"] as const)
    for (const [index, device] of (devices[kind] ?? []).entries())
      if (device.type === "pty") Object.assign(device, { source: [{ path: `/dev/pts/${id * 8 + index}` }] });
  for (const [index, graphics] of (devices.graphics ?? []).entries())
    if (graphics.type === "vnc" && (graphics.port === undefined || graphics.port === -1))
      graphics.port = 5900 + id * 4 + index;
  return live;
}
