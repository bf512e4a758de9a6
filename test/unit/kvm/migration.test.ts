import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { QmpCommandError } from "../../../src/qmp/index.js";
import { fitsSocket, nbdListener, nbdServer, uriOf, waitOnPort } from "../../../src/kvm/migration/addresses.js";
import { expectedGuest } from "../../../src/kvm/migration/incoming.js";
import { progressOf } from "../../../src/kvm/migration/progress.js";
import {
  agreedParameters,
  incomingCapabilities,
  requireCapabilities,
  outgoingCapabilities,
} from "../../../src/kvm/migration/settings.js";
import { mustStandStill } from "../../../src/kvm/migration/still-copy.js";
import { asJson, fingerprintOf, parseDescription, parseToken } from "../../../src/kvm/migration/token.js";
import type { GuestDescription, MigrationToken } from "../../../src/kvm/migration/token.js";
import { resolveMigrationOptions } from "../../../src/kvm/migration/options.js";
import { planHardware } from "../../../src/kvm/plan/hardware.js";
import { afterEnd } from "../../../src/kvm/state/migration-record.js";
import type { OutgoingRecord } from "../../../src/kvm/state/migration-record.js";
import { UUID, definition } from "./definitions.js";
import { qemu72 } from "./capabilities.js";

const instance = { uuid: UUID, name: "web" };

describe("addresses", () => {
  it("are what QEMU calls them", () => {
    expect(uriOf({ type: "inet", host: "192.0.2.1", port: 49152 })).toBe("tcp:192.0.2.1:49152");
    expect(uriOf({ type: "inet", host: "2001:db8::1", port: 1 })).toBe("tcp:[2001:db8::1]:1");
    expect(uriOf({ type: "unix", path: "/run/a.sock" })).toBe("unix:/run/a.sock");
    expect(nbdListener({ type: "inet", host: "::1", port: 7 })).toEqual({
      type: "inet",
      data: { host: "::1", port: "7" },
    });
    expect(nbdServer({ type: "unix", path: "/a" })).toEqual({ type: "unix", path: "/a" });
    expect([fitsSocket("/".repeat(107)), fitsSocket("/".repeat(108))]).toEqual([true, false]);
  });

  it("are taken from the range until QEMU gets one", async () => {
    const refusal = new QmpCommandError({
      errorClass: "GenericError",
      desc: "Address already in use",
      command: "migrate-incoming",
      id: 1,
    });
    const tried: number[] = [];
    const wait = (free: number) => (address: { readonly type: string; readonly port?: number }) => {
      tried.push(address.port!);
      return address.port === free ? Promise.resolve() : Promise.reject(refusal);
    };
    const ports = { first: 5, last: 8 };
    const isFree = (_: string, port: number): Promise<boolean> => Promise.resolve(port !== 6);
    expect(await waitOnPort(instance, "::1", ports, wait(7), isFree)).toEqual({ type: "inet", host: "::1", port: 7 });
    expect(tried).toEqual([5, 7]);
    await expect(waitOnPort(instance, "::1", ports, wait(9), isFree)).rejects.toMatchObject({
      code: "MIGRATION_PRECHECK_FAILED",
      retryable: true,
      detail: refusal.desc,
    });
    const other = (): Promise<never> => Promise.reject(new Error("gone"));
    await expect(waitOnPort(instance, "::1", ports, other, isFree)).rejects.toThrow("gone");
  });
});

describe("settings", () => {
  const plain = { postcopy: false, multifdChannels: 0, compression: "none" } as const;
  it("are the same on both sides where they have to be", () => {
    const agreements = [
      plain,
      { ...plain, postcopy: true },
      { ...plain, compression: "xbzrle" },
      { ...plain, multifdChannels: 4, compression: "zstd" },
    ] as const;
    for (const agreed of agreements) {
      const [out, into] = [outgoingCapabilities(agreed, true), incomingCapabilities(agreed)];
      for (const capability of ["postcopy-ram", "multifd", "xbzrle", "events"] as const)
        expect(out.has(capability), capability).toBe(into.has(capability));
      expect(out.has("pause-before-switchover")).toBe(true);
      expect(into.has("late-block-activate")).toBe(true);
    }
    expect(outgoingCapabilities(plain, false).has("auto-converge")).toBe(false);
    expect(agreedParameters(plain)).toEqual({});
    expect(agreedParameters({ ...plain, multifdChannels: 2 })).toEqual({
      "multifd-channels": 2,
      "multifd-compression": "none",
    });
  });

  it("are those that QEMU has", () => {
    const usual = ["events", "late-block-activate", "pause-before-switchover", "return-path"];
    requireCapabilities({ multifdChannels: 0, compression: "none" }, usual);
    requireCapabilities({ multifdChannels: 2, compression: "zstd" }, [...usual, "multifd"]);
    for (const [options, capability] of [
      [{ multifdChannels: 2, compression: "none" }, "migration multifd"],
      [{ multifdChannels: 0, compression: "xbzrle" }, "migration xbzrle"],
    ] as const)
      expect(() => requireCapabilities(options, usual)).toThrow(
        expect.objectContaining({ code: "NOT_SUPPORTED", capability }) as Error,
      );
  });

  it("have a guest stand still where QEMU does not notice all that it writes", () => {
    const auto = resolveMigrationOptions();
    const host = { accelerator: "tcg", capabilities: qemu72, migration: auto } as const;
    const newer = { ...qemu72, version: { major: 10, minor: 0, micro: 2 } };
    expect(mustStandStill(host)).toBe(true);
    expect(mustStandStill({ ...host, accelerator: "kvm" })).toBe(false);
    expect(mustStandStill({ ...host, capabilities: newer })).toBe(false);
    expect(mustStandStill({ ...host, migration: resolveMigrationOptions({ copy: "running" }) })).toBe(false);
  });
});

