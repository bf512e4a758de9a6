import { isIP } from "node:net";
import { describe, expect, it } from "vitest";
import { readVolumeHostProperties } from "../../../src/storage/index.js";
import { parseInitiator } from "../../../src/storage/volumes/volume-host-properties.js";

describe("what a host tells volume services", () => {
  it("is its name and an address", async () => {
    const properties = await readVolumeHostProperties();
    expect(properties.hostname).not.toBe("");
    expect(isIP(properties.ip)).not.toBe(0);
    expect(await readVolumeHostProperties({ ip: "192.0.2.7", multipath: true })).toMatchObject({
      ip: "192.0.2.7",
      multipath: true,
    });
    await expect(readVolumeHostProperties({ ip: "x" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "ip",
    });
  });

  it.each([
    ["# comment\nInitiatorName=iqn.1993-08.org.debian:01:abc\n", "iqn.1993-08.org.debian:01:abc"],
    ["InitiatorName = naa.5000\n", "naa.5000"],
    ["InitiatorName=; reboot", undefined],
    ["#InitiatorName=iqn.1993-08.org.debian:01:abc", undefined],
    ["", undefined],
  ])("reads the initiator of %j", (text, expected) => {
    expect(parseInitiator(text)).toBe(expected);
  });
});
