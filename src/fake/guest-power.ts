/** The life of a simulated guest: how it comes into memory, what it does there by itself, and how it leaves. */
import type { EventCause, GuestDevice, GuestDisk, GuestNic, LifecycleTransition } from "../driver/index.js";
import { claimResources, lockDisk, releaseResources, unlockDisk } from "./guest-devices.js";
import { extrasOf, inMemory, print, ranMs } from "./guest-record.js";
import type { GuestAction, GuestCompanion, GuestRecord, PlannedAction } from "./guest-record.js";
import type { FakeHost } from "./host.js";

/** Lets everybody who waits for a change of the guest look again. */
export function notify(record: GuestRecord): void {
  record.change?.wake();
  record.change = undefined;
}

/** Resolves at the next change of the guest. */
export function nextChange(record: GuestRecord): Promise<void> {
  if (record.change === undefined) {
    let wake: () => void = () => undefined;
    const promise = new Promise<void>((resolve) => (wake = resolve));
    record.change = { promise, wake };
  }
  return record.change.promise;
}

/** Brings the guest into memory: everything it needs has been checked. */
export function enterMemory(host: FakeHost, record: GuestRecord, state: "running" | "paused"): void {
  claimResources(host, record.definition);
  for (const disk of record.definition.disks) lockDisk(host, record.definition.uuid, disk);
  const now = host.world.clock.now();
  record.startedAt = now;
  record.ranMs = 0;
  record.state = state;
  record.runningSince = state === "running" ? now : undefined;
}

/** The operating system begins to boot. */
export function boot(host: FakeHost, record: GuestRecord): void {
  const behaviour = host.behaviourOf(record.definition.uuid);
  record.booted = false;
  record.boots++;
  if (record.extras !== undefined) print(record, "boot");
  if (behaviour.bootMs > 0) plan(host, record, behaviour.bootMs, { type: "booted" });
  else if (record.state === "running") bootEnded(host, record);
  else extrasOf(record).deferred.push({ type: "booted" });
  if (behaviour.crashAfterMs > 0) plan(host, record, behaviour.crashAfterMs, { type: "crash" });
  if (behaviour.powerOffAfterMs > 0) plan(host, record, behaviour.powerOffAfterMs, { type: "powerOff" });
  if (behaviour.rebootAfterMs > 0 && record.boots === 1)
    plan(host, record, behaviour.rebootAfterMs, { type: "reboot" });
}

/** Takes the guest out of memory, with everything that it has only there. */
export function leaveMemory(host: FakeHost, record: GuestRecord, state: "shutdown" | "crashed" | "suspended"): void {
  const { definition } = record;
  for (const [key, waiters] of record.detaching ?? []) {
    dropDevice(host, record, key);
    for (const answer of waiters) answer("detached");
  }
  record.detaching = undefined;
  releaseResources(host, record.definition);
  for (const disk of definition.disks) unlockDisk(host, definition.uuid, disk);
  for (const timer of record.timers ?? []) timer.cancel();
  record.timers = undefined;
  record.state = state;
  record.startedAt = undefined;
  record.runningSince = undefined;
  record.ranMs = 0;
  record.booted = false;
  forgetVolatile(host, record);
  const companions: readonly GuestCompanion[] = [...(record.companions ?? [])];
  record.companions = undefined;
  for (const companion of companions) companion.guestEnded();
}

function forgetVolatile(host: FakeHost, record: GuestRecord): void {
  const { extras } = record;
  if (extras === undefined) return;
  extras.agenda = [];
  extras.deferred = [];
  extras.frozen = false;
  extras.diskSizes = {};
  delete extras.startedWith;
  delete extras.balloonMiB;
  delete extras.consolePasswords;
  for (const port of Object.values(extras.ports)) host.consolePorts.delete(port);
  extras.ports = {};
}

