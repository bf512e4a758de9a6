import { randomBytes, randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import { openTap } from "../../../src/host/index.js";
import { LinuxBridgePlugger } from "../../../src/network/index.js";
import type { BridgeVif } from "../../../src/network/index.js";
import {
  collectResidue,
  createBridge,
  expectNoResidue,
  requireNetworkRights,
  requirePackages,
  run,
} from "../../lab/index.js";

const INSTANCE = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";

function vifOn(bridge: string, more: Partial<BridgeVif> = {}): BridgeVif {
  return {
    id: randomUUID(),
    type: "bridge",
    macAddress: "fa:16:3e:00:00:01",
    bridge,
    network: { id: "net", mtu: 1400 },
    ...more,
  };
}

async function show(name: string): Promise<Record<string, unknown>> {
  return (JSON.parse(await run(["ip", "-d", "-j", "link", "show", "dev", name])) as Record<string, unknown>[])[0] ?? {};
}

beforeAll(() => {
  requirePackages("ip");
  requireNetworkRights();
});

describe("a VIF on a real bridge", () => {
  const plugger = new LinuxBridgePlugger();

  it("has a TAP that survives, that a hypervisor can open by name, and that goes without a trace", async () => {
    const before = await collectResidue();
    {
      await using bridge = await createBridge({ dhcp: false });
      const vif = vifOn(bridge.name);
      const backend = await plugger.plug(vif, INSTANCE);
      const name = backend.type === "tap" ? backend.deviceName : "";
      expect(backend).toEqual({ type: "tap", deviceName: `tap${vif.id.slice(0, 11)}`, bridge: bridge.name, queues: 1 });
      expect(await bridge.ports()).toEqual([name]);
      expect(await show(name)).toMatchObject({
        mtu: 1400,
        address: "fe:16:3e:00:00:01",
        inet6_addr_gen_mode: "none",
        flags: expect.arrayContaining(["UP"]) as string[],
        linkinfo: { info_data: { type: "tap", vnet_hdr: true, persist: true } },
      });
      expect(await plugger.plug(vif, INSTANCE)).toEqual(backend);
      const tap = openTap({ name, exclusive: false, vnetHdr: true });
      expect((await show(name))["flags"]).toContain("LOWER_UP");
      tap.close();
      expect(await bridge.ports()).toEqual([name]);
      await plugger.unplug(vif, INSTANCE);
      await plugger.unplug(vif, INSTANCE);
    }
    await expectNoResidue(before);
  });

  it("leaves the bridge its address", async () => {
    await using bridge = await createBridge({ dhcp: false });
    const uplink = `hvu${randomBytes(3).toString("hex")}`;
    await run(["ip", "link", "add", uplink, "address", "52:54:00:00:00:01", "type", "veth"]);
    try {
      await run(["ip", "link", "set", "dev", uplink, "master", bridge.name]);
      const vif = vifOn(bridge.name, { macAddress: "52:54:00:00:00:00" });
      await plugger.plug(vif, INSTANCE);
      expect((await show(bridge.name))["address"]).toBe("52:54:00:00:00:01");
      await plugger.unplug(vif, INSTANCE);
    } finally {
      await run(["ip", "link", "delete", "dev", uplink]);
    }
  });

  it("has all its queues, and is not replaced while they are open", async () => {
    await using bridge = await createBridge({ dhcp: false });
    const vif = vifOn(bridge.name, { queues: 4 });
    const backend = await plugger.plug(vif, INSTANCE);
    const name = backend.type === "tap" ? backend.deviceName : "";
    const tap = openTap({ name, exclusive: false, vnetHdr: true, queues: 4 });
    try {
      expect(tap.fds).toHaveLength(4);
      await expect(plugger.plug({ ...vif, queues: 1 }, INSTANCE)).rejects.toMatchObject({ code: "VIF_PLUG_FAILED" });
    } finally {
      tap.close();
    }
    await plugger.plug({ ...vif, queues: 1 }, INSTANCE);
    expect(await show(name)).toMatchObject({ linkinfo: { info_data: { multi_queue: false } } });
    await plugger.unplug(vif, INSTANCE);
    expect(await bridge.ports()).toEqual([]);
  });

  it("belongs to the user who is to open it", async () => {
    await using bridge = await createBridge({ dhcp: false });
    const vif = vifOn(bridge.name);
    const owned = new LinuxBridgePlugger({ tapOwnerUid: 65534 });
    const backend = await owned.plug(vif, INSTANCE);
    const { linkinfo } = await show(backend.type === "tap" ? backend.deviceName : "");
    expect(linkinfo).toMatchObject({ info_data: { user: expect.stringMatching(/nobody|65534/) as string } });
    await owned.unplug(vif, INSTANCE);
  });

  it("leaves nothing when the bridge is missing or what is there is none", async () => {
    const before = await collectResidue();
    const absent = vifOn(`no${randomBytes(4).toString("hex")}`);
    await expect(plugger.plug(absent, INSTANCE)).rejects.toMatchObject({ code: "VIF_PLUG_FAILED" });
    await expect(plugger.plug(vifOn("lo"), INSTANCE)).rejects.toMatchObject({
      code: "VIF_PLUG_FAILED",
      retryable: false,
    });
    await expectNoResidue(before);
  });

  it("leaves nothing when the TAP can't be set up", async () => {
    await using bridge = await createBridge({ dhcp: false });
    // The kernel's TAPs take no MTU of this size.
    const vif = vifOn(bridge.name, { network: { id: "net", mtu: 65_535 } });
    const before = await collectResidue();
    await expect(plugger.plug(vif, INSTANCE)).rejects.toMatchObject({ code: "VIF_PLUG_FAILED", undoErrors: [] });
    await expectNoResidue(before);
  });

  it("never takes a device that is somebody else's", async () => {
    await using bridge = await createBridge({ dhcp: false });
    const name = await bridge.addTap();
    const vif = vifOn(bridge.name, { deviceName: name });
    await expect(plugger.plug(vif, INSTANCE)).rejects.toMatchObject({ code: "VIF_PLUG_FAILED", retryable: false });
    await plugger.unplug(vif, INSTANCE);
    expect(await bridge.ports()).toEqual([name]);
  });

  it("is one of many that are plugged at once", async () => {
    await using bridge = await createBridge({ dhcp: false });
    const vifs = Array.from({ length: 12 }, () => vifOn(bridge.name));
    await Promise.all(vifs.map((vif) => plugger.plug(vif, INSTANCE)));
    expect(await bridge.ports()).toHaveLength(12);
    await Promise.all(vifs.map((vif) => plugger.unplug(vif, INSTANCE)));
    expect(await bridge.ports()).toEqual([]);
  });
});
