import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InvalidArgumentError, Secret } from "../../../src/core/index.js";
import { validateInstanceSpec } from "../../../src/driver/index.js";
import { blockDevice, connection, fullSpec, vif } from "./support/specs.js";

const HOSTILE_NAMES = [
  "../x",
  "a,b=c",
  "a\nb",
  "a\0b",
  "x".repeat(300),
  "naïve",
  "",
  ".",
  "..",
  ".hidden",
  "-rf",
  "a b",
  "a/b",
  "a;b",
  "$(id)",
  "`id`",
  "名前",
];

/** Every field of a spec that can be wrong, with values that are. */
const BAD: readonly (readonly [path: string, change: object, values: readonly unknown[]])[] = [
  [
    "spec.uuid",
    { uuid: null },
    ["", "x", 7, undefined, null, "11111111222243338444555555555555", "11111111-2222-4333-8444-55555555555g"],
  ],
  ["spec.name", { name: null }, [...HOSTILE_NAMES, 7, undefined, null, {}, ["a"]]],
  ["spec.flavor", { flavor: null }, [undefined, null, 7, "m1.small", []]],
  ["spec.imageId", { imageId: null }, ["../x", "a/b", "a b", "", "x".repeat(256), 7, null]],
  ["spec.machine", { machine: null }, ["pc-i440fx", "", 1, null, "__proto__"]],
  ["spec.firmware", { firmware: null }, ["ovmf", true, null]],
  ["spec.guestAgent", { guestAgent: null }, ["yes", 1, null]],
  [
    "spec.blockDevices",
    { blockDevices: null },
    [{}, "x", null, Array.from({ length: 257 }, (_, i) => blockDevice(`v${i}`))],
  ],
  ["spec.vifs", { vifs: null }, [{}, "x", null, Array.from({ length: 65 }, (_, i) => vif(i))]],
  [
    "spec.metadata",
    { metadata: null },
    [[], "x", null, Object.fromEntries(Array.from({ length: 129 }, (_, i) => [`k${i}`, ""]))],
  ],
  ["spec.kernel", { kernel: null }, ["vmlinuz", [], null]],
  [
    "spec.injectedFiles",
    { injectedFiles: null },
    [{}, "x", null, Array.from({ length: 17 }, () => ({ path: "/x", contents: new Uint8Array() }))],
  ],
  ["spec.adminPassword", { adminPassword: null }, [7, null, "", {}, "x".repeat(256)]],
];

