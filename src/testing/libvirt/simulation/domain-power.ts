/** Starting, stopping, pausing and saving domains. */
import {
  DomainCreateFlags as CREATE,
  DomainEventResumedDetailType as RESUMED,
  DomainEventShutdownDetailType as SHUTDOWN,
  DomainEventStartedDetailType as STARTED,
  DomainEventStoppedDetailType as STOPPED,
  DomainEventSuspendedDetailType as SUSPENDED,
  DomainEventType as EVENT,
  DomainPausedReason,
  DomainRunningReason,
  DomainSaveRestoreFlags as SAVE,
  DomainShutoffReason,
  DomainState,
} from "../../../libvirt/rpc/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { boot, pauseGuest, resumeGuest, startGuest, stopGuest, tellLifecycle } from "./lifecycle.js";
import type { DomainRecord, DomainReference } from "./domain-record.js";
import type { HostState } from "./host-state.js";
import { checkFlags, invalidOperation, refusal } from "./refuse.js";

type Nothing = Record<string, never>;

export function powerHandlers(host: HostState): FakeLibvirtHandlers {
  return {
    domainCreate({ dom }) {
      create(host, dom, 0, undefined);
      return {};
    },
    domainCreateWithFlags: ({ dom, flags }, { client }) => ({ dom: create(host, dom, flags, client.number) }),
    domainDestroy: ({ dom }) => destroy(host, dom),
    domainDestroyFlags({ dom, flags }) {
      checkFlags(flags, 1);
      return destroy(host, dom);
    },
    domainShutdown: ({ dom }) => shutDown(host, dom),
    domainShutdownFlags: ({ dom }) => shutDown(host, dom),
    domainReboot({ dom }) {
      const domain = host.activeDomain(dom);
      const { acpi, shutdownMs } = host.behaviourOf(domain);
      if (acpi === "obey")
        whenBooted(host, domain, () => host.later(shutdownMs, () => reset(host, domain), domain.timers));
      return {};
    },
    domainReset({ dom }) {
      const domain = host.activeDomain(dom);
      host.later(0, () => reset(host, domain), domain.timers);
      return {};
    },
    domainSuspend({ dom }) {
      const domain = host.activeDomain(dom);
      if (domain.job?.kind === "migration") pauseGuest(host, domain, DomainPausedReason.migration, SUSPENDED.paused);
      else if (domain.state !== DomainState.paused) pauseGuest(host, domain, DomainPausedReason.user, SUSPENDED.paused);
      return {};
    },
    domainResume({ dom }) {
      const domain = host.activeDomain(dom);
      if (domain.state === DomainState.running) throw invalidOperation("domain is already running");
      resumeGuest(host, domain, DomainRunningReason.unpaused, RESUMED.unpaused);
      return {};
    },
    domainManagedSave({ dom, flags }) {
      const domain = host.activeDomain(dom);
      if (domain.persistent === undefined) throw invalidOperation("cannot do managed save for transient domain");
      host.unlockedDomain(dom);
      const wasRunning = domain.state === DomainState.running;
      const restored = (flags & SAVE.running) !== 0 || ((flags & SAVE.paused) === 0 && wasRunning);
      if (wasRunning) pauseGuest(host, domain, DomainPausedReason.save, SUSPENDED.paused);
      domain.saved = { document: structuredClone(domain.document), wasRunning: restored };
      stopGuest(host, domain, DomainShutoffReason.saved, STOPPED.saved);
      return {};
    },
    domainHasManagedSaveImage: ({ dom }) => ({ result: host.domain(dom).saved === undefined ? 0 : 1 }),
    domainManagedSaveRemove({ dom }) {
      host.domain(dom).saved = undefined;
      return {};
    },
    domainPmWakeup({ dom }) {
      const domain = host.activeDomain(dom);
      if (domain.state !== DomainState.pmsuspended)
        throw invalidOperation("Unable to wake up domain that is not suspended");
      resumeGuest(host, domain, DomainRunningReason.wakeup, RESUMED.unpaused);
      return {};
    },
    domainInjectNmi({ dom }) {
      host.activeDomain(dom);
      return {};
    },
    domainSendKey({ dom, keycodes }) {
      host.activeDomain(dom);
      if (keycodes.length > 16) throw refusal("invalidArg", "domain", "too many keycodes");
      return {};
    },
  };
}

function create(host: HostState, dom: DomainReference, flags: number, client: number | undefined): DomainReference {
  checkFlags(flags, 63);
  const domain = host.domain(dom);
  if (domain.active) throw invalidOperation("domain is already running");
  const { saved } = domain;
  if (saved !== undefined && (flags & CREATE.startForceBoot) === 0) {
    const paused = (flags & CREATE.startPaused) !== 0 || !saved.wasRunning;
    startGuest(host, domain, { document: saved.document, detail: STARTED.restored, paused, booted: true });
  } else startGuest(host, domain, { paused: (flags & CREATE.startPaused) !== 0 });
  domain.saved = undefined;
  if ((flags & CREATE.startAutodestroy) !== 0) domain.autodestroy = client;
  return domain.reference;
}

function destroy(host: HostState, dom: DomainReference): Nothing {
  const domain = host.activeDomain(dom);
  domain.job?.abort?.();
  if (domain.state !== DomainState.shutdown) tellLifecycle(host, domain, EVENT.shutdown, SHUTDOWN.host);
  stopGuest(host, domain, DomainShutoffReason.destroyed, STOPPED.destroyed);
  return {};
}

/** The guest is asked; it does as it likes. */
function shutDown(host: HostState, dom: DomainReference): Nothing {
  const domain = host.activeDomain(dom);
  const { acpi, shutdownMs } = host.behaviourOf(domain);
  if (acpi === "obey")
    whenBooted(host, domain, () => host.later(shutdownMs, () => powerOff(host, domain), domain.timers));
  return {};
}

/** The guest powers itself off. */
export function powerOff(host: HostState, domain: DomainRecord): void {
  if (!domain.active || domain.state === DomainState.paused) return;
  domain.state = DomainState.shutdown;
  tellLifecycle(host, domain, EVENT.shutdown, SHUTDOWN.guest);
  stopGuest(host, domain, DomainShutoffReason.shutdown, STOPPED.shutdown);
}

/** The guest's QEMU dies. */
export function crash(host: HostState, domain: DomainRecord): void {
  stopGuest(host, domain, DomainShutoffReason.crashed, STOPPED.failed);
}

function reset(host: HostState, domain: DomainRecord): void {
  if (!domain.active) return;
  host.emit("domain", "reboot", { dom: domain.reference });
  boot(host, domain, host.behaviourOf(domain).bootMs);
}

/** What reaches a guest that is not up yet is lost on it; one that starts in no time is waited for. */
function whenBooted(host: HostState, domain: DomainRecord, run: () => void): void {
  if (domain.booted) return run();
  if (host.behaviourOf(domain).bootMs === 0) host.later(0, run, domain.timers);
}
