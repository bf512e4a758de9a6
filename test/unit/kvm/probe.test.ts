import { chmod, readdir, symlink, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MemoryStateStore, systemClock } from "../../../src/core/index.js";
import { findQemu, qemuEnvironment } from "../../../src/kvm/binary.js";
import { probeCapabilities } from "../../../src/kvm/probe/capability-probe.js";
import { probeKvm } from "../../../src/kvm/probe/accelerator-probe.js";
import { ProbeCache } from "../../../src/kvm/probe/probe-cache.js";
import { probeFirmware } from "../../../src/kvm/probe/probe-guest.js";
import { temporaryDirectory } from "../../lab/temporary-directory.js";
import type { TemporaryDirectory } from "../../lab/temporary-directory.js";
import { qemu72 } from "./capabilities.js";

let directory: TemporaryDirectory;
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(() => directory.remove());

async function script(name: string, text: string): Promise<string> {
  const path = directory.file(name);
  await writeFile(path, `#!/bin/sh\n${text}\n`);
  await chmod(path, 0o755);
  return path;
}

const options = { clock: systemClock, timeoutMs: 5_000 };
const unavailable = { code: "HYPERVISOR_UNAVAILABLE" };

describe("looking for QEMU", () => {
  it("finds it by name in PATH, and follows links to the very file", async () => {
    const path = await script("qemu-real", "exit 0");
    await symlink(path, directory.file("qemu"));
    await expect(findQemu("qemu", `/nonexistent:${directory.path}`)).resolves.toMatchObject({ path });
    await expect(findQemu(directory.file("qemu"))).resolves.toMatchObject({ path });
  });

  it("says what to install when there is none", async () => {
    await expect(findQemu("qemu-of-nowhere", directory.path)).rejects.toMatchObject({
      ...unavailable,
      remedy: expect.stringContaining("apt-get install") as string,
    });
    await expect(findQemu(directory.file("missing"))).rejects.toMatchObject(unavailable);
  });

  it("refuses what can't be executed, and what is no file", async () => {
    await writeFile(directory.file("text"), "no program");
    await chmod(directory.file("text"), 0o644);
    await expect(findQemu(directory.file("text"))).rejects.toMatchObject({ ...unavailable, retryable: false });
    await expect(findQemu(directory.path)).rejects.toMatchObject(unavailable);
  });

  it("lets it see nothing of the environment but what it needs", () => {
    process.env["HYPERVISE_TEST_SECRET"] = "hidden";
    expect(JSON.stringify(qemuEnvironment())).not.toContain("hidden");
    delete process.env["HYPERVISE_TEST_SECRET"];
  });
});

describe("asking a binary what it can do", () => {
  it.each([
    ["ends at once", "echo 'not today' >&2; exit 3", "not today"],
    ["says something else", "echo hello >&3; sleep 60", ""],
    ["is no program", "\u0000", ""],
  ])("fails with what it said when it %s", async (_, text, words) => {
    const binary = await findQemu(await script("qemu", text));
    await expect(probeCapabilities(binary, options)).rejects.toMatchObject({
      ...unavailable,
      detail: expect.stringContaining(words) as string,
    });
  });

  it("gives up on one that never answers, and leaves nothing running", async () => {
    const binary = await findQemu(await script("qemu", `echo $$ > ${directory.file("pid")}; exec sleep 60`));
    await expect(probeCapabilities(binary, { ...options, timeoutMs: 300 })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
  });

  it("stops when its caller does", async () => {
    const binary = await findQemu(await script("qemu", "exec sleep 60"));
    const controller = new AbortController();
    const probing = probeCapabilities(binary, { ...options, signal: controller.signal });
    controller.abort();
    await expect(probing).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("fails when the binary goes in between", async () => {
    await expect(
      probeCapabilities({ path: directory.file("gone"), modifiedMs: 0, sizeBytes: 0 }, options),
    ).rejects.toMatchObject(unavailable);
  });
});

describe("trying KVM", () => {
  const binary = { path: "/bin/false", modifiedMs: 0, sizeBytes: 0 };

  it("is not done where it can't be", async () => {
    const without = { accelerators: ["tcg"], target: "x86_64" };
    await expect(probeKvm(binary, without, { ...options, cpuModel: "host" })).resolves.toMatchObject({
      usable: false,
      lasting: true,
    });
    const missing = { ...options, cpuModel: "host", device: directory.file("kvm") };
    await expect(probeKvm(binary, qemu72, missing)).resolves.toMatchObject({ usable: false, lasting: false });
  });

  it("finds KVM unusable when QEMU does not start with it", async () => {
    await writeFile(directory.file("kvm"), "");
    const probe = { ...options, cpuModel: "host", device: directory.file("kvm") };
    const broken = await findQemu(await script("qemu", "echo 'no MSR' >&2; exit 1"));
    await expect(probeKvm(broken, qemu72, probe)).resolves.toMatchObject({
      usable: false,
      reason: expect.stringContaining("no MSR") as string,
    });
  });

  it("finds it unusable when the guest does not end in time", async () => {
    await writeFile(directory.file("kvm"), "");
    const probe = { ...options, timeoutMs: 200, cpuModel: "host", device: directory.file("kvm") };
    const silent = await findQemu(await script("qemu", "exec sleep 60"));
    await expect(probeKvm(silent, qemu72, probe)).resolves.toMatchObject({
      usable: false,
      reason: expect.stringContaining("200 ms") as string,
    });
  });

  it("has a guest that fits where firmware goes, and begins where the CPU does", async () => {
    const image = probeFirmware();
    expect(image.length).toBe(65_536);
    expect(image[65_520]).toBe(0xea);
    expect(await readdir(directory.path)).toEqual([]);
  });
});

describe("what probes have found", () => {
  const binary = { path: "/usr/bin/qemu", modifiedMs: 1, sizeBytes: 2 };
  const never = (): Promise<never> => Promise.reject(new Error("probed again"));

  it("is kept for the binary, until it is another file", async () => {
    const cache = new ProbeCache(new MemoryStateStore());
    await expect(cache.capabilities(binary, () => Promise.resolve(qemu72))).resolves.toEqual(qemu72);
    await expect(cache.capabilities(binary, never)).resolves.toEqual(qemu72);
    await expect(cache.capabilities({ ...binary, modifiedMs: 9 }, never)).rejects.toThrow("probed again");
  });

  it("is not kept when it may be otherwise soon", async () => {
    const cache = new ProbeCache(new MemoryStateStore());
    const passing = { usable: false, reason: "no device", lasting: false };
    await expect(cache.accelerator(binary, "host", () => Promise.resolve(passing))).resolves.toEqual(passing);
    await expect(cache.accelerator(binary, "host", never)).rejects.toThrow("probed again");
    const lasting = { ...passing, lasting: true };
    await cache.accelerator(binary, "host", () => Promise.resolve(lasting));
    await expect(cache.accelerator(binary, "host", never)).resolves.toEqual(lasting);
    await expect(cache.accelerator(binary, "EPYC", never)).rejects.toThrow("probed again");
  });

  it("is found anew when what was kept can't be read", async () => {
    const store = new MemoryStateStore();
    await new ProbeCache(store).capabilities(binary, () => Promise.resolve(qemu72));
    const [key] = await store.list("");
    await store.put(key as string, { version: 1, value: { nonsense: true } });
    await expect(new ProbeCache(store).capabilities(binary, () => Promise.resolve(qemu72))).resolves.toEqual(qemu72);
  });
});