describe("progress", () => {
  it("has what QEMU tells, and nothing where it tells nothing", () => {
    expect(progressOf("preparing", {}, { totalBytes: 10, doneBytes: 4 })).toEqual({
      phase: "preparing",
      memoryTotalBytes: 0,
      memoryTransferredBytes: 0,
      memoryRemainingBytes: 0,
      diskTotalBytes: 10,
      diskTransferredBytes: 4,
      diskRemainingBytes: 6,
      iteration: 0,
    });
    const ram = {
      total: 9n,
      transferred: 5,
      remaining: 4,
      "dirty-pages-rate": 3,
      "page-size": 4096,
      "dirty-sync-count": 2,
    };
    const info = { status: "active", ram, "expected-downtime": 300 } as never;
    expect(progressOf("memory", info, { totalBytes: 0, doneBytes: 0 })).toMatchObject({
      memoryTotalBytes: 9,
      dirtyBytesPerSecond: 12_288,
      iteration: 2,
      downtimeMs: 300,
    });
  });
});

describe("what the hosts tell each other", () => {
  const hardware = planHardware(definition(), "q35", { machineType: "pc-q35-7.2", hotplugPorts: 4 });
  const description: GuestDescription = {
    version: 1,
    definition: definition({ vcpus: 3 }),
    hardware,
    accelerator: "tcg",
    cpuModel: "max",
  };
  const token: MigrationToken = {
    version: 1,
    uuid: UUID,
    memory: { type: "inet", host: "192.0.2.1", port: 49152 },
    copyDisks: ["root"],
    disks: { type: "tunnel" },
    postcopy: true,
    multifdChannels: 0,
    compression: "none",
    tls: false,
    fingerprint: fingerprintOf(hardware, definition()),
  };

  it("survives the way", () => {
    expect(parseToken(asJson(token), UUID)).toEqual(token);
    expect(parseDescription(asJson(description))).toEqual(description);
  });

  it.each([
    ["request.token.uuid", { ...token, uuid: "0b0c5c5e-5f50-4d0b-8a35-6c4f2f0c1a02" }],
    ["request.token.memory.type", { ...token, memory: { type: "exec", command: "sh" } }],
    ["request.token.memory.host", { ...token, memory: { type: "inet", host: "h,x=y", port: 1 } }],
    ["request.token.memory.path", { ...token, memory: { type: "unix", path: "a" } }],
    ["request.token.more", { ...token, more: 1 }],
    ["request.token.version", { ...token, version: 2 }],
    ["request.token.version", {}],
  ])("is refused when it is not what a host tells: %s", (field, bad) => {
    expect(() => parseToken(bad, UUID)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", field }) as Error);
  });

  it("bears any nonsense", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(() => parseToken(value, UUID)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error);
        expect(() => parseDescription(value)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error);
      }),
    );
  });

  it("shows when the hardware has changed", () => {
    const plain = fingerprintOf(hardware, definition());
    const swapped = { ...hardware, bindings: [...hardware.bindings].reverse() };
    expect(fingerprintOf(swapped, definition())).toBe(plain);
    const moved = {
      ...hardware,
      bindings: hardware.bindings.map((binding) => ({ ...binding, slot: binding.slot + 1 })),
    };
    for (const other of [
      fingerprintOf(moved, definition()),
      fingerprintOf(hardware, definition({ memoryMiB: 256 })),
      fingerprintOf({ ...hardware, machineType: "pc-q35-7.1" }, definition()),
    ])
      expect(other).not.toBe(plain);
  });

  it("keeps a guest off a host that would give it other hardware", () => {
    const host = { accelerator: "tcg", cpuModel: "max", capabilities: qemu72 } as const;
    expect(expectedGuest(host, definition(), description)).toEqual({ definition: definition({ vcpus: 3 }), hardware });
    expect(expectedGuest(host, definition(), undefined)).toEqual({ definition: definition() });
    for (const other of [
      { ...host, accelerator: "kvm" as const },
      { ...host, cpuModel: "Nehalem" },
      { ...host, capabilities: { ...qemu72, machines: [] } },
    ])
      expect(() => expectedGuest(other, definition(), description)).toThrow(
        expect.objectContaining({ code: "MIGRATION_PRECHECK_FAILED" }) as Error,
      );
  });
});

describe("the record of a guest whose QEMU has ended", () => {
  const leaving: OutgoingRecord = { role: "source", phase: "outgoing", wasRunning: true, copied: [] };
  it("says that it went, when it may have gone, and only then", () => {
    expect(afterEnd(undefined)).toBeUndefined();
    expect(afterEnd(leaving)).toBeUndefined();
    for (const phase of ["switchover", "departed"] as const)
      expect(afterEnd({ ...leaving, phase })).toEqual({ ...leaving, phase: "departed" });
  });
  it("says that it has not come, until it was told to run", () => {
    const waiting = { role: "destination", phase: "waiting", paused: false } as const;
    expect(afterEnd(waiting)).toBe(waiting);
    expect(afterEnd({ ...waiting, phase: "taken" })).toBeUndefined();
  });
});
