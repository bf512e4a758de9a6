import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { completeHardware } from "../../../src/kvm/firmware/complete-hardware.js";
import { chooseFirmware, parseDescriptor } from "../../../src/kvm/firmware/firmware-descriptor.js";
import { findVirtiofsd, readFirmwareDescriptors } from "../../../src/kvm/firmware/read-descriptors.js";
import { prepareVariables } from "../../../src/kvm/firmware/variables.js";
import { planHardware } from "../../../src/kvm/plan/hardware.js";
import { guestFiles, layoutOf } from "../../../src/kvm/state/guest-files.js";
import { temporaryDirectory } from "../../lab/temporary-directory.js";
import type { TemporaryDirectory } from "../../lab/temporary-directory.js";
import { wholeHost } from "./capabilities.js";
import { UUID, definition } from "./definitions.js";

let directory: TemporaryDirectory;
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(() => directory.remove());

const described = (code: string, template: string, over: object = {}): object => ({
  description: "UEFI",
  "interface-types": ["uefi"],
  mapping: {
    device: "flash",
    executable: { filename: code, format: "raw" },
    "nvram-template": { filename: template, format: "raw" },
  },
  targets: [{ architecture: "x86_64", machines: ["pc-q35-*"] }],
  features: ["acpi-s3"],
  tags: [],
  ...over,
});

describe("descriptions of firmware", () => {
  it("are read in the order of their names, an administrator's before a package's, without what is not there", async () => {
    const [etc, usr] = [directory.file("etc"), directory.file("usr")];
    for (const root of [etc, usr]) await mkdir(join(root, "firmware"), { recursive: true });
    const [code, template] = [directory.file("code"), directory.file("template")];
    await writeFile(code, "code");
    await writeFile(template, "template");
    const put = (root: string, name: string, json: unknown): Promise<void> =>
      writeFile(join(root, "firmware", name), typeof json === "string" ? json : JSON.stringify(json));
    await put(usr, "50-one.json", described(code, template, { features: ["of the package"] }));
    await put(etc, "50-one.json", described(code, template, { features: ["of the administrator"] }));
    await put(usr, "40-gone.json", described("/nonexistent", template));
    await put(usr, "60-hidden.json", described(code, template));
    await put(etc, "60-hidden.json", "");
    await put(usr, "30-first.json", described(code, template, { features: ["first"] }));
    await put(usr, "70-other.json", described(code, template, { "interface-types": ["bios"] }));
    const found = await readFirmwareDescriptors([etc, usr, directory.file("nowhere")]);
    expect(found.map(({ features }) => features)).toEqual([["first"], ["of the administrator"]]);
  });

  it("that are none are passed over", () => {
    for (const json of [null, 1, [], {}, { mapping: { device: "memory" } }, described("relative", "/t"), "text"])
      expect(parseDescriptor(json)).toEqual([]);
    expect(parseDescriptor({ ...described("/c", "/t"), targets: [{ architecture: 1 }, "x"] })).toEqual([]);
  });

  it("tell of the program for virtiofs in the same way", async () => {
    await mkdir(directory.file("vhost-user"));
    await writeFile(directory.file("vhost-user/10-gpu.json"), JSON.stringify({ type: "gpu", binary: "/bin/gpu" }));
    await expect(findVirtiofsd([directory.path])).resolves.toBeUndefined();
    await writeFile(directory.file("vhost-user/50-fs.json"), JSON.stringify({ type: "fs", binary: "/bin/fs" }));
    await expect(findVirtiofsd([directory.path])).resolves.toBe("/bin/fs");
  });
});

