/** Changes of a network's definition piece by piece: addresses for guests, names, groups of ports. */
import { NetworkUpdateCommand as COMMAND, NetworkUpdateSection as SECTION } from "../../../libvirt/rpc/index.js";
import { formatNetworkXml, parseNetworkXml } from "../../../libvirt/xml/index.js";
import type { NetworkRecord } from "./host-state.js";
import { readDocument } from "./read-document.js";
import { refusal } from "./refuse.js";

type NetworkDocument = NetworkRecord["document"];

export interface NetworkUpdate {
  readonly command: number;
  readonly section: number;
  readonly parentIndex: number;
  readonly xml: string;
}

/** What one piece of a section is in the document, and by which attributes two are the same. */
interface Section {
  /** Puts a piece into a network of its own, so that the parser of networks reads it. */
  readonly wrap: (xml: string) => string;
  /** The list that has the section's pieces. @throws FakeLibvirtError when the network has no place for them */
  readonly list: (document: NetworkDocument, parentIndex: number) => Piece[];
  readonly keys: readonly string[];
}

type Piece = Record<string, unknown>;

const dhcp = (document: NetworkDocument, index: number): { host?: Piece[]; range?: Piece[] } => {
  const all = document.ip ?? [];
  const ip = index < 0 ? (all.find((each) => each.dhcp !== undefined) ?? all[0]) : all[index];
  if (ip === undefined) throw refusal("operationInvalid", "network", "couldn't locate a matching <ip> element");
  return (ip.dhcp ??= {}) as { host?: Piece[]; range?: Piece[] };
};

const SECTIONS: Readonly<Record<number, Section>> = {
  [SECTION.ipDhcpHost]: {
    wrap: (xml) => `<ip address='192.0.2.1'><dhcp>${xml}</dhcp></ip>`,
    list: (document, index) => (dhcp(document, index).host ??= []),
    keys: ["mac", "ip", "name"],
  },
  [SECTION.ipDhcpRange]: {
    wrap: (xml) => `<ip address='192.0.2.1'><dhcp>${xml}</dhcp></ip>`,
    list: (document, index) => (dhcp(document, index).range ??= []),
    keys: ["start", "end"],
  },
  [SECTION.portgroup]: {
    wrap: (xml) => xml,
    list: (document) => (document.portgroup ??= []),
    keys: ["name"],
  },
  [SECTION.dnsHost]: {
    wrap: (xml) => `<dns>${xml}</dns>`,
    list: (document) => ((document.dns ??= {}).host ??= []),
    keys: ["ip"],
  },
  [SECTION.dnsTxt]: {
    wrap: (xml) => `<dns>${xml}</dns>`,
    list: (document) => ((document.dns ??= {}).txt ??= []),
    keys: ["name"],
  },
};

/** @throws FakeLibvirtError as libvirt refuses; nothing has changed then */
export function updateNetwork(network: NetworkRecord, { command, section, parentIndex, xml }: NetworkUpdate): void {
  const place = SECTIONS[section];
  if (place === undefined)
    throw refusal("operationUnsupported", "network", `can't update section ${section} of network`);
  const changed: NetworkDocument = structuredClone(network.document);
  const given = readDocument("network_update", "network", () =>
    parseNetworkXml(`<network><name>x</name>${place.wrap(xml)}</network>`),
  );
  const [piece] = place.list(given, -1);
  if (piece === undefined) throw refusal("xmlError", "network", "the piece is not one of its section");
  const list = place.list(changed, parentIndex);
  const at = list.findIndex((each) =>
    place.keys.some((key) => piece[key] !== undefined && same(each[key], piece[key])),
  );
  const known = at >= 0;
  switch (command) {
    case COMMAND.addFirst:
    case COMMAND.addLast:
      if (known) throw refusal("operationInvalid", "network", "there is an existing entry that is the same");
      if (command === COMMAND.addFirst) list.unshift(piece);
      else list.push(piece);
      break;
    case COMMAND.modify:
      if (!known) throw refusal("operationInvalid", "network", "couldn't locate an existing entry");
      list[at] = piece;
      break;
    case COMMAND.delete:
      if (!known) throw refusal("operationInvalid", "network", "couldn't locate a matching entry");
      list.splice(at, 1);
      break;
    default:
      throw refusal("invalidArg", "network", `unrecognized network update command code ${command}`);
  }
  // Empty lists are no elements.
  network.document = parseNetworkXml(formatNetworkXml(changed));
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
