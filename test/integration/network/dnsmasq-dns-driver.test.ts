// Entries of DNS by files, asked for through a server that runs.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LinuxNetworkHost } from "../../../src/network/index.js";
import { DnsmasqDnsDriver } from "../../../src/network/index.js";
import { requirePackages, waitFor } from "../../lab/index.js";
import { NetworkLab, dhcpHost, flatNetwork } from "./network-lab.js";

describe("DNS entries of a host", () => {
  let lab: NetworkLab;
  let host: LinuxNetworkHost;

  beforeAll(async () => {
    requirePackages("ip", "nft", "dnsmasq", "udhcpc");
    lab = await NetworkLab.create();
    host = lab.newHost();
    await host.start();
    await host.setUpNetwork(flatNetwork(), [dhcpHost(10)]);
  });

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  const lookup = (name: string): Promise<string> =>
    lab.host
      .run(["busybox", "nslookup", name, "10.1.0.1"])
      .catch((error: { readonly stdout?: string }) => error.stdout ?? "");
  const eventually = (name: string, holds: (said: string) => boolean): Promise<unknown> =>
    waitFor(async () => holds(await lookup(name)), { timeoutMs: 60_000, what: `the answer for ${name}` });

  it("are served as soon as they are made, changed and taken away, by names and by addresses", async () => {
    const dns = new DnsmasqDnsDriver({ directory: host.dnsDirectory });
    await expect(dns.createEntry({ name: "www", domain: "public.example", address: "192.0.2.50" })).rejects.toThrow();
    await dns.createDomain({ domain: "public.example", scope: "public", projectId: "p1" });
    await dns.createEntry({ name: "WWW", domain: "public.example", address: "192.0.2.50" });
    await dns.createEntry({ name: "www", domain: "public.example", address: "192.0.2.50" });
    await dns.createEntry({ name: "www", domain: "public.example", address: "2001:db8::50" });
    await eventually("www.public.example", (said) => said.includes("192.0.2.50") && said.includes("2001:db8::50"));
    await eventually("192.0.2.50", (said) => said.includes("www.public.example"));
    await expect(
      dns.createEntry({ name: "www", domain: "public.example", address: "192.0.2.51" }),
    ).rejects.toMatchObject({
      code: "CONFLICT",
    });
    await dns.modifyAddress("www", "192.0.2.51", "public.example");
    await eventually("www.public.example", (said) => said.includes("192.0.2.51") && !said.includes("192.0.2.50"));

    // Another process finds the same.
    const again = new DnsmasqDnsDriver({ directory: host.dnsDirectory });
    expect(await again.getDomains()).toEqual([{ domain: "public.example", scope: "public", projectId: "p1" }]);
    expect(await again.getEntriesByName("www", "public.example")).toEqual(["192.0.2.51", "2001:db8::50"]);
    expect(await again.getEntriesByAddress("192.0.2.51", "public.example")).toEqual(["www"]);
    await again.deleteEntry("www", "public.example");
    await again.deleteEntry("www", "public.example");
    await eventually("www.public.example", (said) => !said.includes("192.0.2.51"));
    await expect(again.modifyAddress("www", "192.0.2.51", "public.example")).rejects.toThrow();
    await again.deleteDomain("public.example");
    await again.deleteDomain("public.example");
    expect(await again.getDomains()).toEqual([]);
  });

  it("take no name that would be more than one", async () => {
    const dns = new DnsmasqDnsDriver({ directory: host.dnsDirectory });
    for (const domain of ["a b", "a\n6.6.6.6 bank", "", "#a", "../x"])
      await expect(dns.createDomain({ domain, scope: "public" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
