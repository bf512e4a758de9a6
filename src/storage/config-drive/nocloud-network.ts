/** A NoCloud seed's `network-config`, in cloud-init's versions 1 and 2. NICs are found by their MAC addresses and become `eth0`, `eth1`, … */
import type { JsonObject } from "../../core/index.js";
import type { LinkNetwork, NetworkLink } from "./config-drive-content.js";
import { netmaskOf } from "./netmask.js";
import { routesOf } from "./openstack-network.js";

export function networkConfig(links: readonly NetworkLink[], version: 1 | 2): JsonObject {
  return version === 1 ? versionOne(links) : versionTwo(links);
}

function versionOne(links: readonly NetworkLink[]): JsonObject {
  const config = links.map(({ macAddress, mtu, networks }, i): JsonObject => {
    return {
      type: "physical",
      name: `eth${i}`,
      mac_address: macAddress,
      ...(mtu === undefined ? {} : { mtu }),
      subnets: networks.map(subnetOf),
    };
  });
  return { version: 1, config };
}

function subnetOf(network: LinkNetwork): JsonObject {
  const { version, method, gateway, dnsServers, routes } = network;
  if (method === "dhcp") return { type: `dhcp${version}` };
  return {
    type: version === 4 ? "static" : "static6",
    address: addressOf(network),
    ...(gateway === undefined ? {} : { gateway }),
    ...(dnsServers.length === 0 ? {} : { dns_nameservers: [...dnsServers] }),
    ...(routes.length === 0
      ? {}
      : {
          routes: routes.map(({ destination, nextHop }) => {
            const [to = "", length = "0"] = destination.split("/");
            return { network: to, netmask: netmaskOf(version, Number(length)), gateway: nextHop };
          }),
        }),
  };
}

function versionTwo(links: readonly NetworkLink[]): JsonObject {
  const ethernets = links.map(({ macAddress, mtu, networks }, i) => {
    const asked = (version: 4 | 6): boolean =>
      networks.some((network) => network.version === version && network.method === "dhcp");
    const fixed = networks.filter(({ method }) => method === "static");
    const servers = [...new Set(fixed.flatMap(({ dnsServers }) => dnsServers))];
    const routes = fixed.flatMap(routesOf);
    const nic: JsonObject = {
      match: { macaddress: macAddress },
      "set-name": `eth${i}`,
      ...(mtu === undefined ? {} : { mtu }),
      dhcp4: asked(4),
      dhcp6: asked(6),
      ...(networks.length === 0 ? { optional: true } : {}),
      ...(fixed.length === 0 ? {} : { addresses: fixed.map(addressOf) }),
      ...(routes.length === 0
        ? {}
        : { routes: routes.map(({ destination, nextHop }) => ({ to: destination, via: nextHop })) }),
      ...(servers.length === 0 ? {} : { nameservers: { addresses: servers } }),
    };
    return [`eth${i}`, nic] as const;
  });
  return { version: 2, ethernets: Object.fromEntries(ethernets) };
}

function addressOf({ address = "", prefixLength = 0 }: LinkNetwork): string {
  return `${address}/${prefixLength}`;
}
