import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../../src/core/index.js";
import { findQemu } from "../../../src/kvm/binary.js";
import type { QemuBinary } from "../../../src/kvm/binary.js";
import { probeKvm, runProbeGuest } from "../../../src/kvm/probe/accelerator-probe.js";
import { probeCapabilities } from "../../../src/kvm/probe/capability-probe.js";
import { KvmHypervisor } from "../../../src/kvm/index.js";
import { requirePackages, temporaryDirectory } from "../../lab/index.js";
import { KvmLab } from "./lab.js";

let binary: QemuBinary;
beforeAll(async () => {
  requirePackages("qemu-system-x86_64");
  binary = await findQemu("qemu-system-x86_64");
});

describe("the QEMU that is installed", () => {
  it("says what it can do", async () => {
    const capabilities = await probeCapabilities(binary, { clock: systemClock, timeoutMs: 20_000 });
    expect(capabilities.target).toBe("x86_64");
    expect(capabilities.accelerators).toContain("tcg");
    expect(capabilities.machines.find(({ alias }) => alias === "q35")).toMatchObject({
      name: expect.stringMatching(/^pc-q35-/) as string,
    });
    for (const device of ["virtio-blk-pci", "virtio-net-pci", "virtio-scsi-pci", "VGA", "pcie-root-port"]) {
      expect(capabilities.devices).toContain(device);
    }
    expect(capabilities.screenshotFormats).toContain("ppm");
    expect(capabilities.deviceProperties["virtio-balloon-pci"]).toContain("free-page-reporting");
    expect(capabilities.deviceProperties["pcie-root-port"]).toEqual(
      expect.arrayContaining(["chassis", "multifunction"]),
    );
    expect(capabilities.migrationCapabilities).toEqual(expect.arrayContaining(["multifd", "postcopy-ram"]));
  });

  it("runs the probe's guest under TCG", async () => {
    const options = { clock: systemClock, timeoutMs: 30_000 };
    for (const cpuModel of ["max", "qemu64"]) {
      await expect(runProbeGuest(binary.path, "tcg", { ...options, cpuModel })).resolves.toMatchObject({
        usable: true,
      });
    }
  });

  it("is judged under KVM within the probe's time, whatever the host's KVM does", async () => {
    const probe = { clock: systemClock, timeoutMs: 3_000 };
    for (const cpuModel of ["host", "qemu64"]) {
      const verdict = await probeKvm(binary, { accelerators: ["kvm"], target: "x86_64" }, { ...probe, cpuModel });
      expect(verdict.reason).not.toBe("");
    }
  });

  it("is probed once", async () => {
    await using lab = await KvmLab.open({ accelerator: "auto" });
    const first = lab.hypervisor.accelerator;
    await lab.reopen();
    expect(lab.hypervisor.accelerator).toEqual(first);
    expect(lab.hypervisor.capabilities?.target).toBe("x86_64");
  });

  it("is used with the accelerator that is asked for, or not at all", async () => {
    await using directory = await temporaryDirectory();
    const open = (options: object): Promise<void> =>
      new KvmHypervisor({ stateDirectory: directory.file("state"), ...options }).open({
        clock: systemClock,
        onEvent: () => undefined,
      });
    await expect(open({ qemuBinary: "/nonexistent/qemu" })).rejects.toMatchObject({ code: "HYPERVISOR_UNAVAILABLE" });
    // Nothing is held after a failure.
    await using lab = await KvmLab.open({ stateDirectory: directory.file("state"), accelerator: "tcg" });
    expect(lab.hypervisor.accelerator).toEqual({ name: "tcg", reason: "it was asked for" });
    await expect(open({})).rejects.toMatchObject({
      code: "HYPERVISOR_UNAVAILABLE",
      message: expect.stringContaining("another driver") as string,
    });
  });
});

describe("the probe's guest", () => {
  it.runIf(existsSync("/usr/bin/as") && existsSync("/usr/bin/ld"))("is what its source assembles to", async () => {
    const script = fileURLToPath(new URL("../../../scripts/assemble-probe-guest.mjs", import.meta.url));
    await expect(promisify(execFile)(process.execPath, [script, "--check"])).resolves.toMatchObject({ stderr: "" });
  });
});
