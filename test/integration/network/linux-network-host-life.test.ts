// A network host through restarts and changes: guests go on.
import { readFile, readdir } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { requirePackages, waitFor } from "../../lab/index.js";
import { hostSnapshot } from "./host-snapshot.js";
import { NetworkLab, dhcpHost, flatNetwork } from "./network-lab.js";

let lab: NetworkLab;

beforeEach(async () => {
  requirePackages("ip", "nft", "dnsmasq", "conntrack", "dhcp_release", "udhcpc", "sysctl");
  lab = await NetworkLab.create();
});

afterEach(async () => {
  await lab?.[Symbol.asyncDispose]();
});

const pidOf = async (id: string): Promise<number> =>
  Number(await readFile(lab.directory.file(`host/dhcp/${id}/pid`), "utf8"));

describe("DHCP", () => {
  it("gives, renews and takes back leases, and tells of them", async () => {
    const host = lab.newHost();
    await host.start();
    await host.setUpNetwork(flatNetwork(), []);
    const guest = await lab.addGuest("br-one", dhcpHost(10).macAddress);
    expect(await guest.dhcp(["-t", "1"])).toBeUndefined();
    const events = host.leaseEvents();
    await host.setDhcpHost("net-1", dhcpHost(10));
    expect(await guest.dhcp(["-x", "hostname:hostile$(reboot)"])).toMatchObject({ address: "10.1.0.10" });
    expect((await events.next()).value).toMatchObject({
      type: "leased",
      networkId: "net-1",
      lease: { macAddress: dhcpHost(10).macAddress, address: "10.1.0.10", hostname: "web10" },
    });
    expect(await host.leases("net-1")).toMatchObject([{ address: "10.1.0.10", hostname: "web10" }]);
    // Asks for the one that it had.
    expect(await guest.dhcp(["-r", "10.1.0.10"])).toMatchObject({ address: "10.1.0.10" });
    expect(await host.leases("net-1")).toHaveLength(1);

    await host.releaseLease("net-1", { macAddress: dhcpHost(10).macAddress, address: "10.1.0.10" });
    await host.releaseLease("net-1", { macAddress: dhcpHost(10).macAddress, address: "10.1.0.10" });
    expect((await events.next()).value).toMatchObject({ type: "released", lease: { address: "10.1.0.10" } });
    expect(await host.leases("net-1")).toEqual([]);

    // The address goes to another NIC, without a restart of the server, and the old one gets none.
    const pid = await pidOf("net-1");
    await host.removeDhcpHost("net-1", dhcpHost(10).macAddress);
    await host.removeDhcpHost("net-1", dhcpHost(10).macAddress);
    await host.setDhcpHost("net-1", dhcpHost(11, { addresses: ["10.1.0.10"] }));
    const other = await lab.addGuest("br-one", dhcpHost(11).macAddress);
    expect(await other.dhcp()).toMatchObject({ address: "10.1.0.10", router: "10.1.0.1" });
    expect(await guest.dhcp(["-t", "1"])).toBeUndefined();
    // And back to the first.
    await host.setDhcpHost("net-1", dhcpHost(10, { addresses: ["10.1.0.20"] }));
    expect(await guest.dhcp()).toMatchObject({ address: "10.1.0.20", router: "10.1.0.1" });
    // It goes, comes again with what it had, and gets another name.
    await host.removeDhcpHost("net-1", dhcpHost(10).macAddress);
    expect(await guest.dhcp(["-t", "1"])).toBeUndefined();
    await host.setDhcpHost("net-1", dhcpHost(10, { addresses: ["10.1.0.20"] }));
    expect(await guest.dhcp()).toMatchObject({ address: "10.1.0.20", hostname: "web10" });
    await host.setDhcpHost("net-1", dhcpHost(10, { addresses: ["10.1.0.20"], hostname: "renamed" }));
    expect(await guest.dhcp()).toMatchObject({ address: "10.1.0.20", hostname: "renamed" });
    expect(await pidOf("net-1")).toBe(pid);

    // One that learns of no gateway, and one that has done so, are forgotten as well.
    for (const defaultGateway of [false, true, false]) {
      await host.setDhcpHost("net-1", dhcpHost(11, { addresses: ["10.1.0.10"], defaultGateway }));
      expect(await other.dhcp()).toMatchObject({ address: "10.1.0.10", router: defaultGateway ? "10.1.0.1" : "" });
    }
    await host.setUpNetwork(flatNetwork({ mtu: 1300 }), [dhcpHost(11, { addresses: ["10.1.0.10"] })]);
    expect(await other.dhcp()).toMatchObject({ address: "10.1.0.10", router: "10.1.0.1", mtu: "1300" });
    expect(await guest.dhcp(["-t", "1"])).toBeUndefined();
    await events.return?.();
  });

  it("keeps the server through a restart of the process, restarts it for new options, and revives it", async () => {
    const first = lab.newHost();
    await first.start();
    await first.setUpNetwork(flatNetwork(), [dhcpHost(10)]);
    await first.addFloating({ floatingAddress: "192.0.2.50", fixedAddress: "10.1.0.10", networkId: "net-1" });
    const pid = await pidOf("net-1");
    await expect(lab.newHost().start()).rejects.toMatchObject({ code: "LOCKED" });
    await first.close();

    const second = lab.newHost({ timeouts: { watchMs: 50 } });
    await second.start();
    expect(await second.listNetworks()).toEqual(["net-1"]);
    expect(await second.listFloating()).toMatchObject([{ floatingAddress: "192.0.2.50" }]);
    expect(await pidOf("net-1")).toBe(pid);
    await second.setUpNetwork(flatNetwork({ mtu: 1300 }), [dhcpHost(10)]);
    // Options alone are read again by the server that runs.
    expect(await pidOf("net-1")).toBe(pid);
    const guest = await lab.addGuest("br-one", dhcpHost(10).macAddress);
    expect(await guest.dhcp()).toMatchObject({ address: "10.1.0.10", mtu: "1300" });
    await second.setUpNetwork(flatNetwork({ domain: "other.example" }), [dhcpHost(10)]);
    const restarted = await pidOf("net-1");
    expect(restarted).not.toBe(pid);
    expect(await guest.dhcp()).toMatchObject({ domain: "other.example" });

    process.kill(restarted, "SIGKILL");
    await waitFor(async () => (await pidOf("net-1").catch(() => restarted)) !== restarted, { timeoutMs: 60_000 });
    expect(await guest.dhcp()).toMatchObject({ address: "10.1.0.10" });
    await guest.namespace.remove();
    await waitFor(async () => !(await lab.host.run(["ip", "-br", "link"])).includes(guest.port), { timeoutMs: 60_000 });
    await second.removeFloating("192.0.2.50");
    await second.tearDownNetwork("net-1");
    expect(await readdir(lab.directory.file("host/dhcp"))).toEqual([]);
  });
});

