import { describe, expect, it } from "vitest";
import { Secret } from "../../../src/core/index.js";
import {
  channelXml,
  consoleXml,
  diskXml,
  domainBackupXml,
  domainSnapshotXml,
  formatDeviceXml,
  formatNwFilterXml,
  graphicsXml,
  hostDeviceXml,
  interfaceXml,
  networkXml,
  nwFilterXml,
  parseNwFilterXml,
  secretXml,
  storagePoolXml,
  storageVolumeXml,
} from "../../../src/libvirt/xml/index.js";

describe("diskXml", () => {
  it("says what the disk is and where, and nothing that was not asked for", () => {
    expect(diskXml({ source: { file: "/a" }, target: "vda" })).toEqual({
      type: "file",
      device: "disk",
      driver: { name: "qemu", type: "raw" },
      source: { file: "/a" },
      target: { dev: "vda" },
    });
    expect(diskXml({ device: "cdrom", target: "sda", bus: "sata", readonly: false })).not.toHaveProperty("source");
    expect(Object.keys(diskXml({ target: "a", readonly: false }))).not.toContain("readonly");
  });

  it("knows network disks, their authentication and encryption", () => {
    const auth = { username: "admin", secretType: "ceph", secretUuid: "s1" } as const;
    const disk = diskXml({
      source: { protocol: "rbd", name: "pool/image", hosts: [{ name: "mon", port: 6789 }, { name: "mon2" }], auth },
      target: "vda",
      luksSecretUuid: "s2",
      limits: { total_iops_sec: 100 },
      bootOrder: 1,
    });
    expect(disk).toMatchObject({
      type: "network",
      source: { protocol: "rbd", name: "pool/image", host: [{ name: "mon", port: 6789 }, { name: "mon2" }] },
      auth: { username: "admin", secret: { type: "ceph", uuid: "s1" } },
      encryption: { format: "luks", secret: [{ type: "passphrase", uuid: "s2" }] },
      iotune: { total_iops_sec: 100 },
      boot: { order: 1 },
    });
  });
});

describe("interfaceXml", () => {
  it("connects to each kind of network", () => {
    const sources = [
      [{ bridge: "br0" }, { type: "bridge", source: { bridge: "br0" } }],
      [{ network: "default" }, { type: "network", source: { network: "default" } }],
      [
        { tap: "tap0", exists: true },
        { type: "ethernet", target: { dev: "tap0", managed: "no" } },
      ],
      [
        { macvtap: "eth0", mode: "bridge" },
        { type: "direct", source: { dev: "eth0", mode: "bridge" } },
      ],
      [
        { vhostUser: "/s", mode: "client" },
        { type: "vhostuser", source: { type: "unix", path: "/s", mode: "client" } },
      ],
      [{ vdpa: "/dev/vhost-vdpa-0" }, { type: "vdpa", source: { dev: "/dev/vhost-vdpa-0" } }],
      [{ user: true }, { type: "user" }],
    ] as const;
    for (const [source, expected] of sources)
      expect(interfaceXml({ source })).toEqual({ ...expected, model: { type: "virtio" } });
  });

  it("gives a card of the host by its address, and no model", () => {
    const xml = formatDeviceXml("interface", interfaceXml({ source: { pci: "03:10.1", managed: true } }), {
      pretty: false,
    });
    expect(xml).toBe(
      '<interface type="hostdev" managed="yes"><source><address type="pci" domain="0x0000" bus="0x03" slot="0x10" function="0x1"/></source></interface>',
    );
  });

  it("has filters with several values of a variable, VLANs and rates", () => {
    const device = interfaceXml({
      source: { bridge: "br0" },
      filter: { name: "clean", parameters: { IP: ["192.0.2.1", "192.0.2.2"], MAC: "02:00:00:00:00:01" } },
      vlans: [4, 5],
      inbound: { averageKiBs: 100 },
      target: "vnet9",
    });
    expect(device.filterref?.parameter).toEqual([
      { name: "IP", value: "192.0.2.1" },
      { name: "IP", value: "192.0.2.2" },
      { name: "MAC", value: "02:00:00:00:00:01" },
    ]);
    expect(device).toMatchObject({
      vlan: { trunk: "yes", tag: [{ id: 4 }, { id: 5 }] },
      bandwidth: { inbound: { average: 100 } },
      target: { dev: "vnet9" },
    });
  });
});

describe("hostDeviceXml", () => {
  it.each(["0000:03:10", "0000:03:10.8", "0000:03:20.0", "x", "", "0000:03:10.1 "])("refuses the address %j", (pci) => {
    expect(() => hostDeviceXml({ device: { pci } })).toThrow(expect.objectContaining({ field: "device.pci" }));
  });

  it("names devices by vendor and product, by place, and mediated ones by uuid", () => {
    expect(hostDeviceXml({ device: { usb: { vendor: "046d", product: "c077" } } }).source).toEqual({
      vendor: { id: "0x046d" },
      product: { id: "0xc077" },
    });
    expect(hostDeviceXml({ device: { usbAddress: { bus: 1, device: 4 } } }).source).toEqual({
      address: { bus: "1", device: "4" },
    });
    expect(hostDeviceXml({ device: { mediated: "u" } })).toMatchObject({
      type: "mdev",
      source: { address: { uuid: "u" } },
    });
  });
});

