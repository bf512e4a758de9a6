/** Ports of virtual networks: what each guest's interface has of one. */
import { randomUUID } from "node:crypto";
import { parametersToObject } from "../../../libvirt/rpc/index.js";
import type { LibvirtProtocol, TypedParameter } from "../../../libvirt/rpc/index.js";
import { formatNetworkPortXml, parseNetworkPortXml } from "../../../libvirt/xml/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import type { NetworkPortRecord, NetworkRecord } from "./host-state.js";
import { readDocument } from "./read-document.js";
import { refusal } from "./refuse.js";
import { checkParameters } from "./typed-numbers.js";
import type { ParameterTable } from "./typed-numbers.js";

type Reference = LibvirtProtocol.RemoteNetworkPort;

const NUMBERS = ["average", "peak", "burst", "floor"] as const;
const BANDWIDTH: ParameterTable = ["inbound", "outbound"].flatMap((way) =>
  NUMBERS.map((name): readonly [string, "uint"] => [`${way}.${name}`, "uint"]),
);

export function networkPortHandlers(
  found: (network: LibvirtProtocol.RemoteNetwork) => NetworkRecord,
): FakeLibvirtHandlers {
  const port = ({ net, uuid }: Reference): { network: NetworkRecord; record: NetworkPortRecord } => {
    const network = found(net);
    const record = network.ports.get(uuid);
    if (record === undefined)
      throw refusal(
        "noNetworkPort",
        "network",
        `network port not found: Network port with UUID ${uuid} does not exist`,
      );
    return { network, record };
  };
  return {
    networkListAllPorts({ network }) {
      const ports = [...found(network).ports.keys()].map((uuid): Reference => ({ net: network, uuid }));
      return { ports, ret: ports.length };
    },
    networkPortLookupByUuid({ network, uuid }) {
      port({ net: network, uuid });
      return { port: { net: network, uuid } };
    },
    networkPortCreateXml({ network, xml }) {
      const record = found(network);
      if (!record.active) throw refusal("operationInvalid", "network", `network '${record.name}' is not active`);
      const document = readDocument("networkport", "network", () => parseNetworkPortXml(xml));
      const uuid = document.uuid?.toLowerCase() ?? randomUUID();
      if (record.ports.has(uuid))
        throw refusal("networkPortExist", "network", `Network port with UUID ${uuid} already exists exists already`);
      const bridge = record.document.bridge?.name;
      if (bridge !== undefined) document.plug ??= { type: "bridge", bridge };
      record.ports.set(uuid, Object.assign(document, { uuid }));
      return { port: { net: network, uuid } };
    },
    networkPortGetXmlDesc: ({ port: reference }) => ({ xml: formatNetworkPortXml(port(reference).record) }),
    networkPortGetParameters({ port: reference, nparams }) {
      const params = bandwidthOf(port(reference).record);
      return { params: nparams === 0 ? [] : params.slice(0, nparams), nparams: params.length };
    },
    networkPortSetParameters({ port: reference, params }) {
      const { record } = port(reference);
      checkParameters(params, BANDWIDTH);
      const values = parametersToObject(params) as Readonly<Record<string, number>>;
      for (const way of ["inbound", "outbound"] as const) {
        const given = NUMBERS.flatMap((name) => {
          const value = values[`${way}.${name}`];
          return value === undefined ? [] : [[name, value]];
        });
        const numbers = { ...record.bandwidth?.[way], ...(Object.fromEntries(given) as object) };
        if (given.length > 0) record.bandwidth = { ...record.bandwidth, [way]: numbers };
      }
      return {};
    },
    networkPortDelete({ port: reference }) {
      const { network, record } = port(reference);
      network.ports.delete(record.uuid);
      return {};
    },
  };
}

function bandwidthOf({ bandwidth }: NetworkPortRecord): TypedParameter[] {
  return (["inbound", "outbound"] as const).flatMap((way) => {
    const numbers = bandwidth?.[way];
    if (numbers === undefined) return [];
    return NUMBERS.map((name): TypedParameter => ({
      field: `${way}.${name}`,
      type: "uint",
      value: Number((numbers as Readonly<Record<string, unknown>>)[name] ?? 0),
    }));
  });
}
