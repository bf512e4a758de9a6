/** Everything that instances have on the hosts of a world, as a list that a test compares before and after. */
import { inMemory } from "./guest-record.js";
import type { FakeHost } from "./host.js";
import type { FakeFile, FakeStorage } from "./storage.js";

export const RESOURCE_KINDS = [
  ...["definition", "guest", "incoming", "memoryMiB", "vcpus", "consolePort", "frozen"],
  ...["disk", "parkedDisk", "savedMemory", "temporaryFile", "exportedFile", "storageToken", "image"],
  ...["port", "filter", "volumeConnection", "secret", "record", "operation"],
] as const;
export type ResourceKind = (typeof RESOURCE_KINDS)[number];

export interface LedgerEntry {
  /** Name of the host, or of the storage that hosts share. */
  readonly place: string;
  readonly kind: ResourceKind;
  readonly id: string;
  /** Uuid of the instance that it belongs to, where that can be told. */
  readonly owner?: string;
  readonly amount?: number;
  /** `partial`: half-made. Otherwise how it stands. */
  readonly state?: string;
}

export interface LedgerOptions {
  /** Caches too: images that hosts keep, which are no leak. Default false. */
  readonly caches?: boolean;
}

/** All resources of the hosts and their storage, sorted. */
export function ledgerOf(hosts: Iterable<FakeHost>, options: LedgerOptions = {}): readonly LedgerEntry[] {
  const entries: LedgerEntry[] = [];
  const storages = new Set<FakeStorage>();
  for (const host of hosts) {
    storages.add(host.storage);
    for (const entry of guestEntries(host)) entries.push(entry);
    for (const entry of hostEntries(host)) entries.push(entry);
  }
  for (const storage of storages) for (const entry of storageEntries(storage, options)) entries.push(entry);
  return entries.sort(byPlace);
}

export interface LedgerDifference {
  readonly added: readonly LedgerEntry[];
  readonly removed: readonly LedgerEntry[];
}

/** What came and what went; an entry of which anything changed counts as both. Pure. */
export function diffLedgers(before: readonly LedgerEntry[], after: readonly LedgerEntry[]): LedgerDifference {
  const had = new Set(before.map(textOf));
  const has = new Set(after.map(textOf));
  return {
    added: after.filter((entry) => !had.has(textOf(entry))),
    removed: before.filter((entry) => !has.has(textOf(entry))),
  };
}

function* guestEntries(host: FakeHost): Iterable<LedgerEntry> {
  const place = host.name;
  for (const record of host.guests.values()) {
    const { uuid: owner, name, memoryMiB, vcpus } = record.definition;
    yield { place, kind: "definition", id: name, owner };
    if (inMemory(record)) {
      yield { place, kind: "guest", id: owner, owner, state: record.state };
      yield { place, kind: "memoryMiB", id: owner, owner, amount: memoryMiB };
      yield { place, kind: "vcpus", id: owner, owner, amount: vcpus };
    }
    if (record.incoming !== undefined) yield { place, kind: "incoming", id: owner, owner, state: record.incoming };
    if (record.extras?.frozen === true) yield { place, kind: "frozen", id: owner, owner };
    for (const [kind, port] of Object.entries(record.extras?.ports ?? {})) {
      yield { place, kind: "consolePort", id: String(port), owner, state: kind };
    }
  }
}

function* hostEntries(host: FakeHost): Iterable<LedgerEntry> {
  const place = host.name;
  for (const port of host.ports.values()) {
    const whole = port.type === "user" || port.bridged;
    yield { place, kind: "port", id: port.id, owner: port.owner, state: whole ? port.deviceName || "user" : "partial" };
  }
  for (const filter of host.filters.values())
    yield { place, kind: "filter", id: filter.owner, owner: filter.owner, state: filter.stage };
  for (const { volumeId, users } of host.volumes.values()) {
    if (users.size === 0) yield { place, kind: "volumeConnection", id: volumeId, state: "partial" };
    for (const owner of users) yield { place, kind: "volumeConnection", id: volumeId, owner };
  }
  for (const id of host.secrets.keys()) yield { place, kind: "secret", id };
  for (const key of host.state.keys()) {
    const id = key.slice(key.indexOf("/") + 1);
    if (key.startsWith("instances/")) yield { place, kind: "record", id, owner: id };
    if (key.startsWith("operations/")) yield { place, kind: "operation", id };
  }
}

function* storageEntries(storage: FakeStorage, options: LedgerOptions): Iterable<LedgerEntry> {
  const place = storage.name;
  for (const file of storage.files) {
    if (file.kind === "volumeFile" || (file.kind === "image" && options.caches !== true)) continue;
    yield {
      place,
      kind: file.kind,
      id: fileId(file),
      ...(file.owner === undefined ? {} : { owner: file.owner }),
      ...stateOf(file),
    };
  }
  for (const token of storage.tokens) yield { place, kind: "storageToken", id: token };
}

function fileId(file: FakeFile): string {
  if (file.kind === "exportedFile") return file.path;
  return file.label === undefined ? file.name : `${file.label}/${file.name}`;
}

function stateOf(file: FakeFile): { readonly amount: number; readonly state?: string } {
  return { amount: file.virtualSizeBytes, ...(file.complete ? {} : { state: "partial" }) };
}

function byPlace(a: LedgerEntry, b: LedgerEntry): number {
  return (
    compare(a.place, b.place) || compare(a.kind, b.kind) || compare(a.owner ?? "", b.owner ?? "") || compare(a.id, b.id)
  );
}

function textOf(entry: LedgerEntry): string {
  return JSON.stringify([entry.place, entry.kind, entry.id, entry.owner, entry.amount, entry.state]);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