describe("consoles and channels", () => {
  it("are terminals and sockets by default", () => {
    expect(consoleXml()).toEqual({ type: "pty" });
    expect(channelXml({ name: "org.qemu.guest_agent.0" })).toEqual({
      type: "unix",
      target: { type: "virtio", name: "org.qemu.guest_agent.0" },
    });
  });

  it("write a log whatever else they do", () => {
    const console = consoleXml({
      backend: { pty: true },
      log: { file: "/l", append: true },
      port: 0,
      targetType: "serial",
    });
    expect(console).toEqual({ type: "pty", log: { file: "/l", append: "on" }, target: { type: "serial", port: "0" } });
  });

  it("listen and connect", () => {
    expect(consoleXml({ backend: { unix: "/s", listen: true } }).source).toEqual([{ mode: "bind", path: "/s" }]);
    expect(consoleXml({ backend: { tcp: { host: "::1", port: 5000 }, listen: false, telnet: true } })).toEqual({
      type: "tcp",
      source: [{ mode: "connect", host: "::1", service: "5000" }],
      protocol: { type: "telnet" },
    });
  });
});

describe("graphicsXml", () => {
  it("takes a free port unless it is told one, and none on a socket", () => {
    expect(graphicsXml({ type: "vnc" })).toEqual({ type: "vnc", autoport: "yes" });
    expect(graphicsXml({ type: "vnc", port: 5901, listen: { address: "127.0.0.1" } })).toEqual({
      type: "vnc",
      port: 5901,
      autoport: "no",
      $listen: [{ type: "address", address: "127.0.0.1" }],
    });
    expect(graphicsXml({ type: "vnc", listen: { socket: "/s" } })).not.toHaveProperty("autoport");
  });

  it("has the password and until when it holds", () => {
    const graphics = graphicsXml({ type: "spice", password: Secret.of("p"), passwordValidTo: new Date(0) });
    expect(graphics).toMatchObject({ passwd: "p", passwdValidTo: "1970-01-01T00:00:00" });
  });
});

describe("nwFilterXml", () => {
  it("keeps rules and references in the order in which they take effect", () => {
    const filter = nwFilterXml({
      name: "f",
      uuid: "u",
      chain: "root",
      entries: [
        { action: "accept", direction: "in", protocol: "tcp", match: { dstportstart: "22" } },
        { filter: { name: "no-spoofing" } },
        { action: "drop", direction: "inout", priority: 1000, stateMatch: false },
      ],
    });
    const text = formatNwFilterXml(filter, { pretty: false });
    expect(text).toBe(
      '<filter name="f" chain="root"><uuid>u</uuid><rule action="accept" direction="in"><tcp dstportstart="22"/></rule>' +
        '<filterref filter="no-spoofing"/><rule action="drop" direction="inout" priority="1000" statematch="false"/></filter>',
    );
    expect(parseNwFilterXml(text).$order).toEqual(["uuid", "rule", "filterref", "rule"]);
  });
});

describe("networks and storage", () => {
  it("have addresses with their prefix, and DHCP only where it was asked for", () => {
    const network = networkXml({
      name: "n",
      forward: "nat",
      addresses: [
        { cidr: "192.0.2.1/24", ranges: [{ start: "192.0.2.2", end: "192.0.2.9" }] },
        { cidr: "2001:db8::1/64" },
      ],
    });
    expect(network.ip).toEqual([
      { address: "192.0.2.1", prefix: 24, dhcp: { range: [{ start: "192.0.2.2", end: "192.0.2.9" }] } },
      { family: "ipv6", address: "2001:db8::1", prefix: 64 },
    ]);
    expect(() => networkXml({ name: "n", addresses: [{ cidr: "192.0.2.1" }] })).toThrow(/addresses\[0\].cidr/);
  });

  it("have sizes in bytes, also beyond 2^53", () => {
    expect(storageVolumeXml({ name: "v", capacityBytes: 2n ** 60n, allocationBytes: 0, format: "qcow2" })).toEqual({
      name: "v",
      capacity: { unit: "bytes", $text: 2n ** 60n },
      allocation: { unit: "bytes", $text: 0 },
      target: { format: { type: "qcow2" } },
    });
  });

  it("have a source only where they come from somewhere", () => {
    expect(storagePoolXml({ type: "dir", name: "p", path: "/p" })).toEqual({
      type: "dir",
      name: "p",
      target: { path: "/p" },
    });
    expect(secretXml({ usage: { ceph: "client" }, ephemeral: true })).toEqual({
      ephemeral: "yes",
      usage: { type: "ceph", name: "client" },
    });
  });
});

describe("snapshots and backups", () => {
  it("name each disk by its target", () => {
    expect(domainSnapshotXml({ disks: { vda: { file: "/o" }, vdb: "no" }, memory: "no" })).toEqual({
      memory: { snapshot: "no" },
      disks: {
        disk: [
          { name: "vda", snapshot: "external", type: "file", driver: { type: "qcow2" }, source: { file: "/o" } },
          { name: "vdb", snapshot: "no" },
        ],
      },
    });
    expect(domainBackupXml({ mode: "pull", server: { socket: "/n" }, disks: { vda: { scratchFile: "/s" } } })).toEqual({
      mode: "pull",
      server: { transport: "unix", socket: "/n" },
      disks: { disk: [{ name: "vda", backup: "yes", type: "file", scratch: { file: "/s" } }] },
    });
  });
});
