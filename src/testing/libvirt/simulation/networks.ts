/** Virtual networks, network filters and their bindings. */
import { randomUUID } from "node:crypto";
import { NetworkEventLifecycleType as EVENT } from "../../../libvirt/rpc/index.js";
import type { LibvirtProtocol } from "../../../libvirt/rpc/index.js";
import {
  formatNetworkXml,
  formatNwFilterBindingXml,
  formatNwFilterXml,
  parseNetworkXml,
  parseNwFilterBindingXml,
  parseNwFilterXml,
} from "../../../libvirt/xml/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { devicesOf } from "./device-names.js";
import type { HostState, NetworkRecord } from "./host-state.js";
import { networkPortHandlers } from "./network-ports.js";
import { updateNetwork } from "./network-update.js";
import { readDocument } from "./read-document.js";
import { refusal } from "./refuse.js";

const LIST = { inactive: 1, active: 2, persistent: 4, transient: 8 } as const;

export function networkHandlers(host: HostState): FakeLibvirtHandlers {
  const found = ({ uuid, name }: LibvirtProtocol.RemoteNetwork): NetworkRecord => {
    const network = host.networks.get(uuid);
    if (network === undefined)
      throw refusal("noNetwork", "network", `Network not found: no network with matching uuid '${uuid}' (${name})`);
    return network;
  };
  const named = (name: string): NetworkRecord => {
    const network = [...host.networks.values()].find((each) => each.name === name);
    if (network === undefined)
      throw refusal("noNetwork", "network", `Network not found: no network with matching name '${name}'`);
    return network;
  };
  const reference = ({ uuid, name }: NetworkRecord): LibvirtProtocol.RemoteNetwork => ({ uuid, name });
  const tell = (network: NetworkRecord, event: number): void =>
    host.emit("network", "lifecycle", { net: reference(network), event, detail: 0 });
  const define = (xml: string): LibvirtProtocol.RemoteNetwork => {
    const network = addNetwork(host, xml);
    network.persistent = true;
    tell(network, EVENT.defined);
    return reference(network);
  };
  const createTransient = (xml: string): LibvirtProtocol.RemoteNetwork => {
    const network = addNetwork(host, xml);
    if (network.active)
      throw refusal(
        "operationInvalid",
        "network",
        `network '${network.name}' is already active as uuid ${network.uuid}`,
      );
    network.active = true;
    tell(network, EVENT.started);
    return reference(network);
  };
  return {
    networkLookupByName: ({ name }) => ({ net: reference(named(name)) }),
    networkLookupByUuid: ({ uuid }) => ({ net: reference(found({ uuid, name: "" })) }),
    networkDefineXml: ({ xml }) => ({ net: define(xml) }),
    networkDefineXmlFlags: ({ xml }) => ({ net: define(xml) }),
    networkCreateXml: ({ xml }) => ({ net: createTransient(xml) }),
    networkCreateXmlFlags: ({ xml }) => ({ net: createTransient(xml) }),
    networkCreate({ net }) {
      const network = found(net);
      if (network.active) throw refusal("operationInvalid", "network", "network is already active");
      network.active = true;
      tell(network, EVENT.started);
      return {};
    },
    networkDestroy({ net }) {
      const network = found(net);
      if (!network.active) throw refusal("operationInvalid", "network", `network '${network.name}' is not active`);
      network.active = false;
      tell(network, EVENT.stopped);
      if (!network.persistent) host.networks.delete(network.uuid);
      return {};
    },
    networkUndefine({ net }) {
      const network = found(net);
      network.persistent = false;
      tell(network, EVENT.undefined);
      if (!network.active) host.networks.delete(network.uuid);
      return {};
    },
    networkGetXmlDesc: ({ net }) => ({ xml: formatNetworkXml(found(net).document) }),
    networkGetBridgeName({ net }) {
      const name = found(net).document.bridge?.name;
      if (name === undefined) throw refusal("internalError", "network", "network has no bridge name");
      return { name };
    },
    networkIsActive: ({ net }) => ({ active: found(net).active ? 1 : 0 }),
    networkIsPersistent: ({ net }) => ({ persistent: found(net).persistent ? 1 : 0 }),
    networkGetAutostart: ({ net }) => ({ autostart: found(net).autostart ? 1 : 0 }),
    networkSetAutostart({ net, autostart }) {
      found(net).autostart = autostart !== 0;
      return {};
    },
    networkGetDhcpLeases({ net }) {
      found(net);
      return { leases: [], ret: 0 };
    },
    connectListAllNetworks({ flags }) {
      const nets = [...host.networks.values()].filter((network) => isListed(network, flags)).map(reference);
      return { nets, ret: nets.length };
    },
    networkUpdate({ net, command, section, parentIndex, xml }) {
      updateNetwork(found(net), { command, section, parentIndex, xml });
      return {};
    },
    ...networkPortHandlers(found),
    connectListNetworks: ({ maxnames }) => ({ names: namesOf(host, true).slice(0, maxnames) }),
    connectListDefinedNetworks: ({ maxnames }) => ({ names: namesOf(host, false).slice(0, maxnames) }),
    connectNumOfDefinedNetworks: () => ({ num: namesOf(host, false).length }),
    connectNumOfNetworks: () => ({ num: [...host.networks.values()].filter(({ active }) => active).length }),
  };
}

