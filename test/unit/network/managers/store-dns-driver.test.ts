import { describe, expect, it } from "vitest";
import { MemoryNetworkStore, StoreDnsDriver } from "../../../../src/network/index.js";

async function withDomain(): Promise<StoreDnsDriver> {
  const dns = new StoreDnsDriver(new MemoryNetworkStore());
  await dns.createDomain({ domain: "Cloud.Test", scope: "private", zone: "nova" });
  return dns;
}

describe("DNS entries in a store", () => {
  it("lead from names to addresses and back, whatever their case", async () => {
    const dns = await withDomain();
    await dns.createEntry({ name: "WWW", domain: "cloud.TEST", address: "10.0.0.2" });
    await dns.createEntry({ name: "www", domain: "cloud.test", address: "10.0.0.2" });
    await dns.createEntry({ name: "www", domain: "cloud.test", address: "FD00::2" });
    await dns.createEntry({ name: "a.b", domain: "cloud.test", address: "10.0.0.2" });
    expect(await dns.getEntriesByName("Www", "cloud.test")).toEqual(["10.0.0.2", "fd00::2"]);
    expect(await dns.getEntriesByAddress("10.0.0.2", "cloud.test")).toEqual(["a.b", "www"]);
    await expect(dns.createEntry({ name: "www", domain: "cloud.test", address: "10.0.0.3" })).rejects.toMatchObject({
      code: "CONFLICT",
    });
    await dns.modifyAddress("www", "10.0.0.3", "cloud.test");
    expect(await dns.getEntriesByAddress("10.0.0.2", "cloud.test")).toEqual(["a.b"]);
    await dns.deleteEntry("www", "cloud.test");
    await dns.deleteEntry("www", "cloud.test");
    expect(await dns.getEntriesByName("www", "cloud.test")).toEqual([]);
    await expect(dns.modifyAddress("www", "10.0.0.3", "cloud.test")).rejects.toMatchObject({
      code: "DNS_ENTRY_NOT_FOUND",
    });
  });

  it("live in domains, and go with them", async () => {
    const dns = await withDomain();
    await expect(dns.createEntry({ name: "www", domain: "other.test", address: "10.0.0.2" })).rejects.toMatchObject({
      code: "DNS_DOMAIN_NOT_FOUND",
    });
    await dns.createDomain({ domain: "other.test", scope: "public", projectId: "p" });
    await dns.createEntry({ name: "www", domain: "other.test", address: "10.0.0.2" });
    await dns.createEntry({ name: "www", domain: "cloud.test", address: "10.0.0.2" });
    expect(await dns.getDomains()).toEqual([
      { domain: "cloud.test", scope: "private", zone: "nova" },
      { domain: "other.test", scope: "public", projectId: "p" },
    ]);
    await dns.deleteDomain("other.test");
    await dns.deleteDomain("other.test");
    expect(await dns.getEntriesByAddress("10.0.0.2", "other.test")).toEqual([]);
    expect(await dns.getEntriesByName("www", "cloud.test")).toEqual(["10.0.0.2"]);
  });

  it("are not told apart by where a name ends and its domain begins", async () => {
    const dns = await withDomain();
    await dns.createDomain({ domain: "b.cloud.test", scope: "private" });
    await dns.createEntry({ name: "a.b", domain: "cloud.test", address: "10.0.0.2" });
    await expect(dns.createEntry({ name: "a", domain: "b.cloud.test", address: "10.0.0.3" })).rejects.toMatchObject({
      code: "CONFLICT",
    });
    expect(await dns.getEntriesByName("a", "b.cloud.test")).toEqual([]);
  });

  it.each([
    [{ name: "a b", domain: "cloud.test", address: "10.0.0.2" }, "name"],
    [{ name: "a\nb", domain: "cloud.test", address: "10.0.0.2" }, "name"],
    [{ name: "-a", domain: "cloud.test", address: "10.0.0.2" }, "name"],
    [{ name: `${"x".repeat(63)}.`.repeat(3) + "x".repeat(60), domain: "cloud.test", address: "10.0.0.2" }, "name"],
    [{ name: "a", domain: "cloud..test", address: "10.0.0.2" }, "domain"],
    [{ name: "a", domain: "cloud.test", address: "10.0.0" }, "address"],
  ])("refuse %j", async (entry, field) => {
    const dns = await withDomain();
    await expect(dns.createEntry(entry)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field });
  });
});