/** The guest is off, or dead, and its host says so. */
export function stop(
  host: FakeHost,
  record: GuestRecord,
  how: { readonly crashed?: boolean; readonly cause: EventCause; readonly detail?: string },
): void {
  if (!inMemory(record)) return;
  leaveMemory(host, record, how.crashed === true ? "crashed" : "shutdown");
  host.lifecycle(record, how.crashed === true ? "crashed" : "stopped", how.cause, how.detail);
  notify(record);
}

export function pause(host: FakeHost, record: GuestRecord, cause: EventCause, detail?: string): void {
  record.ranMs = ranMs(record, host.world.clock.now());
  record.runningSince = undefined;
  changed(host, record, "paused", "paused", cause, detail);
}

export function resume(host: FakeHost, record: GuestRecord, cause: EventCause, detail?: string): void {
  record.runningSince = host.world.clock.now();
  changed(host, record, "running", "resumed", cause, detail);
  runDeferred(host, record);
}

function changed(
  host: FakeHost,
  record: GuestRecord,
  state: "running" | "paused",
  transition: LifecycleTransition,
  cause: EventCause,
  detail?: string,
): void {
  record.state = state;
  host.lifecycle(record, transition, cause, detail);
  notify(record);
}

/** The operating system starts anew; what it was asked for before is forgotten. */
export function reboot(host: FakeHost, record: GuestRecord, cause: EventCause): void {
  const { extras } = record;
  if (extras !== undefined) {
    extras.agenda = [];
    extras.deferred = [];
    extras.frozen = false;
  }
  boot(host, record);
  host.lifecycle(record, "rebooted", cause);
  notify(record);
}

/** The guest is asked to shut down; an operating system that is not up does not hear it. */
export function askToShutDown(host: FakeHost, record: GuestRecord): void {
  const behaviour = host.behaviourOf(record.definition.uuid);
  if (!record.booted || behaviour.acpi === "ignore") return;
  if (isPlanned(record, (action) => action.type === "shutdown")) return;
  plan(host, record, behaviour.shutdownMs, { type: "shutdown" });
}

/** The guest is asked to let go of a device. One that still boots answers when it is up. */
export function askToRelease(host: FakeHost, record: GuestRecord, device: "disk" | "nic" | "device", id: string): void {
  const behaviour = host.behaviourOf(record.definition.uuid);
  if (behaviour.detach === "ignore") return;
  const isSame = (action: GuestAction): boolean => "device" in action && action.device === device && action.id === id;
  if (isPlanned(record, isSame)) return;
  const action: GuestAction = { type: behaviour.detach, device, id };
  if (record.booted) plan(host, record, behaviour.detachMs, action);
  else extrasOf(record).deferred.push(action);
}

function isPlanned(record: GuestRecord, test: (action: GuestAction) => boolean): boolean {
  const { extras } = record;
  if (extras === undefined) return false;
  return extras.agenda.some(({ action }) => test(action)) || extras.deferred.some(test);
}

/** Has the guest do something after `ms` milliseconds; with 0, as soon as the present call is over. */
export function plan(host: FakeHost, record: GuestRecord, ms: number, action: GuestAction): void {
  const planned = { at: host.world.clock.now() + ms, action };
  extrasOf(record).agenda.push(planned);
  arm(host, record, planned);
}

/** Sets the timer of something that is on the guest's agenda. */
export function arm(host: FakeHost, record: GuestRecord, planned: PlannedAction): void {
  const ms = planned.at - host.world.clock.now();
  if (ms <= 0) return queueMicrotask(() => due(host, record, planned));
  const timers = (record.timers ??= new Set());
  const timer = host.world.clock.setTimeout(() => {
    timers.delete(timer);
    due(host, record, planned);
  }, ms);
  timers.add(timer);
  // The end of a freeze that nobody ended is no reason for time to move on.
  if (planned.action.type === "thaw") timer.unref?.();
}