describe("the choice of firmware", () => {
  const wish = { architecture: "x86_64", machineType: "pc-q35-7.2" };
  const choose = (uefi: object, over: object = {}) => chooseFirmware(wholeHost.firmware, { uefi, ...wish, ...over });

  it("is by machine, and by whether only signed code may boot", () => {
    expect(choose({})).toMatchObject({ codePath: "/firmware/plain-code.fd", smm: false });
    expect(choose({ secureBoot: true })).toMatchObject({ codePath: "/firmware/signed-code.fd", smm: true });
    expect(choose({ secureBoot: true }, { machineType: "pc-i440fx-7.2" })).toBeUndefined();
    expect(choose({}, { machineType: "pc-q35" })).toBeUndefined();
    expect(choose({}, { architecture: "aarch64", machineType: "virt-10.0" })).toMatchObject({
      codePath: "/firmware/arm-code.fd",
    });
  });

  it("is the guest's own where it names files", () => {
    const own = { codePath: "/own/code.qcow2", variablesTemplatePath: "/own/variables" };
    expect(choose(own)).toMatchObject({ codePath: "/own/code.qcow2", codeFormat: "qcow2", variablesFormat: "raw" });
  });
});

describe("what a guest's hardware is completed with", () => {
  const guest = definition({ firmware: "uefi" });
  const slots = planHardware(guest, "q35", { machineType: "pc-q35-7.2", hotplugPorts: 1 });
  let ids = 0;
  const base = {
    definition: guest,
    hardware: slots,
    firmware: wholeHost.firmware,
    architecture: "x86_64",
    canTellGeneration: true,
    newId: () => `00000000-0000-4000-8000-00000000000${(ids += 1)}`,
  };

  it("stays with the guest", () => {
    const first = completeHardware(base);
    expect(first).toMatchObject({
      firmware: { codePath: "/firmware/plain-code.fd" },
      generationId: expect.any(String) as string,
    });
    const again = planHardware(guest, "q35", { machineType: "pc-q35-10.0", hotplugPorts: 1 }, first);
    expect(completeHardware({ ...base, hardware: again })).toEqual(first);
  });

  it("is other firmware when the guest wants another, or the host's is elsewhere", () => {
    const first = completeHardware(base);
    const signed = { ...guest, hardware: { uefi: { secureBoot: true } } };
    expect(completeHardware({ ...base, hardware: first, definition: signed }).firmware?.smm).toBe(true);
    const moved = wholeHost.firmware.map((entry) => ({ ...entry, codePath: `/elsewhere${entry.codePath}` }));
    const there = completeHardware({ ...base, hardware: first, firmware: moved });
    expect(there.firmware).toMatchObject({ codePath: "/elsewhere/firmware/plain-code.fd", wish: first.firmware?.wish });
    expect(() => completeHardware({ ...base, firmware: [] })).toThrow(/no UEFI firmware/);
  });

  it("is no id of a generation for a guest that came without one, for a QEMU that can't tell it, and where it is not wanted", () => {
    expect(completeHardware({ ...base, newId: undefined }).generationId).toBeUndefined();
    expect(completeHardware({ ...base, canTellGeneration: false }).generationId).toBeUndefined();
    const unwanted = { ...guest, hardware: { generationId: false } };
    expect(completeHardware({ ...base, definition: unwanted }).generationId).toBeUndefined();
  });
});

describe("the variables of a guest's firmware", () => {
  it("are made once, and anew for other firmware only", async () => {
    const files = guestFiles(layoutOf(directory.path), UUID);
    await mkdir(files.directory, { recursive: true });
    const templatePath = directory.file("template");
    await writeFile(templatePath, "fresh");
    const formats = { codeFormat: "raw", variablesFormat: "raw" } as const;
    const firmware = { codePath: "/c", templatePath, smm: false, wish: "a", ...formats };
    await prepareVariables(files, firmware, undefined);
    expect(await readFile(files.uefiVariables, "utf8")).toBe("fresh");
    expect((await stat(files.uefiVariables)).mode & 0o777).toBe(0o600);
    await writeFile(files.uefiVariables, "the guest's");
    await prepareVariables(files, { ...firmware, codePath: "/moved" }, firmware);
    expect(await readFile(files.uefiVariables, "utf8")).toBe("the guest's");
    await expect(
      prepareVariables(files, { ...firmware, wish: "b", templatePath: "/nonexistent" }, firmware),
    ).rejects.toMatchObject({ code: "HOST_IO" });
    expect(await readFile(files.uefiVariables, "utf8")).toBe("the guest's");
    await prepareVariables(files, { ...firmware, wish: "b" }, firmware);
    expect(await readFile(files.uefiVariables, "utf8")).toBe("fresh");
  });
});
