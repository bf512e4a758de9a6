import { describe, expect, it } from "vitest";
import { parseLink } from "../../../src/network/links.js";

describe("what ip prints of a device", () => {
  it("is read as far as it is known", () => {
    const tap = {
      ifname: "tap0",
      flags: ["NO-CARRIER", "UP"],
      mtu: 1400,
      master: "br0",
      address: "fe:00:00:00:00:01",
      ifalias: "mine",
      linkinfo: {
        info_kind: "tun",
        info_data: { type: "tap", pi: false, vnet_hdr: true, multi_queue: true, numqueues: 2, numdisabled: 0 },
      },
    };
    expect(parseLink(JSON.stringify([tap]))).toEqual({
      name: "tap0",
      kind: "tun",
      tap: { vnetHdr: true, multiQueue: true, inUse: true },
      master: "br0",
      mtu: 1400,
      macAddress: "fe:00:00:00:00:01",
      alias: "mine",
      up: true,
    });
    expect(parseLink('[{"ifname":"eth0"}]')).toEqual({ name: "eth0", up: false });
    expect(parseLink('[{"ifname":"t","linkinfo":{"info_kind":"tun","info_data":{"type":"tun"}}}]')).toEqual({
      name: "t",
      kind: "tun",
      up: false,
    });
  });

  it.each(["", "[]", "{}", "[null]", "[{}]", "not JSON", '[{"ifname":7}]'])("is refused when it is %j", (text) => {
    expect(() => parseLink(text)).toThrow(expect.objectContaining({ code: "STATE_CORRUPT" }) as Error);
  });
});
