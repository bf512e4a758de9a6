/** Policies as libvirt's network filters: one for each group and port, which libvirt makes rules of for ebtables and iptables. */
import { randomBytes } from "node:crypto";
import { InvalidArgumentError, NotSupportedError } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { FirewallError } from "../errors.js";
import { BridgeNetfilter } from "../nftables/bridge-netfilter.js";
import { isDecided, portsOf } from "../policy/address-places.js";
import type { OwnedPort } from "../policy/address-places.js";
import type { FilterCounter, FirewallBackend, PortCounters } from "../policy/firewall-backend.js";
import type { PolicyChange, PolicyState } from "../policy/policy-state.js";
import type { InstancePolicy } from "../policy/port-policy.js";
import { ChainGuard } from "./chain-guard.js";
import { deviceIndex } from "./device-index.js";
import { fingerprint } from "./filter-document.js";
import type { FilterDocument } from "./filter-document.js";
import { asFirewallError, FilterTransaction } from "./filter-transaction.js";
import type { FilterStock } from "./filter-transaction.js";
import { hasUntracked } from "./match-rules.js";
import { groupName, isOurs, isPortName, sharedName, untrackedGroupName } from "./names.js";
import type { NwfilterHost, PortBinding } from "./nwfilter-host.js";
import { byName, groupFilters, nameOf, portFilter, providerFilter } from "./policy-filters.js";
import { portCounters } from "./rule-counters.js";
import { sharedFilters } from "./shared-filters.js";

export interface NwfilterBackendOptions {
  readonly host: NwfilterHost;
  readonly commands: CommandRunner;
  readonly clock: Clock;
  readonly prefix: string;
  /** Who has libvirt apply filters to ports: this driver, or domains that refer to them. */
  readonly bindings: "driver" | "domain";
  readonly inUseMs: number;
  /** The number by which the kernel knows an interface now; `undefined`: there is none. Default: asks the kernel. */
  readonly indexOf?: (deviceName: string) => Promise<number | undefined>;
}

interface InForce {
  readonly stock: FilterStock;
  /** What each filter is, by name. */
  readonly fingerprints: Map<string, string>;
  /** Stands in the filter that all ports refer to. */
  readonly mark: string;
}

export class NwfilterBackend implements FirewallBackend {
  readonly #options: NwfilterBackendOptions;
  readonly #bridges: BridgeNetfilter;
  readonly #indexOf: (deviceName: string) => Promise<number | undefined>;
  readonly #guard: ChainGuard;
  #guarded = false;
  #inForce: InForce | undefined;

  constructor(options: NwfilterBackendOptions) {
    this.#options = options;
    this.#bridges = new BridgeNetfilter(options.commands);
    this.#guard = new ChainGuard(options.commands, options.prefix);
    this.#indexOf = options.indexOf ?? deviceIndex;
  }

