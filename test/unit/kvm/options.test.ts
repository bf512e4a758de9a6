import { describe, expect, it } from "vitest";
import { KvmDriver, KvmHypervisor } from "../../../src/kvm/index.js";
import type { KvmDriverOptions } from "../../../src/kvm/index.js";
import { resolveOptions } from "../../../src/kvm/options.js";
import { DEFAULT_KVM_TIMEOUTS } from "../../../src/kvm/timeouts.js";

describe("options of the KVM driver", () => {
  it("have defaults", () => {
    expect(resolveOptions({ stateDirectory: "/state" })).toEqual({
      stateDirectory: "/state",
      qemuBinary: "qemu-system-x86_64",
      accelerator: "auto",
      cpuModel: undefined,
      hotplugPorts: 8,
      consoleLogBytes: 2_097_152,
      openTap: undefined,
      migration: {
        transport: "tcp",
        listenAddress: undefined,
        ports: { first: 49_152, last: 49_215 },
        tls: undefined,
        multifdChannels: 0,
        compression: "none",
        copy: "auto",
        openTunnel: undefined,
      },
      timeouts: DEFAULT_KVM_TIMEOUTS,
    });
    expect(resolveOptions({ stateDirectory: "/s", timeouts: { quitMs: 1 } }).timeouts.quitMs).toBe(1);
  });

  it.each([
    ["options.stateDirectory", { stateDirectory: "relative" }],
    ["options.stateDirectory", { stateDirectory: "/a/../b" }],
    ["options.accelerator", { accelerator: "xen" }],
    ["options.cpuModel", { cpuModel: "-x" }],
    ["options.hotplugPorts", { hotplugPorts: 65 }],
    ["options.consoleLogBytes", { consoleLogBytes: 1 }],
    ["options.unheard", { unheard: 1 }],
    ["options.migration.transport", { migration: { transport: "pigeon" } }],
    ["options.migration.listenAddress", { migration: { listenAddress: "host.example" } }],
    ["options.migration.ports", { migration: { ports: { first: 2, last: 1 } } }],
    ["options.migration.tls.directory", { migration: { tls: { directory: "pki" } } }],
    ["options.migration.multifdChannels", { migration: { compression: "zstd" } }],
    ["options.timeouts.killMs", { kvmTimeouts: { killMs: -1 } }],
    ["options.volumeDirectories[0]", { volumeDirectories: ["here"] }],
  ])("name the one that is wrong: %s", (field, wrong) => {
    const make = (): KvmDriver => new KvmDriver({ stateDirectory: "/state", ...wrong } as KvmDriverOptions);
    expect(make).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", field }) as Error);
  });

  it("touch nothing before initHost", async () => {
    const driver = new KvmDriver({ stateDirectory: "/nonexistent/state" });
    expect(driver.hypervisorType).toBe("kvm");
    expect(driver.accelerator).toBeUndefined();
    await driver.close();
  });

  it("make a hypervisor that refuses to work before it is open", async () => {
    const hypervisor = new KvmHypervisor({ stateDirectory: "/nonexistent/state" });
    await expect(hypervisor.list()).rejects.toMatchObject({ code: "CLOSED" });
    await hypervisor.close();
  });
});