function namesOf(host: HostState, isActive: boolean): string[] {
  return [...host.networks.values()].flatMap(({ active, name }) => (active === isActive ? [name] : []));
}

function isListed({ active, persistent }: NetworkRecord, flags: number): boolean {
  if ((flags & (LIST.active | LIST.inactive)) !== 0 && (flags & (active ? LIST.active : LIST.inactive)) === 0)
    return false;
  const kept = persistent ? LIST.persistent : LIST.transient;
  return (flags & (LIST.persistent | LIST.transient)) === 0 || (flags & kept) !== 0;
}

/** Takes a network's definition. @throws FakeLibvirtError with the codes of libvirt's parser */
export function addNetwork(host: HostState, xml: string): NetworkRecord {
  const document = readDocument("network", "network", () => parseNetworkXml(xml));
  const { name } = document;
  if (name === undefined) throw refusal("xmlError", "network", "missing network name");
  const namesake = [...host.networks.values()].find((each) => each.name === name);
  const uuid = document.uuid ?? namesake?.uuid ?? randomUUID();
  if (namesake !== undefined && namesake.uuid !== uuid)
    throw refusal("operationFailed", "network", `network '${name}' already exists with uuid ${namesake.uuid}`);
  document.uuid = uuid;
  const known = host.networks.get(uuid);
  if (known !== undefined) {
    known.document = document;
    return known;
  }
  const network: NetworkRecord = {
    document,
    uuid,
    name,
    active: false,
    persistent: false,
    autostart: false,
    ports: new Map(),
  };
  host.networks.set(uuid, network);
  return network;
}

