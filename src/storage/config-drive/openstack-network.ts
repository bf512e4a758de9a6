/** OpenStack's `network_data.json`: links, the networks on them, and name servers. */
import type { JsonObject } from "../../core/index.js";
import type { LinkNetwork, NetworkLink, NetworkRoute } from "./config-drive-content.js";
import { everywhere, netmaskOf } from "./netmask.js";

export function networkData(links: readonly NetworkLink[]): JsonObject {
  const all = links.flatMap((link) => link.networks.map((network) => ({ link, network })));
  const servers = [...new Set(all.flatMap(({ network }) => network.dnsServers))];
  return {
    links: links.map(linkOf),
    networks: all.map(({ link, network }, i) => networkOf(network, link, i)),
    services: servers.map(service),
  };
}

function linkOf({ id, type, vifId, macAddress, mtu }: NetworkLink): JsonObject {
  return { id, vif_id: vifId, type, mtu: mtu ?? null, ethernet_mac_address: macAddress };
}

function networkOf(network: LinkNetwork, link: NetworkLink, index: number): JsonObject {
  const { version, method, networkId, address, prefixLength } = network;
  const common = { id: `network${index}`, link: link.id, network_id: networkId };
  if (method === "dhcp") return { ...common, type: `ipv${version}_dhcp` };
  return {
    ...common,
    type: `ipv${version}`,
    ip_address: address ?? null,
    netmask: netmaskOf(version, prefixLength ?? 0),
    routes: routesOf(network).map((route) => routeOf(route, version)),
    services: network.dnsServers.map(service),
  };
}

function service(address: string): JsonObject {
  return { type: "dns", address };
}

function routeOf({ destination, nextHop }: NetworkRoute, version: 4 | 6): JsonObject {
  const [network = "", length = "0"] = destination.split("/");
  return { network, netmask: netmaskOf(version, Number(length)), gateway: nextHop };
}

/** The default route first. */
export function routesOf({ version, gateway, routes }: LinkNetwork): readonly NetworkRoute[] {
  return gateway === undefined ? routes : [{ destination: everywhere(version), nextHop: gateway }, ...routes];
}
