import { describe, expect, it } from "vitest";
import { UserNetworkPlugger } from "../../../src/network/index.js";
import type { Vif } from "../../../src/network/index.js";

const user: Vif = {
  id: "7b4f9c7e-14a1-4a3f-8a55-3a9c1f6b2d10",
  type: "user",
  macAddress: "fa:16:3e:00:00:01",
  network: { id: "net" },
};

describe("a host without privileges", () => {
  const plugger = new UserNetworkPlugger();

  it("takes VIFs on the user-mode network", async () => {
    plugger.validate(user, "spec.vifs[0]");
    expect(await plugger.plug(user)).toEqual({ type: "user" });
    await plugger.unplug();
  });

  it("refuses all others, naming the field", () => {
    const bridged: Vif = { ...user, type: "bridge", bridge: "br0" };
    expect(() => plugger.validate(bridged, "spec.vifs[1]")).toThrow(
      expect.objectContaining({
        code: "NOT_SUPPORTED",
        message: expect.stringContaining("spec.vifs[1].type") as string,
      }) as Error,
    );
  });

  it("refuses what a user-mode network does not have", () => {
    expect(() => plugger.validate({ ...user, queues: 2 }, "vif")).toThrow(
      expect.objectContaining({ field: "vif.queues" }) as Error,
    );
    expect(() => plugger.validate({ ...user, macAddress: "x" }, "vif")).toThrow(
      expect.objectContaining({ field: "vif.macAddress" }) as Error,
    );
  });
});