export function nwFilterHandlers(host: HostState): FakeLibvirtHandlers {
  const reference = (name: string): LibvirtProtocol.RemoteNwFilter => ({
    name,
    uuid: host.nwFilters.get(name)?.uuid ?? "",
  });
  const named = (name: string): string => {
    if (!host.nwFilters.has(name))
      throw refusal("noNwfilter", "nwfilter", `Network filter not found: no nwfilter with matching name '${name}'`);
    return name;
  };
  const define = (xml: string): LibvirtProtocol.RemoteNwFilter => {
    const document = readDocument("filter", "nwfilter", () => parseNwFilterXml(xml));
    const { name } = document;
    if (name === undefined) throw refusal("internalError", "nwfilter", "filter has no name");
    const known = host.nwFilters.get(name);
    document.uuid ??= known?.uuid ?? randomUUID();
    if (known !== undefined && known.uuid !== document.uuid)
      throw refusal(
        "operationFailed",
        "nwfilter",
        `filter with same UUID but different name ('${name}') already exists`,
      );
    for (const { filter } of document.filterref ?? [])
      if (filter !== undefined && filter !== name && !host.nwFilters.has(filter))
        throw refusal("internalError", "nwfilter", `referenced filter '${filter}' is missing`);
    host.nwFilters.set(name, document);
    return reference(name);
  };
  return {
    nwFilterDefineXml: ({ xml }) => ({ nwFilter: define(xml) }),
    nwFilterDefineXmlFlags: ({ xml }) => ({ nwFilter: define(xml) }),
    nwFilterLookupByName: ({ name }) => ({ nwFilter: reference(named(name)) }),
    nwFilterLookupByUuid({ uuid }) {
      const name = [...host.nwFilters].find(([, document]) => document.uuid === uuid)?.[0];
      return { nwFilter: reference(named(name ?? uuid)) };
    },
    nwFilterGetXmlDesc: ({ nwFilter }) => ({ xml: formatNwFilterXml(host.nwFilters.get(named(nwFilter.name)) ?? {}) }),
    nwFilterUndefine({ nwFilter }) {
      const name = named(nwFilter.name);
      if (isUsed(host, name)) throw refusal("operationInvalid", "nwfilter", "nwfilter is in use");
      host.nwFilters.delete(name);
      return {};
    },
    connectListAllNwFilters() {
      const filters = [...host.nwFilters.keys()].map(reference);
      return { filters, ret: filters.length };
    },
    connectNumOfNwFilters: () => ({ num: host.nwFilters.size }),
    ...bindingHandlers(host),
  };
}

/** Whether a running domain, a binding or another filter refers to it. */
function isUsed(host: HostState, name: string): boolean {
  const byFilter = [...host.nwFilters.values()].some(({ filterref }) =>
    filterref?.some(({ filter }) => filter === name),
  );
  const byDomain = [...host.domains.values()].some(
    ({ live }) =>
      live !== undefined &&
      (devicesOf(live, "interface") as { filterref?: { filter?: string } }[]).some(
        ({ filterref }) => filterref?.filter === name,
      ),
  );
  return (
    byFilter || byDomain || [...host.nwFilterBindings.values()].some(({ filterref }) => filterref?.filter === name)
  );
}

function bindingHandlers(host: HostState): FakeLibvirtHandlers {
  const reference = (portdev: string): LibvirtProtocol.RemoteNwFilterBinding => ({
    portdev,
    filtername: host.nwFilterBindings.get(portdev)?.filterref?.filter ?? "",
  });
  const known = (portdev: string): string => {
    if (!host.nwFilterBindings.has(portdev))
      throw refusal(
        "noNwfilterBinding",
        "nwfilter",
        `Network filter binding not found: no nwfilter binding for port dev '${portdev}'`,
      );
    return portdev;
  };
  return {
    nwFilterBindingCreateXml({ xml }) {
      const document = readDocument("filterbinding", "nwfilter", () => parseNwFilterBindingXml(xml));
      const portdev = document.portdev?.name;
      if (portdev === undefined) throw refusal("internalError", "nwfilter", "filter binding has no portdev");
      if (host.nwFilterBindings.has(portdev))
        throw refusal("operationFailed", "nwfilter", `nwfilter binding '${portdev}' already exists`);
      host.nwFilterBindings.set(portdev, document);
      return { nwFilter: reference(portdev) };
    },
    nwFilterBindingLookupByPortDev: ({ name }) => ({ nwFilter: reference(known(name)) }),
    nwFilterBindingGetXmlDesc: ({ nwFilter }) => ({
      xml: formatNwFilterBindingXml(host.nwFilterBindings.get(known(nwFilter.portdev)) ?? {}),
    }),
    nwFilterBindingDelete({ nwFilter }) {
      host.nwFilterBindings.delete(known(nwFilter.portdev));
      return {};
    },
    connectListAllNwFilterBindings() {
      const bindings = [...host.nwFilterBindings.keys()].map(reference);
      return { bindings, ret: bindings.length };
    },
  };
}
