import { describe, expect, it } from "vitest";
import { receivedDefinition } from "../../../src/hypervisor/index.js";
import { definition, disk, nic } from "../kvm/definitions.js";

describe("the definition of a guest on the host that it comes to", () => {
  it("has the source's hardware on the destination's back ends", () => {
    const kernel = { kernelPath: "/here/vmlinuz" };
    const tap = { type: "tap", deviceName: "tap7", bridge: "br0", queues: 1 } as const;
    const own = { type: "file", path: "/here/root.raw", format: "raw" } as const;
    const here = definition({ kernel, disks: [disk("root", { source: own })], nics: [nic("port", { backend: tap })] });
    const there = definition({ vcpus: 3, disks: [disk("root", { serial: "s1" })], kernel: { kernelPath: "/there/k" } });
    expect(receivedDefinition(here, there)).toEqual({
      ...there,
      kernel,
      disks: [disk("root", { serial: "s1", source: own })],
      nics: [nic("port", { backend: tap })],
    });
    for (const unlike of [
      definition({ name: "other" }),
      definition({ disks: [] }),
      definition({ disks: [disk("data")] }),
      definition({ nics: [] }),
      definition({ nics: [nic("other")] }),
    ])
      expect(() => receivedDefinition(here, unlike)).toThrow(
        expect.objectContaining({ code: "MIGRATION_PRECHECK_FAILED" }) as Error,
      );
  });
});
