import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Secret } from "../../../src/core/index.js";
import { configDriveFiles, MAX_CONFIG_DRIVE_BYTES } from "../../../src/storage/index.js";
import type { ConfigDriveContent, NetworkLink } from "../../../src/storage/index.js";

const UUID = "0fbeab4c-8a4b-4c0c-9e55-0e7b1b9a1f10";

function content(changes: Partial<ConfigDriveContent> = {}): ConfigDriveContent {
  return { layout: "openstack", uuid: UUID, name: "web-1", hostname: "web-1.example.org", ...changes };
}

function read(given: ConfigDriveContent): ReadonlyMap<string, string> {
  return new Map(configDriveFiles(given).map(({ path, contents }) => [path, Buffer.from(contents).toString()]));
}

function json(given: ConfigDriveContent, path: string): Record<string, unknown> {
  return JSON.parse(read(given).get(path) ?? "null") as Record<string, unknown>;
}

const STATIC: NetworkLink = {
  id: "tap1",
  type: "bridge",
  vifId: "port-1",
  macAddress: "52:54:00:00:00:01",
  mtu: 1450,
  networks: [
    {
      networkId: "net-1",
      version: 4,
      method: "static",
      address: "10.0.0.5",
      prefixLength: 22,
      gateway: "10.0.0.1",
      dnsServers: ["10.0.0.2"],
      routes: [{ destination: "192.168.0.0/16", nextHop: "10.0.0.254" }],
    },
    {
      networkId: "net-1",
      version: 6,
      method: "static",
      address: "fd00::5",
      prefixLength: 64,
      gateway: "fd00::1",
      dnsServers: ["10.0.0.2", "fd00::2"],
      routes: [],
    },
  ],
};
const DHCP: NetworkLink = {
  id: "tap2",
  type: "bridge",
  vifId: "port-2",
  macAddress: "52:54:00:00:00:02",
  networks: [
    { networkId: "net-2", version: 4, method: "dhcp", dnsServers: ["10.1.0.2"], routes: [] },
    { networkId: "net-2", version: 6, method: "dhcp", dnsServers: [], routes: [] },
  ],
};
const BARE: NetworkLink = { id: "tap3", type: "phy", vifId: "port-3", macAddress: "52:54:00:00:00:03", networks: [] };
const LINKS = [STATIC, DHCP, BARE];

