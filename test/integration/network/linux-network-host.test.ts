// Guests, floating addresses, metadata and NAT of a network host, by packets between network namespaces.
import { once } from "node:events";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LinuxNetworkHost } from "../../../src/network/host/linux-network-host.js";
import { requirePackages, waitFor } from "../../lab/index.js";
import { NetworkLab, ask, dhcpHost, flatNetwork, isSilent, serve } from "./network-lab.js";
import type { GuestNamespace } from "./network-lab.js";

describe("a network host with a routed network", () => {
  let lab: NetworkLab;
  let host: LinuxNetworkHost;
  let one: GuestNamespace;
  let two: GuestNamespace;

  beforeAll(async () => {
    requirePackages("ip", "nft", "dnsmasq", "conntrack", "arping", "dhcp_release", "udhcpc", "dhclient");
    lab = await NetworkLab.create();
    host = lab.newHost({
      metadata: { address: "127.0.0.1", port: 8775 },
      snatExceptions: ["203.0.113.0/24"],
      restrictHostAccess: true,
    });
    await host.start();
    await host.setUpNetwork(flatNetwork(), [dhcpHost(10), dhcpHost(11)]);
    one = await lab.addGuest("br-one", dhcpHost(10).macAddress);
    two = await lab.addGuest("br-one", dhcpHost(11).macAddress);
    await serve(lab.outside, "tcp", 80);
  });

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  it("gives its guests their own addresses by DHCP", async () => {
    expect(await one.dhcp()).toMatchObject({
      address: "10.1.0.10",
      router: "10.1.0.1",
      dns: "10.1.0.1",
      domain: "cloud.example",
      hostname: "web10",
      mtu: "1400",
    });
    expect((await two.dhcp())?.address).toBe("10.1.0.11");
    expect(await one.pings("10.1.0.11")).toBe(true);
    expect(await one.pings("10.1.0.1")).toBe(true);
  });

  it("lets guests out by the host's address, and seen as themselves at exceptions", async () => {
    expect(await ask(one.namespace, "tcp", "192.0.2.254", 80)).toMatchObject({ source: "192.0.2.1" });
    await lab.outside.run(["ip", "route", "add", "10.1.0.0/24", "via", "192.0.2.1"]);
    try {
      expect(await ask(one.namespace, "tcp", "203.0.113.1", 80)).toMatchObject({ source: "10.1.0.10" });
      expect(await ask(one.namespace, "tcp", "192.0.2.254", 80)).toMatchObject({ source: "192.0.2.1" });
    } finally {
      await lab.outside.run(["ip", "route", "del", "10.1.0.0/24"]);
    }
  });

  it("serves metadata at its well-known address, and nothing else of the host to guests", async () => {
    await serve(lab.host, "tcp", 8775);
    await serve(lab.host, "tcp", 9999);
    expect(await ask(one.namespace, "tcp", "169.254.169.254", 80)).toMatchObject({ source: "10.1.0.10" });
    expect(await isSilent(one.namespace, "tcp", "10.1.0.1", 9999)).toBe(true);
    expect(await isSilent(one.namespace, "tcp", "10.1.0.1", 8775)).toBe(true);
    expect(await ask(lab.outside, "tcp", "192.0.2.1", 9999)).toBeDefined();
  });

  it("answers for its guests' names and addresses", async () => {
    const lookup = (name: string): Promise<string> => one.namespace.run(["busybox", "nslookup", name, "10.1.0.1"]);
    expect(await lookup("web11.cloud.example")).toContain("Address: 10.1.0.11");
    expect(await lookup("10.1.0.11")).toContain("web11.cloud.example");
    await expect(lookup("web99.cloud.example")).rejects.toThrow();
  });

  it("forwards a floating address both ways, until it is taken away", async () => {
    await serve(one.namespace, "tcp", 80);
    await serve(two.namespace, "tcp", 80);
    await host.addFloating({ floatingAddress: "192.0.2.50", fixedAddress: "10.1.0.10", networkId: "net-1" });
    expect(await ask(lab.outside, "tcp", "192.0.2.50", 80)).toEqual({
      source: "192.0.2.254",
      destination: "10.1.0.10",
    });
    expect(await ask(one.namespace, "tcp", "192.0.2.254", 80)).toMatchObject({ source: "192.0.2.50" });
    expect(await ask(two.namespace, "tcp", "192.0.2.254", 80)).toMatchObject({ source: "192.0.2.1" });
    // From the host itself, and from a neighbour of the same network.
    expect(await ask(lab.host, "tcp", "192.0.2.50", 80)).toMatchObject({ destination: "10.1.0.10" });
    expect(await ask(two.namespace, "tcp", "192.0.2.50", 80)).toMatchObject({ destination: "10.1.0.10" });

    await host.addFloating({ floatingAddress: "192.0.2.50", fixedAddress: "10.1.0.11", networkId: "net-1" });
    expect(await ask(lab.outside, "tcp", "192.0.2.50", 80)).toMatchObject({ destination: "10.1.0.11" });
    expect(await host.listFloating()).toHaveLength(1);

    await host.removeFloating("192.0.2.50");
    await host.removeFloating("192.0.2.50");
    expect(await isSilent(lab.outside, "tcp", "192.0.2.50", 80)).toBe(true);
    expect(await ask(two.namespace, "tcp", "192.0.2.254", 80)).toMatchObject({ source: "192.0.2.1" });
    expect(await lab.host.run(["ip", "-br", "address"])).not.toContain("192.0.2.50");
  });

  it("ends the flows of a floating address that is taken away", async () => {
    await host.addFloating({ floatingAddress: "192.0.2.51", fixedAddress: "10.1.0.10", networkId: "net-1" });
    const client = lab.outside.spawn(["busybox", "nc", "192.0.2.51", "80"], { stdio: ["pipe", "pipe", "ignore"] });
    try {
      await once(client.stdout as Readable, "data");
      await host.removeFloating("192.0.2.51");
      const flows = await lab.host.run(["conntrack", "-L"]);
      expect(flows).not.toContain("192.0.2.51");
    } finally {
      client.kill("SIGKILL");
    }
  });

  it("forwards a port of its public address to a network's VPN server", async () => {
    const vpn = { publicAddress: "192.0.2.1", publicPort: 1000, privateAddress: "10.1.0.11" };
    await host.setUpNetwork(flatNetwork({ vpn }), [dhcpHost(10), dhcpHost(11)]);
    await serve(two.namespace, "udp", 1194);
    expect(await ask(lab.outside, "udp", "192.0.2.1", 1000)).toEqual({ source: "192.0.2.254" });
    await host.setUpNetwork(flatNetwork(), [dhcpHost(10), dhcpHost(11)]);
    expect(await isSilent(lab.outside, "udp", "192.0.2.1", 1000)).toBe(true);
  });

  it("keeps networks apart, but for floating addresses, and what is not routed from outside", async () => {
    const subnet = { cidr: "10.2.0.0/24", gateway: "10.2.0.1", hostAddress: "10.2.0.1", dhcpStart: "10.2.0.2" };
    const other = { id: "net-2", bridge: "br-two", routed: true, subnets: [subnet] };
    const host3 = dhcpHost(12, { addresses: ["10.2.0.12"] });
    await host.setUpNetwork(other, [host3]);
    const three = await lab.addGuest("br-two", host3.macAddress);
    expect((await three.dhcp())?.address).toBe("10.2.0.12");
    expect(await three.misses("10.1.0.10")).toBe(true);
    await host.addFloating({ floatingAddress: "192.0.2.52", fixedAddress: "10.1.0.10", networkId: "net-1" });
    expect(await ask(three.namespace, "tcp", "192.0.2.52", 80)).toMatchObject({ destination: "10.1.0.10" });
    expect(await three.pings("192.0.2.254")).toBe(true);
    await host.setUpNetwork({ ...other, routed: false }, [host3]);
    expect(await three.misses("192.0.2.254")).toBe(true);
    await host.removeFloating("192.0.2.52");
    await expect(host.tearDownNetwork("net-2")).rejects.toMatchObject({ code: "NETWORK_HOST_FAILED" });
    await three.namespace.remove();
    await waitFor(async () => !(await lab.host.run(["ip", "-br", "link"])).includes(three.port), { timeoutMs: 60_000 });
    await host.tearDownNetwork("net-2");
    await host.tearDownNetwork("net-2");
    expect(await host.listNetworks()).toEqual(["net-1"]);
    expect(await lab.host.run(["ip", "-br", "link"])).not.toContain("br-two");
  });

  it("serves IPv6 by DHCPv6 and by router advertisements", async () => {
    const six = {
      cidr: "fd00:6::/64",
      gateway: "fd00:6::1",
      hostAddress: "fd00:6::1",
      dhcpStart: "fd00:6::2",
      slaac: true,
    };
    const host4 = dhcpHost(13, { addresses: ["fd00:6::13"], hostname: "six" });
    await host.setUpNetwork({ id: "net-6", bridge: "br-six", domain: "six.example", subnets: [six] }, [host4]);
    const four = await lab.addGuest("br-six", host4.macAddress);
    const events = host.leaseEvents();
    const has = async (text: string): Promise<boolean> =>
      (await four.namespace.run(["ip", "-6", "address", "show", "dev", "eth0"])).includes(text);
    await waitFor(() => has("fd00:6::f816:3eff:fe00:13/64"), { timeoutMs: 90_000, what: "an address by SLAAC" });
    expect(await four.namespace.run(["ip", "-6", "route"])).toContain("default via fe80:");
    const files = ["-lf", lab.directory.file("lease6"), "-pf", lab.directory.file("dhclient6.pid")];
    await four.namespace.run(["dhclient", "-6", "-1", "-nw", "-sf", "/bin/true", ...files, "eth0"]);
    expect((await events.next()).value).toMatchObject({
      type: "leased",
      networkId: "net-6",
      lease: { address: "fd00:6::13", macAddress: host4.macAddress },
    });
    const [lease] = await host.leases("net-6");
    expect(lease).toMatchObject({ address: "fd00:6::13", macAddress: host4.macAddress });
    expect(await four.namespace.run(["busybox", "nslookup", "six.six.example", "fd00:6::1"])).toContain("fd00:6::13");
    await host.releaseLease("net-6", { macAddress: host4.macAddress, address: "fd00:6::13" });
    expect((await events.next()).value).toMatchObject({ type: "released", lease: { address: "fd00:6::13" } });
    expect(await host.leases("net-6")).toEqual([]);
    await events.return?.();
    await four.namespace.remove();
  });
});
