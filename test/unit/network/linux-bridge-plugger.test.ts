import { describe, expect, it } from "vitest";
import { CommandError } from "../../../src/host/index.js";
import { LinuxBridgePlugger, tapNameOf } from "../../../src/network/index.js";
import type { BridgeVif, UserVif } from "../../../src/network/index.js";
import { FakeIp } from "./support/fake-ip.js";

const INSTANCE = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const OTHER = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b002";
const PORT = "7b4f9c7e-14a1-4a3f-8a55-3a9c1f6b2d10";
const TAP = "tap7b4f9c7e-14";

const vif: BridgeVif = {
  id: PORT,
  type: "bridge",
  macAddress: "fa:16:3e:00:00:01",
  bridge: "br0",
  network: { id: "net-1", mtu: 1450, subnets: [{ cidr: "192.0.2.0/24" }] },
};

function host(options: { tapOwnerUid?: number } = {}): { ip: FakeIp; plugger: LinuxBridgePlugger } {
  const ip = new FakeIp();
  ip.add("br0", { kind: "bridge" });
  ip.add("eth0");
  return { ip, plugger: new LinuxBridgePlugger({ commands: ip, deviceExists: ip.exists, ...options }) };
}

describe("plugging a VIF into a bridge", () => {
  it("makes a TAP of the port that is up, a port of the bridge, and marked as ours", async () => {
    const { ip, plugger } = host();
    expect(await plugger.plug(vif, INSTANCE)).toEqual({ type: "tap", deviceName: TAP, bridge: "br0", queues: 1 });
    expect(ip.links.get(TAP)).toEqual({
      kind: "tun",
      multiQueue: false,
      master: "br0",
      mtu: 1450,
      address: "fe:16:3e:00:00:01",
      alias: `hypervise:${INSTANCE}:${PORT}`,
      up: true,
      linkLocal: false,
    });
    expect(ip.calls).toEqual([
      "-details -json link show dev br0",
      `tuntap add dev ${TAP} mode tap vnet_hdr`,
      `link set dev ${TAP} mtu 1450 address fe:16:3e:00:00:01 alias hypervise:${INSTANCE}:${PORT} addrgenmode none master br0 up`,
    ]);
  });

  it("gives the TAP the queues, the name and the owner that are asked for", async () => {
    const { ip, plugger } = host({ tapOwnerUid: 64055 });
    const backend = await plugger.plug({ ...vif, queues: 4, deviceName: "web0" }, INSTANCE);
    expect(backend).toEqual({ type: "tap", deviceName: "web0", bridge: "br0", queues: 4 });
    expect(ip.calls).toContain("tuntap add dev web0 mode tap user 64055 multi_queue vnet_hdr");
  });

  it("leaves a plugged VIF as it is", async () => {
    const { ip, plugger } = host();
    const first = await plugger.plug(vif, INSTANCE);
    ip.calls.length = 0;
    expect(await plugger.plug(vif, INSTANCE)).toEqual(first);
    expect(ip.calls.every((call) => call.includes("show"))).toBe(true);
  });

  it.each([
    ["was taken out of the bridge", { master: undefined }],
    ["is down", { up: false }],
    ["has another MTU", { mtu: 1500 }],
    ["was left by a crash before it was marked", { alias: undefined, master: undefined, up: false }],
  ])("repairs a TAP that %s", async (_what, damage) => {
    const { ip, plugger } = host();
    await plugger.plug(vif, INSTANCE);
    const whole = { ...ip.links.get(TAP) };
    Object.assign(ip.links.get(TAP) ?? {}, damage);
    await plugger.plug(vif, INSTANCE);
    expect(ip.links.get(TAP)).toEqual(whole);
  });

  it("replaces a TAP of another number of queues, unless it is open", async () => {
    const { ip, plugger } = host();
    await plugger.plug(vif, INSTANCE);
    await plugger.plug({ ...vif, queues: 2 }, INSTANCE);
    expect(ip.links.get(TAP)?.multiQueue).toBe(true);
    Object.assign(ip.links.get(TAP) ?? {}, { inUse: true });
    await expect(plugger.plug(vif, INSTANCE)).rejects.toMatchObject({ code: "VIF_PLUG_FAILED", retryable: true });
    expect(ip.links.get(TAP)?.multiQueue).toBe(true);
  });

  it("takes over the TAP of a port that was another instance's, unless that has it open", async () => {
    const { ip, plugger } = host();
    await plugger.plug(vif, OTHER);
    Object.assign(ip.links.get(TAP) ?? {}, { inUse: true });
    await expect(plugger.plug(vif, INSTANCE)).rejects.toMatchObject({ code: "VIF_PLUG_FAILED" });
    Object.assign(ip.links.get(TAP) ?? {}, { inUse: false });
    await plugger.plug(vif, INSTANCE);
    expect(ip.links.get(TAP)?.alias).toBe(`hypervise:${INSTANCE}:${PORT}`);
  });

  it("says what to do when the bridge is not there or none", async () => {
    const { ip, plugger } = host();
    const missing = plugger.plug({ ...vif, bridge: "br9" }, INSTANCE);
    await expect(missing).rejects.toMatchObject({
      code: "VIF_PLUG_FAILED",
      remedy: expect.stringContaining("ip link add br9 type bridge") as string,
      instance: { uuid: INSTANCE },
      device: PORT,
    });
    await expect(plugger.plug({ ...vif, bridge: "eth0" }, INSTANCE)).rejects.toMatchObject({
      code: "VIF_PLUG_FAILED",
      retryable: false,
    });
    expect([...ip.links.keys()]).toEqual(["br0", "eth0"]);
  });

  it.each([
    ["a network card", { deviceName: "eth0" }],
    ["somebody else's TAP", { deviceName: "vpn0" }],
    ["a TAP that a bridge has", { deviceName: "vm0" }],
  ])("touches no device of another's: %s", async (_what, change) => {
    const { ip, plugger } = host();
    ip.add("vpn0", { kind: "tun", alias: "office", inUse: false });
    ip.add("vm0", { kind: "tun", master: "br0" });
    const before = structuredClone([...ip.links]);
    await expect(plugger.plug({ ...vif, ...change }, INSTANCE)).rejects.toMatchObject({
      code: "VIF_PLUG_FAILED",
      retryable: false,
    });
    await plugger.unplug({ ...vif, ...change }, INSTANCE);
    expect([...ip.links]).toEqual(before);
  });

  it.each(["-details -json link show dev br0", `tuntap add dev ${TAP}`, `link set dev ${TAP}`])(
    "leaves nothing when %j fails",
    async (failing) => {
      const { ip, plugger } = host();
      ip.before = (call) => {
        if (call.startsWith(failing))
          throw new CommandError({ argv: ["ip"], exitCode: 2, stderr: "Operation not permitted" });
      };
      const error: unknown = await plugger.plug(vif, INSTANCE).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({
        code: "VIF_PLUG_FAILED",
        remedy: expect.stringContaining("CAP_NET_ADMIN") as string,
        undoErrors: [],
      });
      expect((error as Error).cause).toMatchObject({ code: "COMMAND_FAILED" });
      expect([...ip.links.keys()]).toEqual(["br0", "eth0"]);
    },
  );

  it("attaches the failure of undoing to the first one", async () => {
    const { ip, plugger } = host();
    ip.before = (call) => {
      if (/^link (set|delete)/.test(call)) throw new CommandError({ argv: ["ip"], exitCode: 2, stderr: "" });
    };
    await expect(plugger.plug(vif, INSTANCE)).rejects.toMatchObject({
      code: "VIF_PLUG_FAILED",
      undoErrors: [{ code: "UNDO_FAILED" }],
    });
  });

  it("leaves nothing when it is aborted", async () => {
    const { ip, plugger } = host();
    const controller = new AbortController();
    ip.before = (call) => {
      if (call.startsWith("link set")) controller.abort();
    };
    await expect(plugger.plug(vif, INSTANCE, { signal: controller.signal })).rejects.toThrow();
    expect([...ip.links.keys()]).toEqual(["br0", "eth0"]);
  });

  it("plugs one VIF once when it is asked twice at once", async () => {
    const { ip, plugger } = host();
    await Promise.all([plugger.plug(vif, INSTANCE), plugger.plug(vif, INSTANCE)]);
    expect(ip.calls.filter((call) => call.startsWith("tuntap"))).toHaveLength(1);
  });
});