const NESTED: readonly (readonly [path: string, spec: unknown])[] = [
  ["spec.flavor.vcpus", fullSpec({ flavor: { vcpus: 0, memoryMiB: 1, rootGiB: 0 } })],
  ["spec.flavor.vcpus", fullSpec({ flavor: { vcpus: 1.5, memoryMiB: 1, rootGiB: 0 } })],
  ["spec.flavor.vcpus", fullSpec({ flavor: { vcpus: 1025, memoryMiB: 1, rootGiB: 0 } })],
  ["spec.flavor.memoryMiB", fullSpec({ flavor: { vcpus: 1, memoryMiB: Number.NaN, rootGiB: 0 } })],
  ["spec.flavor.rootGiB", fullSpec({ flavor: { vcpus: 1, memoryMiB: 1, rootGiB: -1 } })],
  ["spec.flavor.ephemeralGiB", fullSpec({ flavor: { vcpus: 1, memoryMiB: 1, rootGiB: 1, ephemeralGiB: Infinity } })],
  [
    "spec.flavor.swapMiB",
    fullSpec({ flavor: { vcpus: 1, memoryMiB: 1, rootGiB: 1, swapMiB: "128" as unknown as number } }),
  ],
  [
    "spec.flavor.cpuTopology",
    fullSpec({ flavor: { vcpus: 3, memoryMiB: 1, rootGiB: 1, cpuTopology: { sockets: 1, cores: 2, threads: 1 } } }),
  ],
  [
    "spec.flavor.cpuTopology.cores",
    fullSpec({ flavor: { vcpus: 1, memoryMiB: 1, rootGiB: 1, cpuTopology: { sockets: 1, cores: 0, threads: 1 } } }),
  ],
  ["spec.vifs[1].macAddress", fullSpec({ vifs: [vif(1), vif(2, { macAddress: "52:54:00:00:00" })] })],
  ["spec.vifs[0].macAddress", fullSpec({ vifs: [vif(1, { macAddress: "53:54:00:00:00:01" })] })],
  ["spec.vifs[1].macAddress", fullSpec({ vifs: [vif(1), vif(2, { macAddress: vif(1).macAddress })] })],
  ["spec.vifs[1].id", fullSpec({ vifs: [vif(1), vif(2, { id: vif(1).id })] })],
  ["spec.vifs[1].deviceName", fullSpec({ vifs: [vif(1, { deviceName: "tap0" }), vif(2, { deviceName: "tap0" })] })],
  ["spec.vifs[0].bridge", fullSpec({ vifs: [vif(1, { bridge: "br0;reboot" })] })],
  ["spec.vifs[0].bridge", fullSpec({ vifs: [vif(1, { bridge: "a-bridge-too-long" })] })],
  ["spec.vifs[0].deviceName", fullSpec({ vifs: [vif(1, { deviceName: "../../x" })] })],
  ["spec.vifs[0].type", fullSpec({ vifs: [{ ...vif(1), type: "toString" as "bridge" }] })],
  ["spec.vifs[0].network.mtu", fullSpec({ vifs: [vif(1, { network: { id: "n", mtu: 67 } })] })],
  ["spec.vifs[0].network.id", fullSpec({ vifs: [vif(1, { network: { id: "../n" } })] })],
  [
    "spec.vifs[0].network.subnets[0].cidr",
    fullSpec({ vifs: [vif(1, { network: { id: "n", subnets: [{ cidr: "192.0.2.0/33" }] } })] }),
  ],
  ["spec.vifs[0].fixedIps[0].address", fullSpec({ vifs: [vif(1, { fixedIps: [{ address: "192.0.2.300" }] })] })],
  ["spec.vifs[0].securityGroups[0]", fullSpec({ vifs: [vif(1, { securityGroups: ["a b"] })] })],
  ["spec.vifs[0].tag", fullSpec({ vifs: [vif(1, { tag: "a,b" })] })],
  ["spec.vifs[0].queues", fullSpec({ vifs: [vif(1, { queues: 0 })] })],
  ["spec.vifs[0].model", fullSpec({ vifs: [vif(1, { model: "ne2k_pci" as "e1000" })] })],
  ["spec.blockDevices[0].connection.volumeId", fullSpec({ blockDevices: [blockDevice("../etc")] })],
  ["spec.blockDevices[1].connection.volumeId", fullSpec({ blockDevices: [blockDevice("a"), blockDevice("a")] })],
  [
    "spec.blockDevices[0].connection.data",
    fullSpec({ blockDevices: [{ connection: connection("a", { data: [] as unknown as object as {} }) }] }),
  ],
  [
    "spec.blockDevices[0].connection.type",
    fullSpec({ blockDevices: [{ connection: connection("a", { type: "a b" }) }] }),
  ],
  ["spec.blockDevices[0].deviceName", fullSpec({ blockDevices: [blockDevice("a", { deviceName: "sda" })] })],
  [
    "spec.blockDevices[1].deviceName",
    fullSpec({ blockDevices: [blockDevice("a", { deviceName: "vdb" }), blockDevice("b", { deviceName: "vdb" })] }),
  ],
  ["spec.blockDevices[0].bus", fullSpec({ blockDevices: [blockDevice("a", { bus: "floppy" as "ide" })] })],
  [
    "spec.blockDevices[1].bootIndex",
    fullSpec({ blockDevices: [blockDevice("a", { bootIndex: 1 }), blockDevice("b", { bootIndex: 1 })] }),
  ],
  ["spec.kernel.kernelImageId", fullSpec({ kernel: { kernelImageId: "" } })],
  ["spec.kernel.commandLine", fullSpec({ kernel: { kernelImageId: "k", commandLine: "a\nb" } })],
  ["spec.kernel.commandLine", fullSpec({ kernel: { kernelImageId: "k", commandLine: "x".repeat(2049) } })],
  ["spec.injectedFiles[0].path", fullSpec({ injectedFiles: [{ path: "etc/passwd", contents: new Uint8Array() }] })],
  ["spec.injectedFiles[0].path", fullSpec({ injectedFiles: [{ path: "/etc/../passwd", contents: new Uint8Array() }] })],
  [
    "spec.injectedFiles[0].contents",
    fullSpec({ injectedFiles: [{ path: "/x", contents: new Uint8Array(1_048_577) }] }),
  ],
  [
    "spec.injectedFiles[0].contents",
    fullSpec({ injectedFiles: [{ path: "/x", contents: "text" as unknown as Uint8Array }] }),
  ],
  ["spec.metadata.k", fullSpec({ metadata: { k: 1 as unknown as string } })],
  ["spec.metadata.k", fullSpec({ metadata: { k: "x".repeat(256) } })],
  ["spec.imageId", { uuid: fullSpec().uuid, name: "x", flavor: { vcpus: 1, memoryMiB: 1, rootGiB: 0 } }],
];

