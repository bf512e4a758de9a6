/** A world as plain data, and a world made from it. */
import { InvalidArgumentError, Secret } from "../core/index.js";
import type { ImageMetadata } from "../storage/index.js";
import type { GuestDefinition } from "../driver/index.js";
import type { GuestBehaviour } from "./guest-behaviour.js";
import { arm } from "./guest-power.js";
import { claimResources, lockDisk } from "./guest-devices.js";
import { inMemory, newGuestRecord } from "./guest-record.js";
import type { GuestExtras, GuestRecord } from "./guest-record.js";
import type { FakeHostOptions } from "./host-facts.js";
import type { FakeHost, InstanceFilter, PluggedPort } from "./host.js";
import type { IdState } from "./ids.js";
import type { Content, FakeFile, FakeStorage } from "./storage.js";

type GuestData = Pick<
  GuestRecord,
  "definition" | "state" | "incoming" | "startedAt" | "runningSince" | "ranMs" | "booted" | "boots" | "hung"
>;

export interface GuestSnapshot extends GuestData {
  readonly definition: GuestDefinition;
  readonly extras: GuestExtras | undefined;
}

export interface StorageSnapshot {
  readonly name: string;
  readonly capacityBytes: number;
  readonly thick: boolean;
  readonly files: readonly FakeFile[];
  readonly tokens: readonly string[];
}

export interface HostSnapshot {
  readonly name: string;
  readonly number: number;
  readonly options: FakeHostOptions;
  readonly behaviour: GuestBehaviour;
  readonly bootedAt: number;
  readonly connected: boolean;
  readonly guests: readonly GuestSnapshot[];
  readonly ports: readonly PluggedPort[];
  readonly volumes: readonly { readonly volumeId: string; readonly type: string; readonly users: readonly string[] }[];
  readonly filters: readonly InstanceFilter[];
  readonly state: readonly (readonly [string, string])[];
  readonly imageUses: readonly (readonly [string, number])[];
  /** The one part that is not plain: a snapshot that went through JSON has lost the values, on purpose. */
  readonly secrets: readonly (readonly [string, Secret])[];
}

export interface WorldSnapshot {
  readonly version: 1;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly ids: IdState;
  readonly images: readonly {
    readonly metadata: ImageMetadata;
    readonly content: Content;
    readonly corrupt: boolean;
    readonly finished: boolean;
  }[];
  readonly volumes: StorageSnapshot;
  readonly storages: readonly StorageSnapshot[];
  readonly hosts: readonly HostSnapshot[];
  readonly behaviours: readonly (readonly [string, Partial<GuestBehaviour>])[];
  readonly partitioned: readonly string[];
}

/** @throws InvalidArgumentError for what is not a snapshot of this release. */
export function checkSnapshot(snapshot: WorldSnapshot): void {
  if ((snapshot as { readonly version: unknown }).version === 1) return;
  throw new InvalidArgumentError({ field: "snapshot.version", value: snapshot.version, expected: "1" });
}

export function saveStorage(storage: FakeStorage): StorageSnapshot {
  const { name, capacityBytes, thick, tokens } = storage;
  return { name, capacityBytes, thick, files: structuredClone([...storage.files]), tokens: [...tokens] };
}

export function loadStorage(storage: FakeStorage, snapshot: StorageSnapshot): void {
  storage.clear();
  for (const file of structuredClone(snapshot.files)) storage.add(file);
  for (const token of snapshot.tokens) storage.tokens.add(token);
}

export function saveHost(host: FakeHost): HostSnapshot {
  const { name, number, options, behaviour, bootedAt, connected } = host;
  return {
    ...structuredClone({ name, number, options, behaviour, bootedAt, connected }),
    guests: [...host.guests.values()].map(saveGuest),
    ports: structuredClone([...host.ports.values()]),
    volumes: [...host.volumes.values()].map(({ volumeId, type, users }) => ({ volumeId, type, users: [...users] })),
    filters: structuredClone([...host.filters.values()]),
    state: [...host.state],
    imageUses: [...host.imageUses],
    secrets: [...host.secrets],
  };
}

/** Makes the host what the snapshot says, with all its times moved on by `shiftMs`. */
export function loadHost(host: FakeHost, snapshot: HostSnapshot, shiftMs: number): void {
  host.clear();
  host.setBehaviour(snapshot.behaviour);
  host.bootedAt = snapshot.bootedAt + shiftMs;
  host.connected = snapshot.connected;
  for (const port of structuredClone(snapshot.ports)) {
    host.ports.set(port.id, port);
    if (port.type === "bridge") host.portByDevice.set(port.deviceName, port.id);
  }
  for (const { volumeId, type, users } of snapshot.volumes)
    host.volumes.set(volumeId, { volumeId, type, users: new Set(users) });
  for (const filter of structuredClone(snapshot.filters)) host.filters.set(filter.owner, filter);
  for (const [key, text] of snapshot.state) host.state.set(key, text);
  for (const [id, usedAt] of snapshot.imageUses) host.imageUses.set(id, usedAt + shiftMs);
  for (const [id, secret] of snapshot.secrets) if (Secret.is(secret)) host.secrets.set(id, secret);
  for (const guest of snapshot.guests) loadGuest(host, guest, shiftMs);
}

function saveGuest(record: GuestRecord): GuestSnapshot {
  const { definition, state, incoming, startedAt, runningSince, ranMs, booted, boots, hung, extras } = record;
  return structuredClone({ definition, state, incoming, startedAt, runningSince, ranMs, booted, boots, hung, extras });
}

function loadGuest(host: FakeHost, snapshot: GuestSnapshot, shiftMs: number): void {
  const data = structuredClone(snapshot);
  const moved = (time: number | undefined): number | undefined => (time === undefined ? undefined : time + shiftMs);
  const record: GuestRecord = {
    ...newGuestRecord(data.definition),
    ...data,
    startedAt: moved(data.startedAt),
    runningSince: moved(data.runningSince),
  };
  host.addGuest(record);
  if (inMemory(record)) {
    claimResources(host, record.definition);
    if (record.incoming !== "waiting")
      for (const disk of record.definition.disks) lockDisk(host, record.definition.uuid, disk);
  }
  const { extras } = record;
  if (extras === undefined) return;
  for (const port of Object.values(extras.ports)) host.consolePorts.add(port);
  extras.agenda = extras.agenda.map(({ at, action }) => ({ at: at + shiftMs, action }));
  for (const planned of extras.agenda) arm(host, record, planned);
}
