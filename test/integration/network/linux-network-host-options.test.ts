// What a network host may be told to do otherwise, by packets: another source address, metadata elsewhere, ways between networks; and what stays on
// its host where each has the gateway's address.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LinuxNetworkHost } from "../../../src/network/index.js";
import { requirePackages } from "../../lab/index.js";
import { NetworkLab, ask, dhcpHost, flatNetwork, isSilent, serve } from "./network-lab.js";
import type { GuestNamespace } from "./network-lab.js";

const OTHER = {
  ...{ id: "net-2", bridge: "br-two", routed: true },
  subnets: [{ cidr: "10.2.0.0/24", gateway: "10.2.0.1", hostAddress: "10.2.0.1", dhcpStart: "10.2.0.2" }],
};

describe("a network host with options", () => {
  let lab: NetworkLab;
  let host: LinuxNetworkHost;
  let one: GuestNamespace;
  let two: GuestNamespace;

  beforeAll(async () => {
    requirePackages("ip", "nft", "dnsmasq", "conntrack", "arping", "udhcpc", "sysctl");
    lab = await NetworkLab.create();
    await lab.host.run(["ip", "address", "add", "192.0.2.9/32", "dev", "eth0"]);
    host = lab.newHost({
      routingSourceAddress: "192.0.2.9",
      fixedRanges: ["10.9.0.0/24"],
      metadata: { address: "203.0.113.1", port: 8775 },
      routeBetweenNetworks: true,
    });
    await host.start();
    await host.setUpNetwork(flatNetwork(), [dhcpHost(10)]);
    await host.setUpNetwork(OTHER, [dhcpHost(12, { addresses: ["10.2.0.12"] })]);
    one = await lab.addGuest("br-one", dhcpHost(10).macAddress);
    two = await lab.addGuest("br-two", dhcpHost(12).macAddress);
    await one.dhcp();
    await two.dhcp();
    await serve(lab.outside, "tcp", 80);
    await serve(two.namespace, "tcp", 80);
  });

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  it("lets guests out by the address that it is told, also those of ranges that are not set up here", async () => {
    expect(await ask(one.namespace, "tcp", "192.0.2.254", 80)).toMatchObject({ source: "192.0.2.9" });
    await one.namespace.run(["ip", "address", "add", "10.9.0.5/32", "dev", "eth0"]);
    await lab.host.run(["ip", "route", "add", "10.9.0.5/32", "dev", "br-one"]);
    await one.namespace.run(["ip", "route", "replace", "192.0.2.254/32", "via", "10.1.0.1", "src", "10.9.0.5"]);
    expect(await ask(one.namespace, "tcp", "192.0.2.254", 80)).toMatchObject({ source: "192.0.2.9" });
    await one.namespace.run(["ip", "route", "del", "192.0.2.254/32"]);
  });

  it("leads requests for metadata to a server elsewhere, which sees who asks", async () => {
    await serve(lab.outside, "tcp", 8775);
    await lab.outside.run(["ip", "route", "add", "10.1.0.0/24", "via", "192.0.2.1"]);
    expect(await ask(one.namespace, "tcp", "169.254.169.254", 80)).toEqual({
      source: "10.1.0.10",
      destination: "203.0.113.1",
    });
    await lab.outside.run(["ip", "route", "del", "10.1.0.0/24"]);
  });

  it("carries packets between its networks when it is told to", async () => {
    expect(await ask(one.namespace, "tcp", "10.2.0.12", 80)).toEqual({ source: "10.1.0.10", destination: "10.2.0.12" });
    // Not to one that is routed no longer.
    await host.setUpNetwork({ ...OTHER, routed: false }, [dhcpHost(12, { addresses: ["10.2.0.12"] })]);
    expect(await isSilent(one.namespace, "tcp", "10.2.0.12", 80)).toBe(true);
  });

  it("keeps DHCP on its side of the cable where each host has the gateway's address", async () => {
    const known = "fa:16:3e:00:00:33";
    const subnet = { cidr: "10.3.0.0/24", gateway: "10.3.0.1", hostAddress: "10.3.0.1", dhcpStart: "10.3.0.2" };
    const network = { id: "net-3", bridge: "br-three", parentInterface: "cable", routed: true, subnets: [subnet] };
    await lab.host.run([
      "ip",
      "link",
      "add",
      "cable",
      "type",
      "veth",
      "peer",
      "name",
      "far",
      "netns",
      lab.outside.name,
    ]);
    await lab.outside.run(["ip", "link", "set", "far", "address", known, "up"]);
    const asks = (): Promise<boolean> =>
      lab.outside
        .run(["busybox", "udhcpc", "-i", "far", "-n", "-q", "-f", "-t", "3", "-T", "1", "-s", "/bin/true"])
        .then(
          () => true,
          () => false,
        );
    const entry = dhcpHost(33, { macAddress: known, addresses: ["10.3.0.33"] });
    await host.setUpNetwork({ ...network, sharedAddress: true }, [entry]);
    expect(await asks()).toBe(false);
    await host.setUpNetwork(network, [entry]);
    expect(await asks()).toBe(true);
  });
});
