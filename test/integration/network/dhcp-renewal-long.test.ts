// A client that stays: it renews its lease by itself when half of the time is over, for dnsmasq knows none shorter than two minutes.
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import type { DhcpLease } from "../../../src/network/index.js";
import { requirePackages, waitFor } from "../../lab/index.js";
import { NetworkLab, dhcpHost, flatNetwork } from "./network-lab.js";

describe("a DHCP client that stays", () => {
  it("renews its lease, gives it back, and gets none when its NIC is no longer known", async () => {
    requirePackages("ip", "nft", "dnsmasq", "udhcpc", "sysctl");
    await using lab = await NetworkLab.create();
    const host = lab.newHost({ leaseSeconds: 120 });
    await host.start();
    await host.setUpNetwork(flatNetwork(), [dhcpHost(10)]);
    const guest = await lab.addGuest("br-one", dhcpHost(10).macAddress);
    const script = lab.directory.file("udhcpc");
    const client = guest.namespace.spawn(["busybox", "udhcpc", "-f", "-i", "eth0", "-s", script], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const said: string[] = [];
    createInterface({ input: client.stdout as Readable }).on("line", (line) => said.push(line));
    const hears = (action: string): Promise<true> =>
      waitFor(() => said.some((line) => line.includes(`"action":"${action}"`)) || undefined, {
        timeoutMs: 240_000,
        what: `"${action}" of the client`,
        detail: () => said.join("\n"),
      });
    const lease = async (): Promise<DhcpLease | undefined> => (await host.leases("net-1"))[0];

    await hears("bound");
    const first = await lease();
    expect(first).toMatchObject({ address: "10.1.0.10", macAddress: dhcpHost(10).macAddress });
    await hears("renew");
    const renewed = await lease();
    expect(renewed?.address).toBe("10.1.0.10");
    expect(renewed?.expiresAt).toBeGreaterThan(first?.expiresAt ?? Infinity);

    // It gives its lease back, and gets another one as long as its NIC is known.
    const events = host.leaseEvents();
    client.kill("SIGUSR2");
    expect((await events.next()).value).toMatchObject({ type: "released", lease: { address: "10.1.0.10" } });
    await events.return?.();
    expect(await lease()).toBeUndefined();
    client.kill("SIGTERM");
    await once(client, "exit");
    expect(await guest.dhcp()).toMatchObject({ address: "10.1.0.10" });
    await host.removeDhcpHost("net-1", dhcpHost(10).macAddress);
    expect(await guest.dhcp(["-t", "1"])).toBeUndefined();
  }, 600_000);
});