  replace(state: PolicyState): Promise<void> {
    return told(() => this.#replace(state));
  }

  commit(change: PolicyChange): Promise<void> {
    return told(() => this.#commit(change));
  }

  intact(): Promise<boolean> {
    return told(() => this.#intact());
  }

  remove(): Promise<void> {
    return told(() => this.#remove());
  }

  check(instance: InstancePolicy): void {
    const macs = new Set<string>();
    instance.ports.forEach(({ macAddress }, index) => {
      if (macs.has(macAddress))
        throw new InvalidArgumentError({
          field: `instance.ports[${index}].macAddress`,
          value: macAddress,
          expected: "no other port's of the instance",
        });
      macs.add(macAddress);
    });
  }

  plan(state: PolicyState, instance: InstancePolicy): string {
    const { host, prefix } = this.#options;
    const mark = this.#inForce?.mark ?? "plan";
    const documents = [
      ...sharedFilters(prefix, mark),
      providerFilter(prefix, state),
      ...[...state.groups.keys()]
        .filter((id) => instance.ports.some(({ groups }) => groups?.includes(id)))
        .flatMap((id) => groupFilters(prefix, id, state)),
      ...portsOf(instance).map((owned) => portFilter(prefix, owned, state)),
    ];
    return documents.map((document) => host.format(document).trimEnd() + "\n").join("");
  }

  async portCounters(instance: InstancePolicy): Promise<readonly PortCounters[]> {
    const decided = instance.ports.filter(({ groups }) => groups !== undefined);
    return Promise.all(
      decided.map(async ({ id, deviceName }) => ({
        portId: id,
        ...(await portCounters(this.#options.commands, deviceName)),
      })),
    );
  }

  groupCounter(): Promise<FilterCounter> {
    return Promise.reject(
      new NotSupportedError({
        capability: "counters of security groups",
        message: "libvirt's filters don't count by security group",
        remedy: "Read the counters of ports, or use the nftables driver.",
      }),
    );
  }

  async #replace(state: PolicyState): Promise<void> {
    const { host, prefix } = this.#options;
    await host.open();
    const [known, bound] = await Promise.all([host.filters(), this.#boundPorts()]);
    const stock: FilterStock = {
      uuids: new Map(known.filter(({ name }) => isOurs(prefix, name)).map(({ name, uuid }) => [name, uuid])),
      bindings: new Map(),
    };
    const base = sharedName(prefix, "base");
    // What an earlier process has left counts as being in force; what is made anew in one process is so because it may not be.
    const former = this.#inForce === undefined && stock.uuids.has(base) ? await host.markOf(base) : undefined;
    const mark = former ?? randomBytes(8).toString("hex");
    const ports = [...state.instances.values()].flatMap(portsOf);
    const filters = await this.#portFilters(ports, state);
    const policies = [...state.groups.keys()].flatMap((id) => groupFilters(prefix, id, state));
    const documents = byName([
      ...sharedFilters(prefix, mark),
      providerFilter(prefix, state),
      ...policies,
      ...filters.values(),
    ]);
    await this.#lead(ports, true);
    const wanted = new Map(ports.map((owned) => [owned.port.deviceName, this.#bindingOf(owned)]));
    await FilterTransaction.run({ ...this.#options, stock }, async (transaction) => {
      for (const document of documents.values()) await transaction.define(document);
      if (this.#options.bindings === "driver") {
        for (const { deviceName, filter } of bound) {
          const binding = wanted.get(deviceName);
          if (binding?.filter === filter) stock.bindings.set(deviceName, binding);
          else await transaction.unbind(deviceName);
        }
        for (const binding of wanted.values()) {
          // Of a guest that does not run, or no longer.
          if (stock.bindings.has(binding.deviceName) || (await this.#indexOf(binding.deviceName)) === undefined)
            continue;
          await transaction.bind(binding);
        }
      }
      const left = [...stock.uuids.keys()].filter((name) => !documents.has(name));
      // Those that refer to others go first.
      left.sort((one, other) => Number(isPortName(prefix, other)) - Number(isPortName(prefix, one)));
      for (const name of left) await transaction.undefine(name);
    });
    this.#inForce = { stock, mark, fingerprints: fingerprintsOf(documents.values()) };
  }

  async #commit(change: PolicyChange): Promise<void> {
    const inForce = this.#inForce;
    if (inForce === undefined) return this.#replace(change.after);
    if (!(await this.#intact())) throw new FirewallError("somebody else has changed libvirt's filters");
    const { prefix } = this.#options;
    const { before, after, instances } = change;
    const { stock, fingerprints } = inForce;
    const was = [...instances].flatMap((uuid) => portsOf(before.instances.get(uuid)));
    const is = [...instances].flatMap((uuid) => portsOf(after.instances.get(uuid)));
    const touched = groupsTouched(change);
    const others = portsThatLookDifferently(change, touched).filter(({ instance }) => !instances.has(instance.uuid));
    const groups = [...touched].flatMap((id) => groupFilters(prefix, id, after));
    const ports = await this.#portFilters([...is, ...others], after);
    this.#refuseSharing(is, after, instances);
    const next = byName([
      ...(change.providerRules ? [providerFilter(prefix, after)] : []),
      ...groups,
      ...ports.values(),
    ]);
    const gone = [
      ...was.map((owned) => nameOf(prefix, owned)),
      ...[...touched].flatMap((id) => [
        groupName(prefix, id),
        untrackedGroupName(prefix, id, 4),
        untrackedGroupName(prefix, id, 6),
      ]),
    ].filter((name) => !next.has(name));
    await this.#lead(is, false);
    await FilterTransaction.run({ ...this.#options, stock }, async (transaction) => {
      for (const document of next.values())
        if (fingerprints.get(document.name) !== fingerprint(document)) await transaction.define(document);
      if (this.#options.bindings === "driver") await this.#rebind(transaction, stock, was, is);
      for (const name of new Set(gone)) await transaction.undefine(name);
    });
    for (const document of next.values()) fingerprints.set(document.name, fingerprint(document));
    for (const name of gone) fingerprints.delete(name);
    await this.#bridges.switchOffUnused(was.filter(hasBridge), after);
  }

  async #intact(): Promise<boolean> {
    if (this.#inForce === undefined) return false;
    const { host, prefix } = this.#options;
    const { stock, mark } = this.#inForce;
    const [known, bound] = await Promise.all([host.filters(), this.#boundPorts()]);
    const uuids = new Map(known.map(({ name, uuid }) => [name, uuid]));
    if ([...stock.uuids].some(([name, uuid]) => uuids.get(name) !== uuid)) return false;
    const filters = new Map(bound.map(({ deviceName, filter }) => [deviceName, filter]));
    if ([...stock.bindings.values()].some(({ deviceName, filter }) => filters.get(deviceName) !== filter)) return false;
    return (await host.markOf(sharedName(prefix, "base"))) === mark;
  }

  async #remove(): Promise<void> {
    const { host, prefix } = this.#options;
    await host.open();
    const [known, bound] = await Promise.all([host.filters(), this.#boundPorts()]);
    const stock: FilterStock = {
      uuids: new Map(known.filter(({ name }) => isOurs(prefix, name)).map(({ name, uuid }) => [name, uuid])),
      bindings: this.#inForce?.stock.bindings ?? new Map<string, PortBinding>(),
    };
    const base = sharedName(prefix, "base");
    await FilterTransaction.run({ ...this.#options, stock }, async (transaction) => {
      if (this.#options.bindings === "driver") for (const { deviceName } of bound) await transaction.unbind(deviceName);
      const names = [...stock.uuids.keys()];
      const rank = (name: string): number => (isPortName(prefix, name) ? 0 : name === base ? 1 : 2);
      for (const name of names.sort((one, other) => rank(one) - rank(other))) await transaction.undefine(name);
    });
    this.#inForce = undefined;
    await this.#guard.lower();
    this.#guarded = false;
    await this.#bridges.switchAllOff();
  }

  async #boundPorts(): Promise<readonly { readonly deviceName: string; readonly filter: string }[]> {
    const { host, prefix, bindings } = this.#options;
    if (bindings === "domain") return [];
    return (await host.bindings()).filter(({ filter }) => isPortName(prefix, filter));
  }

  /** A port's filter knows which interface it was made for: for another of the same name libvirt has to make the rules anew. */
  async #portFilters(ports: readonly OwnedPort[], state: PolicyState): Promise<Map<OwnedPort, FilterDocument>> {
    const { prefix, bindings } = this.#options;
    const documents = await Promise.all(
      ports.map(async (owned): Promise<[OwnedPort, FilterDocument]> => {
        const index = bindings === "driver" ? await this.#indexOf(owned.port.deviceName) : undefined;
        return [owned, portFilter(prefix, owned, state, index === undefined ? undefined : `interface ${index}`)];
      }),
    );
    return new Map(documents);
  }

  #bindingOf(owned: OwnedPort): PortBinding {
    const { instance, port } = owned;
    return {
      deviceName: port.deviceName,
      filter: nameOf(this.#options.prefix, owned),
      macAddress: port.macAddress,
      owner: { uuid: instance.uuid, name: instance.name },
    };
  }

  async #rebind(
    transaction: FilterTransaction,
    stock: FilterStock,
    was: readonly OwnedPort[],
    is: readonly OwnedPort[],
  ): Promise<void> {
    const wanted = new Map(is.map((owned) => [owned.port.deviceName, this.#bindingOf(owned)]));
    for (const { deviceName } of was.map(({ port }) => port)) {
      const bound = stock.bindings.get(deviceName);
      if (bound !== undefined && wanted.get(deviceName)?.filter !== bound.filter) await transaction.unbind(deviceName);
    }
    for (const binding of wanted.values()) {
      if (stock.bindings.has(binding.deviceName)) continue;
      if ((await this.#indexOf(binding.deviceName)) === undefined)
        throw new FirewallError("the port's interface is not there", {
          instance: binding.owner,
          detail: binding.deviceName,
        });
      await transaction.bind(binding);
    }
  }

  /** Two ports with one filter would undo each other's. */
  #refuseSharing(ports: readonly OwnedPort[], state: PolicyState, instances: ReadonlySet<string>): void {
    const { prefix } = this.#options;
    const others = new Map(
      [...state.instances.values()]
        .filter(({ uuid }) => !instances.has(uuid))
        .flatMap(portsOf)
        .map((owned) => [nameOf(prefix, owned), owned] as const),
    );
    byName(
      ports.flatMap((owned) => {
        const other = others.get(nameOf(prefix, owned));
        return [owned, ...(other === undefined ? [] : [other])].map((one) => portFilter(prefix, one, state));
      }),
    );
  }

  /** Has the packets of ports come to where their groups decide. */
  async #lead(ports: readonly OwnedPort[], again: boolean): Promise<void> {
    if (!ports.some(isDecided)) return;
    await this.#bridges.switchOnFor(ports.filter(hasBridge));
    if (this.#guarded && !again) return;
    await this.#guard.raise();
    this.#guarded = true;
  }
}

/** Libvirt's errors as a firewall's. */
async function told<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw asFirewallError(error);
  }
}

function hasBridge({ port }: OwnedPort): boolean {
  return port.bridge !== undefined;
}

/** Groups whose filters may be others: those that changed, and those whose rules refer to members that did. */
function groupsTouched({ after, groups, members }: PolicyChange): ReadonlySet<string> {
  const touched = new Set(groups);
  if (members.size > 0)
    for (const group of after.groups.values())
      if ([...members].some((id) => group.remotes.has(id))) touched.add(group.id);
  return touched;
}

/** Ports whose groups begin or cease to speak of protocols without connections. */
function portsThatLookDifferently({ before, after }: PolicyChange, touched: ReadonlySet<string>): OwnedPort[] {
  const changed = [...touched].filter(
    (id) => hasUntracked(before.groups.get(id)) !== hasUntracked(after.groups.get(id)),
  );
  if (changed.length === 0) return [];
  return [...after.instances.values()]
    .flatMap(portsOf)
    .filter(({ port }) => changed.some((id) => port.groups?.includes(id)));
}

function fingerprintsOf(documents: Iterable<FilterDocument>): Map<string, string> {
  return new Map([...documents].map((document) => [document.name, fingerprint(document)]));
}
