/** What must hold in a world whenever no operation is under way. */
import { inMemory } from "./guest-record.js";
import { diskObstacle, nicObstacle } from "./guest-devices.js";
import type { FakeHost } from "./host.js";
import { ledgerOf } from "./ledger.js";
import type { LedgerEntry } from "./ledger.js";

export interface InvariantOptions {
  /** Resources that may stand without an instance, for example disks that were kept on purpose. */
  readonly ignore?: (entry: LedgerEntry) => boolean;
}

/** Everything that is not as it must be, in sentences; empty when all is well. */
export function violationsOf(hosts: readonly FakeHost[], options: InvariantOptions = {}): readonly string[] {
  return [
    ...hosts.flatMap((host) => [
      ...claimViolations(host),
      ...nameViolations(host),
      ...deviceViolations(host),
      ...memoryViolations(host),
    ]),
    ...ownerViolations(hosts, options.ignore ?? (() => false)),
    ...uniquenessViolations(hosts),
  ];
}

/** What a host has claimed is what its guests in memory have, and not more than there is. */
function* claimViolations(host: FakeHost): Iterable<string> {
  const running = [...host.guests.values()].filter(inMemory).map((record) => record.definition);
  const memoryMiB = running.reduce((sum, guest) => sum + guest.memoryMiB, 0);
  const vcpus = running.reduce((sum, guest) => sum + guest.vcpus, 0);
  const { claimed } = host;
  if (claimed.memoryMiB !== memoryMiB)
    yield `${host.name}: ${claimed.memoryMiB} MiB are claimed, guests have ${memoryMiB}`;
  if (claimed.vcpus !== vcpus) yield `${host.name}: ${claimed.vcpus} vCPUs are claimed, guests have ${vcpus}`;
  if (claimed.guests !== running.length)
    yield `${host.name}: ${claimed.guests} guests are counted, ${running.length} are in memory`;
  if (memoryMiB > host.guestMemoryMiB) yield `${host.name}: guests have ${memoryMiB} MiB, more than there are`;
  const used = [...host.storage.files].reduce((sum, file) => sum + file.allocatedBytes, 0);
  if (used !== host.storage.usedBytes)
    yield `${host.storage.name}: ${host.storage.usedBytes} bytes are counted, files have ${used}`;
}

function* nameViolations(host: FakeHost): Iterable<string> {
  if (host.uuidByName.size !== host.guests.size)
    yield `${host.name}: ${host.guests.size} guests have ${host.uuidByName.size} names`;
  for (const [uuid, record] of host.guests) {
    if (record.definition.uuid !== uuid) yield `${host.name}: guest ${uuid} calls itself ${record.definition.uuid}`;
    if (host.uuidByName.get(record.definition.name) !== uuid)
      yield `${host.name}: the name of guest ${uuid} is another's`;
  }
}

/** A guest in memory has every disk and every port that it was given. */
function* deviceViolations(host: FakeHost): Iterable<string> {
  for (const record of host.guests.values()) {
    if (!inMemory(record) || record.incoming === "waiting") continue;
    const { uuid, disks, nics } = record.definition;
    const obstacles = [
      ...disks.map((disk) => diskObstacle(host, uuid, disk)),
      ...nics.map((nic) => nicObstacle(host, nic)),
    ];
    for (const obstacle of obstacles)
      if (obstacle !== undefined) yield `${host.name}: guest ${uuid} has lost ${obstacle}`;
    if (record.extras?.frozen === true) yield `${host.name}: guest ${uuid} was left frozen`;
  }
}

function* memoryViolations(host: FakeHost): Iterable<string> {
  for (const [uuid, record] of host.guests) {
    const saved = record.extras?.savedMemory !== undefined;
    if (saved !== (record.state === "suspended")) {
      yield `${host.name}: guest ${uuid} is ${record.state} and has ${saved ? "" : "no "}saved memory`;
    }
  }
}

/** Everything that a host has belongs to a guest or an instance that is there, and nothing is half-made or left from an operation. */
function* ownerViolations(hosts: readonly FakeHost[], ignore: (entry: LedgerEntry) => boolean): Iterable<string> {
  const known = new Map<string, Set<string>>();
  for (const host of hosts) {
    const owners = new Set([...host.guests.keys(), ...recorded(host)]);
    known.set(host.name, owners);
    const shared = known.get(host.storage.name) ?? new Set();
    known.set(host.storage.name, new Set([...shared, ...owners]));
  }
  for (const entry of ledgerOf(hosts)) {
    if (ignore(entry)) continue;
    const what = `${entry.place}: ${entry.kind} ${entry.id}`;
    if (entry.state === "partial") yield `${what} is half-made`;
    if (LEFTOVERS.has(entry.kind)) yield `${what} was left behind`;
    else if (entry.owner !== undefined && known.get(entry.place)?.has(entry.owner) !== true)
      yield `${what} belongs to no instance (${entry.owner})`;
  }
}

/** What no instance keeps when no operation is under way. */
const LEFTOVERS: ReadonlySet<string> = new Set(["operation", "temporaryFile", "storageToken", "incoming"]);

function recorded(host: FakeHost): readonly string[] {
  const prefix = "instances/";
  return [...host.state.keys()].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
}

/** A guest runs on one host only. */
function* uniquenessViolations(hosts: readonly FakeHost[]): Iterable<string> {
  const places = new Map<string, string>();
  for (const host of hosts) {
    for (const [uuid, record] of host.guests) {
      if (!inMemory(record) || record.incoming === "waiting") continue;
      const other = places.get(uuid);
      if (other !== undefined) yield `guest ${uuid} is in memory on ${other} and on ${host.name}`;
      places.set(uuid, host.name);
    }
  }
}