describe("unplugging a VIF", () => {
  it("removes its TAP, and is done when there is none", async () => {
    const { ip, plugger } = host();
    await plugger.plug(vif, INSTANCE);
    await plugger.unplug(vif, INSTANCE);
    expect([...ip.links.keys()]).toEqual(["br0", "eth0"]);
    await plugger.unplug(vif, INSTANCE);
  });

  it("works when the bridge is gone", async () => {
    const { ip, plugger } = host();
    await plugger.plug(vif, INSTANCE);
    ip.links.delete("br0");
    await plugger.unplug(vif, INSTANCE);
    expect(ip.links.has(TAP)).toBe(false);
  });

  it("leaves the TAP of a port that belongs to another instance by now", async () => {
    const { ip, plugger } = host();
    await plugger.plug(vif, OTHER);
    await plugger.unplug(vif, INSTANCE);
    expect(ip.links.has(TAP)).toBe(true);
  });

  it("succeeds when the device goes away meanwhile, and says so when it can't be removed", async () => {
    const { ip, plugger } = host();
    await plugger.plug(vif, INSTANCE);
    ip.before = (call) => {
      if (call.startsWith("link delete")) throw new CommandError({ argv: ["ip"], exitCode: 1, stderr: "" });
    };
    await expect(plugger.unplug(vif, INSTANCE)).rejects.toMatchObject({ code: "VIF_PLUG_FAILED", device: PORT });
    ip.before = (call) => {
      if (call.startsWith("link delete")) ip.links.delete(TAP);
    };
    await plugger.unplug(vif, INSTANCE);
  });
});