describe("an interface that becomes a bridge's port", () => {
  it("hands its addresses and routes to the bridge, and gets them back", async () => {
    await lab.host.run(["ip", "address", "add", "2001:db8::1/64", "dev", "eth0", "nodad"]);
    await lab.host.run(["ip", "address", "add", "198.51.100.1/25", "dev", "eth0"]);
    await lab.host.run(["ip", "route", "add", "198.18.0.0/16", "dev", "eth0", "scope", "link", "metric", "7"]);
    await lab.host.run(["ip", "route", "add", "default", "via", "2001:db8::ff", "dev", "eth0"]);
    const host = lab.newHost({ publicInterface: "br-one" });
    await host.start();
    const before = await hostSnapshot(lab);
    await host.setUpNetwork(flatNetwork({ parentInterface: "eth0", sharedAddress: true }), [dhcpHost(10)]);
    const addresses = await lab.host.run(["ip", "-o", "address", "show", "dev", "br-one"]);
    expect(addresses).toMatch(/inet 10\.1\.0\.1\/24.*\n(.*\n)*.*inet 192\.0\.2\.1\/24/);
    expect(addresses).toContain("2001:db8::1/64");
    expect(await lab.host.run(["ip", "-o", "address", "show", "dev", "eth0", "scope", "global"])).toBe("");
    const routes = await lab.host.run(["ip", "route"]);
    expect(routes).toContain("default via 192.0.2.254 dev br-one");
    expect(routes).toContain("198.18.0.0/16 dev br-one scope link metric 7");
    expect(await lab.host.run(["ip", "-6", "route"])).toContain("default via 2001:db8::ff dev br-one");
    await lab.host.run(["busybox", "ping", "-c", "1", "-W", "10", "192.0.2.254"]);
    // Nothing to do a second time.
    expect(await host.plan(flatNetwork({ parentInterface: "eth0", sharedAddress: true }))).not.toMatch(
      /^(?:ip (?:link|address|route|tuntap)|sysctl) /m,
    );

    // Its gateway is this host's alone: nobody beyond the port finds or hears it.
    await lab.outside.run(["ip", "address", "add", "10.1.0.99/24", "dev", "eth0"]);
    await expect(lab.outside.run(["arping", "-c", "1", "-w", "1", "-I", "eth0", "10.1.0.1"])).rejects.toThrow();
    await lab.outside.run(["arping", "-c", "1", "-w", "10", "-I", "eth0", "192.0.2.1"]);
    const guest = await lab.addGuest("br-one", dhcpHost(10).macAddress);
    expect(await guest.dhcp()).toMatchObject({ address: "10.1.0.10" });
    expect(await guest.pings("10.1.0.99")).toBe(true);
    await guest.namespace.remove();
    await waitFor(async () => !(await lab.host.run(["ip", "-br", "link"])).includes(guest.port), { timeoutMs: 60_000 });

    await host.tearDownNetwork("net-1");
    expect(await hostSnapshot(lab)).toEqual(before);
  });
});