function due(host: FakeHost, record: GuestRecord, planned: PlannedAction): void {
  const agenda = record.extras?.agenda ?? [];
  const index = agenda.indexOf(planned);
  if (index < 0) return;
  agenda.splice(index, 1);
  if (record.state === "paused" && planned.action.type !== "thaw") extrasOf(record).deferred.push(planned.action);
  else act(host, record, planned.action);
}

/** Does what was due while the vCPUs stood still, but for what only an operating system that is up can hear. */
function runDeferred(host: FakeHost, record: GuestRecord): void {
  const { extras } = record;
  if (extras === undefined || record.state !== "running") return;
  const isReady = (action: GuestAction): boolean =>
    record.booted || !("device" in action || action.type === "shutdown");
  const ready = extras.deferred.filter(isReady);
  extras.deferred = extras.deferred.filter((action) => !isReady(action));
  for (const action of ready) plan(host, record, 0, action);
}

function act(host: FakeHost, record: GuestRecord, action: GuestAction): void {
  if (!inMemory(record)) return;
  switch (action.type) {
    case "booted":
      return bootEnded(host, record);
    case "shutdown":
      print(record, "shutdown");
      return stop(host, record, { cause: "guest", detail: "guest-shutdown" });
    case "powerOff":
      return stop(host, record, { cause: "guest", detail: "guest-shutdown" });
    case "crash":
      print(record, "crash");
      return stop(host, record, { crashed: true, cause: "crash", detail: "guest-panic" });
    case "reboot":
      return reboot(host, record, "guest");
    case "thaw":
      if (record.extras !== undefined) record.extras.frozen = false;
      return;
    case "release":
    case "refuse":
      return answerRelease(host, record, action);
  }
}

function bootEnded(host: FakeHost, record: GuestRecord): void {
  record.booted = true;
  const { uuid, name, guestAgent } = record.definition;
  const { agent } = host.behaviourOf(uuid);
  if (guestAgent && agent !== "absent") host.emit({ type: "agent", uuid, name, connected: true });
  runDeferred(host, record);
  notify(record);
}

function answerRelease(
  host: FakeHost,
  record: GuestRecord,
  action: Extract<GuestAction, { readonly device: string }>,
): void {
  const { uuid, name } = record.definition;
  const key = `${action.device}:${action.id}`;
  const released = action.type === "release";
  if (released) dropDevice(host, record, key);
  const waiters = record.detaching?.get(key) ?? [];
  record.detaching?.delete(key);
  host.emit({ type: released ? "deviceDetached" : "deviceDetachFailed", uuid, name, device: action.id });
  for (const answer of waiters) answer(released ? "detached" : "refused");
  notify(record);
}

/** Takes a device out of the guest's definition: `disk:<id>`, `nic:<id>` or `device:<id>`. */
export function dropDevice(host: FakeHost, record: GuestRecord, key: string): void {
  const { definition } = record;
  const keep =
    (kind: string) =>
    (device: GuestDisk | GuestNic | GuestDevice): boolean =>
      `${kind}:${device.id}` !== key;
  const disk = definition.disks.find((one) => !keep("disk")(one));
  if (disk !== undefined && inMemory(record)) unlockDisk(host, definition.uuid, disk);
  record.definition = {
    ...definition,
    disks: definition.disks.filter(keep("disk")),
    nics: definition.nics.filter(keep("nic")),
  };
  const devices = definition.hardware?.devices;
  if (devices?.some((one) => !keep("device")(one)) === true) setDevices(record, devices.filter(keep("device")));
}

/** Changes which devices a guest has beside disks and NICs; a machine that has nothing special any more says nothing of it. */
export function setDevices(record: GuestRecord, devices: readonly GuestDevice[]): void {
  const { hardware, ...definition } = record.definition;
  const { devices: _devices, ...rest } = hardware ?? {};
  const changed = devices.length === 0 ? rest : { ...rest, devices };
  record.definition = Object.keys(changed).length === 0 ? definition : { ...definition, hardware: changed };
}