describe("a VIF on the user-mode network", () => {
  it("needs nothing of the host", async () => {
    const { ip, plugger } = host();
    const user: UserVif = {
      id: PORT,
      type: "user",
      macAddress: "fa:16:3e:00:00:01",
      network: { id: "net", subnets: [{ cidr: "fd00::/64" }, { cidr: "10.0.2.0/24" }] },
    };
    expect(await plugger.plug(user, INSTANCE)).toEqual({ type: "user", cidr: "10.0.2.0/24" });
    await plugger.unplug(user, INSTANCE);
    expect(ip.calls).toEqual([]);
  });
});

describe("a VIF that can't be", () => {
  const { ip, plugger } = host();
  it.each([
    ["vif.id", { id: "../x" }],
    ["vif.macAddress", { macAddress: "01:00:5e:00:00:01" }],
    ["vif.macAddress", { macAddress: "a,b=c" }],
    ["vif.bridge", { bridge: "br0; reboot" }],
    ["vif.bridge", { bridge: "-d" }],
    ["vif.bridge", { bridge: "" }],
    ["vif.deviceName", { deviceName: "x".repeat(16) }],
    ["vif.deviceName", { deviceName: "a\nb" }],
    ["vif.deviceName", { deviceName: "../x" }],
    ["vif.deviceName", { deviceName: "ä" }],
    ["vif.deviceName", { deviceName: "br0" }],
    ["vif.queues", { queues: 0 }],
    ["vif.queues", { queues: 257 }],
    ["vif.network.mtu", { network: { id: "n", mtu: 67 } }],
    ["vif.network.subnets[0].cidr", { network: { id: "n", subnets: [{ cidr: "10.0.0.0" }] } }],
    ["vif.type", { type: "macvtap" as "bridge" }],
  ])("is refused by the field %s: %o", async (field, change) => {
    await expect(plugger.plug({ ...vif, ...change }, INSTANCE)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      field,
    });
    expect(ip.calls).toEqual([]);
  });

  it("is refused for an instance that can't be", async () => {
    await expect(plugger.plug(vif, "x")).rejects.toMatchObject({ field: "instanceUuid" });
  });
});

describe("the name of a port's TAP", () => {
  it("is Nova's", () => {
    expect(tapNameOf(PORT)).toBe(TAP);
    expect(() => tapNameOf("x")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error);
  });
});