describe("OpenStack's config drive", () => {
  it("has a directory for each release, with what that release knew", () => {
    const files = read(
      content({ userData: Buffer.from("x"), links: LINKS, projectId: "p", randomSeed: Buffer.from("seed") }),
    );
    const names = (version: string): string[] =>
      [...files.keys()]
        .filter((path) => path.startsWith(`openstack/${version}/`))
        .map((path) => path.split("/")[2] ?? "");
    expect(names("2012-08-10")).toEqual(["meta_data.json", "user_data"]);
    expect(names("2013-10-17")).toEqual(["meta_data.json", "user_data", "vendor_data.json"]);
    expect(names("2015-10-15")).toEqual(["meta_data.json", "user_data", "vendor_data.json", "network_data.json"]);
    const all = ["meta_data.json", "user_data", "vendor_data.json", "network_data.json", "vendor_data2.json"];
    expect(names("2016-10-06")).toEqual(all);
    expect(names("latest")).toEqual(all);
    const keys = (version: string): string[] =>
      Object.keys(JSON.parse(files.get(`openstack/${version}/meta_data.json`) ?? "") as object);
    expect(keys("2012-08-10")).toEqual(["uuid", "meta", "hostname", "name", "launch_index", "availability_zone"]);
    expect(keys("latest")).toEqual([...keys("2012-08-10"), "random_seed", "project_id", "devices"]);
  });

  it("tells all that it is given", () => {
    const given = content({
      metadata: { role: "db" },
      publicKeys: { ours: "ssh-ed25519 AAAA ours" },
      adminPassword: Secret.of("hunter2"),
      files: [
        { path: "/etc/motd", contents: Buffer.from("welcome") },
        { path: "/opt/../weird name", contents: Buffer.from([0, 255]) },
      ],
      vendorData: { "cloud-init": "#cloud-config\n{}" },
      vendorData2: { static: {} },
      availabilityZone: "west",
      launchIndex: 3,
      devices: [{ type: "nic", mac: "52:54:00:00:00:01", tags: ["lan"] }],
    });
    expect(json(given, "openstack/latest/meta_data.json")).toEqual({
      uuid: UUID,
      admin_pass: "hunter2",
      meta: { role: "db" },
      files: [
        { path: "/etc/motd", content_path: "/content/0000" },
        { path: "/opt/../weird name", content_path: "/content/0001" },
      ],
      public_keys: { ours: "ssh-ed25519 AAAA ours" },
      keys: [{ name: "ours", type: "ssh", data: "ssh-ed25519 AAAA ours" }],
      hostname: "web-1.example.org",
      name: "web-1",
      launch_index: 3,
      availability_zone: "west",
      devices: [{ type: "nic", bus: "none", address: "none", mac: "52:54:00:00:00:01", tags: ["lan"] }],
    });
    expect(json(given, "openstack/latest/vendor_data.json")).toEqual({ "cloud-init": "#cloud-config\n{}" });
    expect(json(given, "openstack/latest/vendor_data2.json")).toEqual({ static: {} });
    expect(read(given).get("openstack/content/0000")).toBe("welcome");
  });

  it("describes the network by links, networks and name servers", () => {
    expect(json(content({ links: LINKS }), "openstack/latest/network_data.json")).toEqual({
      links: [
        { id: "tap1", vif_id: "port-1", type: "bridge", mtu: 1450, ethernet_mac_address: "52:54:00:00:00:01" },
        { id: "tap2", vif_id: "port-2", type: "bridge", mtu: null, ethernet_mac_address: "52:54:00:00:00:02" },
        { id: "tap3", vif_id: "port-3", type: "phy", mtu: null, ethernet_mac_address: "52:54:00:00:00:03" },
      ],
      networks: [
        {
          id: "network0",
          link: "tap1",
          network_id: "net-1",
          type: "ipv4",
          ip_address: "10.0.0.5",
          netmask: "255.255.252.0",
          routes: [
            { network: "0.0.0.0", netmask: "0.0.0.0", gateway: "10.0.0.1" },
            { network: "192.168.0.0", netmask: "255.255.0.0", gateway: "10.0.0.254" },
          ],
          services: [{ type: "dns", address: "10.0.0.2" }],
        },
        {
          id: "network1",
          link: "tap1",
          network_id: "net-1",
          type: "ipv6",
          ip_address: "fd00::5",
          netmask: "ffff:ffff:ffff:ffff::",
          routes: [{ network: "::", netmask: "::", gateway: "fd00::1" }],
          services: [
            { type: "dns", address: "10.0.0.2" },
            { type: "dns", address: "fd00::2" },
          ],
        },
        { id: "network2", link: "tap2", network_id: "net-2", type: "ipv4_dhcp" },
        { id: "network3", link: "tap2", network_id: "net-2", type: "ipv6_dhcp" },
      ],
      services: [
        { type: "dns", address: "10.0.0.2" },
        { type: "dns", address: "fd00::2" },
        { type: "dns", address: "10.1.0.2" },
      ],
    });
  });

  it("has the tree of Amazon's metadata, too", () => {
    const given = content({
      links: LINKS,
      publicKeys: { ours: "ssh-rsa A" },
      userData: Buffer.from("run"),
      imageId: "cirros",
    });
    expect(json(given, "ec2/2009-04-04/meta-data.json")).toMatchObject({
      "instance-id": "i-0fbeab4c",
      "local-ipv4": "10.0.0.5",
      "ami-id": "cirros",
      "public-keys": { 0: { _name: "0=ours", "openssh-key": "ssh-rsa A" } },
    });
    expect(read(given).get("ec2/latest/user-data")).toBe("run");
  });
});