function refusal(spec: unknown): InvalidArgumentError {
  try {
    validateInstanceSpec(spec);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return error as InvalidArgumentError;
  }
  throw new Error("the spec was accepted");
}

describe("validateInstanceSpec", () => {
  it("gives a spec back as it is, frozen and independent", () => {
    const spec = fullSpec();
    const checked = validateInstanceSpec(spec);
    expect(checked).toEqual(spec);
    expect(checked).not.toBe(spec);
    expect(Object.isFrozen(checked) && Object.isFrozen(checked.vifs) && Object.isFrozen(checked.flavor)).toBe(true);
  });

  it("writes uuids and MAC addresses in lower case", () => {
    const checked = validateInstanceSpec(
      fullSpec({ uuid: fullSpec().uuid.toUpperCase(), vifs: [vif(10, { macAddress: "52:54:00:AA:BB:CC" })] }),
    );
    expect(checked.uuid).toBe(fullSpec().uuid);
    expect(checked.vifs?.[0]?.macAddress).toBe("52:54:00:aa:bb:cc");
  });

  it("wraps the password, and copies what is injected", () => {
    const contents = new Uint8Array([1, 2]);
    const checked = validateInstanceSpec(
      fullSpec({ adminPassword: "hunter2", injectedFiles: [{ path: "/etc/motd", contents }] }),
    );
    contents[0] = 9;
    expect(checked.adminPassword).toBeInstanceOf(Secret);
    expect(JSON.stringify(checked)).not.toContain("hunter2");
    expect(checked.injectedFiles?.[0]?.contents[0]).toBe(1);
  });

  for (const [path, change, values] of BAD) {
    const key = Object.keys(change)[0] ?? "";
    it.each(values.map((value, i) => [i, value] as const))(`names ${path} when it is bad (%i)`, (_i, value) => {
      expect(refusal({ ...fullSpec(), [key]: value }).field).toBe(path);
    });
  }

  it.each(NESTED)("names %s", (path, spec) => {
    expect(refusal(spec).field).toBe(path);
  });

  it.each([null, undefined, 7, "spec", [], () => undefined])("refuses %j for a spec", (value) => {
    expect(refusal(value).field).toBe("spec");
  });

  it("refuses keys that it does not know, at every level", () => {
    expect(refusal({ ...fullSpec(), flavour: {} }).field).toBe("spec.flavour");
    expect(refusal(fullSpec({ flavor: { ...fullSpec().flavor, disk: 1 } as never })).field).toBe("spec.flavor.disk");
    expect(refusal(fullSpec({ vifs: [{ ...vif(1), vlan: 1 } as never] })).field).toBe("spec.vifs[0].vlan");
    expect(refusal(fullSpec({ blockDevices: [{ ...blockDevice("a"), serial: "x" } as never] })).field).toBe(
      "spec.blockDevices[0].serial",
    );
  });

  it("is not polluted by prototypes", () => {
    const hostile = JSON.parse('{"__proto__": {"polluted": true}}') as object;
    expect(refusal({ ...fullSpec(), metadata: hostile }).field).toContain("__proto__");
    expect(refusal(Object.assign(JSON.parse('{"__proto__": {"name": "x"}}') as object, fullSpec())).field).toContain(
      "__proto__",
    );
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    expect(refusal(fullSpec({ blockDevices: [{ connection: connection("a", { data: hostile as {} }) }] })).code).toBe(
      "INVALID_ARGUMENT",
    );
  });

  it("never calls code of the spec", () => {
    let called = 0;
    const spec = fullSpec();
    Object.defineProperty(spec, "name", { enumerable: true, get: () => ((called += 1), "web-1") });
    expect(refusal(spec).field).toBe("spec.name");
    const trap = new Proxy({}, { ownKeys: () => ((called += 100), ["a"]) });
    expect(refusal(fullSpec({ metadata: trap })).code).toBe("INVALID_ARGUMENT");
    expect(called).toBeLessThanOrEqual(100);
  });

  it("shows no secret in its errors", () => {
    const error = refusal(fullSpec({ adminPassword: "s3cret".repeat(60) }));
    expect(JSON.stringify(error.toOperatorJSON())).not.toContain("s3cret");
  });

  it("answers anything with a spec or an InvalidArgumentError", () => {
    fc.assert(
      fc.property(
        fc.record({ key: fc.constantFrom(...Object.keys(fullSpec())), value: fc.anything() }),
        ({ key, value }) => {
          try {
            validateInstanceSpec({ ...fullSpec(), [key]: value });
          } catch (error) {
            expect(error).toBeInstanceOf(InvalidArgumentError);
            expect((error as InvalidArgumentError).field).toMatch(/^spec/);
          }
        },
      ),
    );
  });
});
