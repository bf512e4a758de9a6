// VIFs of each type on a real host: Open vSwitch in user space, macvtap, TAPs of others, and the kernel's traffic control.
import { closeSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { openMacvtap } from "../../../src/host/index.js";
import {
  BandwidthPlugger,
  LinuxBridgeInterfaceDriver,
  LinuxBridgePlugger,
  LinuxOvsInterfaceDriver,
  MacvtapPlugger,
  OvsPlugger,
  TapPlugger,
  VhostUserPlugger,
  VifPluggerByType,
} from "../../../src/network/index.js";
import type { BridgeVif, MacvtapVif, OvsVif, TapVif } from "../../../src/network/index.js";
import { createBridge, createNetworkNamespace, requirePackages, run } from "../../lab/index.js";
import type { LabBridge, NetworkNamespace } from "../../lab/index.js";
import { pings } from "./network-lab.js";
import { startOpenVswitch } from "./open-vswitch.js";
import type { OpenVswitch } from "./open-vswitch.js";

const INSTANCE = "0d1c4a52-6f0c-4a35-8f0d-2f4c9f3f7a11";
const OTHER = "99999999-6f0c-4a35-8f0d-2f4c9f3f7a11";
const PORT = "ab3e4f10-8f57-4a2b-9c6e-94bd3c9fd8aa";
const common = { id: PORT, macAddress: "fa:16:3e:01:02:03", network: { id: "net-1", mtu: 1400 } } as const;

const devices = async (): Promise<string> => run(["ip", "-br", "link"]);
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

describe("Open vSwitch", () => {
  let ovs: OpenVswitch;

  beforeAll(async () => {
    requirePackages("ip", "ovs-vsctl");
    ovs = await startOpenVswitch();
    await ovs.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev");
  });

  afterAll(async () => {
    await ovs?.vsctl("--if-exists", "del-br", "br-int");
    await ovs?.[Symbol.asyncDispose]();
  });

  it("gets a port with what controllers look for, once, and loses it", async () => {
    const plugger = new OvsPlugger({ database: ovs.database });
    const vif: OvsVif = { type: "ovs", ...common, bridge: "br-int", vlan: 7, interfaceId: "port-7" };
    expect(await plugger.plug(vif, INSTANCE)).toEqual({ type: "tap", deviceName: "tapab3e4f10-8f", queues: 1 });
    await plugger.plug(vif, INSTANCE);
    expect(await ovs.vsctl("list-ports", "br-int")).toBe("tapab3e4f10-8f\n");
    const ids = await ovs.vsctl("get", "Interface", "tapab3e4f10-8f", "external_ids");
    expect(ids).toContain("iface-id=port-7");
    expect(ids).toContain(`attached-mac="${common.macAddress}"`);
    expect(ids).toContain(`vm-uuid="${INSTANCE}"`);
    expect((await ovs.vsctl("get", "Port", "tapab3e4f10-8f", "tag")).trim()).toBe("7");
    await plugger.plug({ ...vif, vlan: undefined } as unknown as OvsVif, INSTANCE);
    expect((await ovs.vsctl("get", "Port", "tapab3e4f10-8f", "tag")).trim()).toBe("[]");
    await plugger.unplug(vif, OTHER);
    expect(await devices()).toContain("tapab3e4f10-8f");
    await plugger.unplug(vif, INSTANCE);
    await plugger.unplug(vif, INSTANCE);
    expect(await ovs.vsctl("list-ports", "br-int")).toBe("");
    expect(await devices()).not.toContain("tapab3e4f10-8f");
  });

  it("leaves nothing of a VIF whose bridge is not there", async () => {
    const plugger = new OvsPlugger({ database: ovs.database });
    const vif: OvsVif = { type: "ovs", ...common, bridge: "br-none" };
    await expect(plugger.plug(vif, INSTANCE)).rejects.toMatchObject({ code: "VIF_PLUG_FAILED", device: PORT });
    expect(await devices()).not.toContain("tapab3e4f10-8f");
    expect(await ovs.vsctl("list-ports", "br-int")).toBe("");
  });

  it("carries packets between gateways of networks of one VLAN, and not to another's", async () => {
    const driver = new LinuxOvsInterfaceDriver({ database: ovs.database });
    const network = (n: number, vlan: number) => ({ id: `${n}${PORT.slice(1)}`, bridge: "br-int", vlan, mtu: 1400 });
    const mac = (n: number): string => `fa:16:3e:00:01:0${n}`;
    const networks = [network(1, 5), network(2, 5), network(3, 6)];
    const namespaces: NetworkNamespace[] = [];
    for (const [index, one] of networks.entries()) {
      const name = await driver.plug(one, mac(index));
      expect(name).toBe(`gw-${index + 1}b3e4f10-8f`);
      expect(await driver.plug(one, mac(index))).toBe(name);
      const namespace = await createNetworkNamespace();
      cleanups.push(() => namespace.remove());
      await run(["ip", "link", "set", name, "netns", namespace.name]);
      await namespace.run(["ip", "address", "add", `10.9.0.${index + 1}/24`, "dev", name]);
      await namespace.run(["ip", "link", "set", name, "up"]);
      namespaces.push(namespace);
    }
    const [one, , three] = namespaces as [NetworkNamespace, NetworkNamespace, NetworkNamespace];
    expect(await pings(one, "10.9.0.2")).toBe(true);
    expect(await pings(three, "10.9.0.2", 1)).toBe(false);
    for (const own of networks) await driver.unplug(own);
    for (const own of networks) await driver.unplug(own);
    expect(await ovs.vsctl("list-ports", "br-int")).toBe("");
  });
});

describe("macvtap", () => {
  it("shares an interface, and is opened by its number", async () => {
    await run(["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
    cleanups.push(() => run(["ip", "link", "del", "up0"]));
    await run(["ip", "link", "set", "up0", "up"]);
    const plugger = new MacvtapPlugger();
    const vif: MacvtapVif = { type: "macvtap", ...common, parentInterface: "up0" };
    const backend = await plugger.plug(vif, INSTANCE);
    expect(backend).toEqual({ type: "macvtap", deviceName: "tapab3e4f10-8f", queues: 1 });
    expect(await plugger.plug(vif, INSTANCE)).toEqual(backend);
    expect(await run(["ip", "link", "show", "tapab3e4f10-8f"])).toContain(common.macAddress);
    for (const fd of openMacvtap("tapab3e4f10-8f")) closeSync(fd);
    await plugger.unplug(vif, OTHER);
    expect(await devices()).toContain("tapab3e4f10-8f");
    await plugger.unplug(vif, INSTANCE);
    await plugger.unplug(vif, INSTANCE);
    expect(await devices()).not.toContain("tapab3e4f10-8f");
    await expect(plugger.plug({ ...vif, parentInterface: "none0" }, INSTANCE)).rejects.toMatchObject({
      code: "VIF_PLUG_FAILED",
    });
    expect(() => openMacvtap("tapab3e4f10-8f")).toThrow(expect.objectContaining({ code: "TAP_FAILED" }));
  });
});

describe("one host with VIFs of several types", () => {
  let bridge: LabBridge;

  beforeAll(async () => {
    bridge = await createBridge({ dhcp: false });
  });

  afterAll(async () => {
    await bridge?.remove();
  });

  it("hands each to its plugger", async () => {
    const plugger = new VifPluggerByType({
      bridge: new LinuxBridgePlugger(),
      tap: new TapPlugger(),
      vhostUser: new VhostUserPlugger(),
    });
    const tap = await bridge.addTap();
    const vif: TapVif = { type: "tap", ...common, deviceName: tap };
    expect(await plugger.plug(vif, INSTANCE)).toEqual({ type: "tap", deviceName: tap, bridge: bridge.name, queues: 1 });
    await plugger.unplug(vif, INSTANCE);
    expect(await devices()).toContain(tap);
    await expect(plugger.plug({ ...vif, deviceName: "none0" }, INSTANCE)).rejects.toMatchObject({
      code: "VIF_PLUG_FAILED",
    });
    await expect(plugger.plug({ ...vif, queues: 2 }, INSTANCE)).rejects.toMatchObject({ code: "VIF_PLUG_FAILED" });
    const onSwitch = { type: "vhostUser", ...common, socketPath: "/run/vswitch/port-1", queues: 2 } as const;
    expect(await plugger.plug(onSwitch, INSTANCE)).toEqual({
      ...{ type: "vhostUser", socketPath: "/run/vswitch/port-1", server: "switch", queues: 2 },
    });
    expect(() => plugger.validate({ type: "ovs", ...common, bridge: "br-int" }, "vif")).toThrow(
      expect.objectContaining({ code: "NOT_SUPPORTED" }),
    );
  });

  it("limits what a port carries, both ways, and forgets the limits with the port", async () => {
    const plugger = new BandwidthPlugger(new LinuxBridgePlugger());
    const limit = { averageKBps: 100, peakKBps: 200, burstKiB: 32 };
    const vif: BridgeVif = {
      type: "bridge",
      ...common,
      bridge: bridge.name,
      bandwidth: { inbound: limit, outbound: limit },
    };
    const tap = "tapab3e4f10-8f";
    const tc = async (device: string): Promise<string> =>
      (await run(["tc", "qdisc", "show", "dev", device])) + (await run(["tc", "class", "show", "dev", device]));
    await plugger.plug(vif, INSTANCE);
    await plugger.plug(vif, INSTANCE);
    expect(await tc(tap)).toMatch(/htb .*\n(.*\n)*.*rate 800Kbit ceil 1600Kbit burst 32Kb/);
    expect(await tc(tap)).toContain("ingress");
    const receiving = await run(["tc", "filter", "show", "dev", tap, "parent", "ffff:"]);
    expect(receiving).toMatch(/police|mirred/);
    // Other limits, and none.
    await plugger.plug({ ...vif, bandwidth: { inbound: { averageKBps: 50 } } }, INSTANCE);
    expect(await tc(tap)).toContain("rate 400Kbit");
    expect(await tc(tap)).not.toContain("ingress");
    expect(await devices()).not.toContain("ifb");
    const { bandwidth: _, ...unlimited } = vif;
    await plugger.plug(unlimited, INSTANCE);
    expect(await tc(tap)).not.toContain("htb");
    await plugger.plug(vif, INSTANCE);
    await plugger.unplug(vif, INSTANCE);
    await plugger.unplug(vif, INSTANCE);
    expect(await devices()).not.toMatch(/tapab3e4f10|ifb/);
  });

  it("holds packets back that are too many, in each direction", async () => {
    const { TrafficLimits } = await import("../../../src/network/index.js");
    await using guest = await createNetworkNamespace();
    await run(["ip", "link", "add", "lim0", "type", "veth", "peer", "name", "eth0", "netns", guest.name]);
    cleanups.push(() => run(["ip", "link", "del", "lim0"]).catch(() => ""));
    await run(["ip", "address", "add", "10.8.0.1/24", "dev", "lim0"]);
    await run(["ip", "link", "set", "lim0", "up"]);
    await guest.run(["ip", "address", "add", "10.8.0.2/24", "dev", "eth0"]);
    await guest.run(["ip", "link", "set", "eth0", "up"]);
    const limits = new TrafficLimits();
    await limits.set("lim0", { transmit: { averageKBps: 1, burstKiB: 4 }, receive: { averageKBps: 1, burstKiB: 4 } });
    const flood = (address: string): readonly string[] => [
      ...[process.execPath, "-e"],
      `const s=require("node:dgram").createSocket("udp4");let n=0;const f=()=>n++<64?s.send(Buffer.alloc(1000),9,${JSON.stringify(address)},f):s.close();f()`,
    ];
    const heldBack = async (device: string): Promise<number> => {
      const list = JSON.parse(await run(["tc", "-s", "-json", "qdisc", "show", "dev", device])) as readonly {
        readonly overlimits?: number;
        readonly drops?: number;
      }[];
      return list.reduce((sum, { overlimits = 0, drops = 0 }) => sum + overlimits + drops, 0);
    };
    await run(flood("10.8.0.2"));
    expect(await heldBack("lim0")).toBeGreaterThan(0);
    const names = await devices();
    const before = await heldBack("lim0");
    await guest.run(flood("10.8.0.1"));
    expect(names.includes("ifblim0") ? await heldBack("ifblim0") : (await heldBack("lim0")) - before).toBeGreaterThan(
      0,
    );
    await limits.clear("lim0");
    await limits.clear("lim0");
    expect(await run(["tc", "qdisc", "show", "dev", "lim0"])).not.toMatch(/htb|ingress/);
    expect(await devices()).not.toContain("ifblim0");
  });
});

describe("interface drivers of Linux bridges", () => {
  it("make the bridge with its port, once, and give back what was the port's", async () => {
    await run(["ip", "link", "add", "par0", "type", "veth", "peer", "name", "par1"]);
    cleanups.push(() => run(["ip", "link", "del", "par0"]));
    await run(["ip", "address", "add", "10.7.0.1/24", "dev", "par0"]);
    await run(["ip", "link", "set", "par0", "up"]);
    const driver = new LinuxBridgeInterfaceDriver({ flatInterface: "par0" });
    const network = { id: PORT, bridge: "br-if", parentInterface: "ignored" };
    expect(driver.getDev(network)).toBe("br-if");
    expect(await driver.plug(network, "fa:16:3e:00:02:01")).toBe("br-if");
    expect(await driver.plan(network, "fa:16:3e:00:02:01")).toBe("");
    expect(await run(["ip", "-br", "address", "show", "dev", "br-if"])).toContain("10.7.0.1/24");
    await driver.unplug(network);
    await driver.unplug(network);
    expect(await devices()).not.toContain("br-if");
    expect(await run(["ip", "-br", "address", "show", "dev", "par0"])).toContain("10.7.0.1/24");
    // One that somebody else has made stays.
    await driver.ensureBridge("br-else");
    cleanups.push(() => run(["ip", "link", "del", "br-else"]));
    await driver.plug({ id: PORT, bridge: "br-else" }, "fa:16:3e:00:02:01");
    await driver.unplug({ id: PORT, bridge: "br-else" });
    expect(await devices()).toContain("br-else");
    await expect(driver.ensureBridge("par1")).rejects.toMatchObject({ code: "NETWORK_HOST_FAILED" });
    for (const bridge of ["x; reboot", "../../etc", "a b", "", "-x", "sixteen-chars-xx"])
      await expect(driver.ensureBridge(bridge)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