describe("a NoCloud seed", () => {
  const seed = (changes: Partial<ConfigDriveContent> = {}): ConfigDriveContent =>
    content({ layout: "nocloud", ...changes });

  it("has metadata and user data even where there are none", () => {
    expect([...read(seed())]).toEqual([
      ["meta-data", `{\n  "instance-id": "${UUID}",\n  "local-hostname": "web-1.example.org"\n}\n`],
      ["user-data", ""],
    ]);
  });

  it("lets metadata name nothing that is the instance's own", () => {
    const metadata = { role: "db", "instance-id": "forged" };
    expect(json(seed({ metadata, publicKeys: { a: "ssh-rsa A", b: "ssh-rsa B" } }), "meta-data")).toEqual({
      role: "db",
      "instance-id": UUID,
      "local-hostname": "web-1.example.org",
      "public-keys": ["ssh-rsa A", "ssh-rsa B"],
    });
  });

  it("brings password and files as vendor data, beside what is given", () => {
    const given = seed({
      adminPassword: Secret.of(`'"\\#: x`),
      files: [{ path: "/etc/motd", contents: Buffer.from([0, 255]) }],
      vendorData: { packages: ["vim"], write_files: [{ path: "/etc/given" }] },
    });
    const [first, ...rest] = (read(given).get("vendor-data") ?? "").split("\n");
    expect(first).toBe("#cloud-config");
    expect(JSON.parse(rest.join("\n"))).toEqual({
      packages: ["vim"],
      write_files: [{ path: "/etc/given" }, { path: "/etc/motd", encoding: "b64", content: "AP8=" }],
      password: `'"\\#: x`,
      chpasswd: { expire: false },
    });
  });

  it("describes the network in version 1", () => {
    expect(json(seed({ links: LINKS }), "network-config")).toEqual({
      version: 1,
      config: [
        {
          type: "physical",
          name: "eth0",
          mac_address: "52:54:00:00:00:01",
          mtu: 1450,
          subnets: [
            {
              type: "static",
              address: "10.0.0.5/22",
              gateway: "10.0.0.1",
              dns_nameservers: ["10.0.0.2"],
              routes: [{ network: "192.168.0.0", netmask: "255.255.0.0", gateway: "10.0.0.254" }],
            },
            { type: "static6", address: "fd00::5/64", gateway: "fd00::1", dns_nameservers: ["10.0.0.2", "fd00::2"] },
          ],
        },
        {
          type: "physical",
          name: "eth1",
          mac_address: "52:54:00:00:00:02",
          subnets: [{ type: "dhcp4" }, { type: "dhcp6" }],
        },
        { type: "physical", name: "eth2", mac_address: "52:54:00:00:00:03", subnets: [] },
      ],
    });
  });

  it("describes the network in version 2", () => {
    expect(json(seed({ links: LINKS, networkConfigVersion: 2 }), "network-config")).toEqual({
      version: 2,
      ethernets: {
        eth0: {
          match: { macaddress: "52:54:00:00:00:01" },
          "set-name": "eth0",
          mtu: 1450,
          dhcp4: false,
          dhcp6: false,
          addresses: ["10.0.0.5/22", "fd00::5/64"],
          routes: [
            { to: "0.0.0.0/0", via: "10.0.0.1" },
            { to: "192.168.0.0/16", via: "10.0.0.254" },
            { to: "::/0", via: "fd00::1" },
          ],
          nameservers: { addresses: ["10.0.0.2", "fd00::2"] },
        },
        eth1: { match: { macaddress: "52:54:00:00:00:02" }, "set-name": "eth1", dhcp4: true, dhcp6: true },
        eth2: {
          match: { macaddress: "52:54:00:00:00:03" },
          "set-name": "eth2",
          dhcp4: false,
          dhcp6: false,
          optional: true,
        },
      },
    });
  });
});

describe("the files of any config drive", () => {
  const anyText = fc.string({ unit: "grapheme", maxLength: 40 });
  const anyContent = fc.record({
    layout: fc.constantFrom("openstack" as const, "nocloud" as const),
    metadata: fc.dictionary(anyText, anyText, { maxKeys: 5 }),
    publicKeys: fc.dictionary(anyText, anyText, { maxKeys: 3 }),
    adminPassword: anyText.map((text) => Secret.of(text)),
    files: fc.array(fc.record({ path: anyText, contents: fc.uint8Array({ maxLength: 40 }) }), { maxLength: 4 }),
    userData: fc.uint8Array({ maxLength: 40 }),
    vendorData: fc.dictionary(anyText, anyText, { maxKeys: 3 }),
  });

  it("are the same for the same content, at plain paths, each once", () => {
    fc.assert(
      fc.property(anyContent, (changes) => {
        const files = configDriveFiles(content(changes));
        expect(configDriveFiles(content(changes))).toEqual(files);
        for (const { path } of files) expect(path).toMatch(/^[a-z0-9][a-z0-9._-]*(\/[a-z0-9][a-z0-9._-]*){0,2}$/);
        expect(new Set(files.map(({ path }) => path)).size).toBe(files.length);
      }),
    );
  });

  it("hold in JSON whatever they are given, without what YAML refuses or takes for a line's end", () => {
    fc.assert(
      fc.property(anyContent, (changes) => {
        const path = changes.layout === "openstack" ? "openstack/latest/meta_data.json" : "meta-data";
        const text = read(content(changes)).get(path) ?? "";
        expect(text).not.toMatch(/[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/);
        const data = JSON.parse(text) as { readonly meta?: object };
        expect(changes.layout === "openstack" ? data.meta : data).toMatchObject({ ...changes.metadata });
      }),
    );
  });

  it("are refused when they are too large for a drive", () => {
    const half = { path: "/x", contents: new Uint8Array(MAX_CONFIG_DRIVE_BYTES / 2) };
    expect(() => configDriveFiles(content({ files: [half, half] }))).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: "configDrive" }) as Error,
    );
  });
});
