import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { GuestDefinition } from "../../../src/driver/index.js";
import { checkDefinition, machineOf } from "../../../src/kvm/definition-check.js";
import { completeHardware } from "../../../src/kvm/firmware/complete-hardware.js";
import { checkSupport } from "../../../src/kvm/hardware-check.js";
import { escapeOption, planCommandLine } from "../../../src/kvm/plan/command-line.js";
import type { CommandLineRequest, NetworkAccess } from "../../../src/kvm/plan/command-line.js";
import { machineNamed } from "../../../src/kvm/plan/capabilities.js";
import { PLANNED_DEVICES, requireDeviceProperties } from "../../../src/kvm/plan/device-properties.js";
import { planHardware } from "../../../src/kvm/plan/hardware.js";
import { qemu72, qemuArm72, wholeHost } from "./capabilities.js";

interface Case {
  readonly definition: GuestDefinition;
  readonly accelerator?: "kvm" | "tcg";
  readonly cpuModel?: string;
  readonly hotplugPorts?: number;
  readonly network?: NetworkAccess;
  readonly target?: "x86_64" | "aarch64";
}

const folder = fileURLToPath(new URL("plans/", import.meta.url));
const cases = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .map((name) => name.slice(0, -".json".length));

function plan(input: Case) {
  const capabilities = input.target === "aarch64" ? qemuArm72 : qemu72;
  const accelerator = input.accelerator ?? "tcg";
  const definition = checkDefinition(input.definition, capabilities);
  const machine = machineOf(definition, capabilities);
  checkSupport(definition, machine, capabilities, accelerator, wholeHost);
  const machineType = machineNamed(capabilities, machine)?.name ?? machine;
  const { hotplugPorts = 2 } = input;
  const hardware = completeHardware({
    definition,
    hardware: planHardware(definition, machine, { machineType, hotplugPorts }),
    firmware: wholeHost.firmware,
    architecture: capabilities.target,
    canTellGeneration: capabilities.devices.includes("vmgenid"),
    newId: () => "0b0c5c5e-5f50-4d0b-8a35-6c4f2f0c1aff",
  });
  const request: CommandLineRequest = {
    definition,
    hardware,
    capabilities,
    accelerator,
    cpu: wholeHost.cpu,
    helpers: wholeHost.helpers,
    spicePort: 5999,
    cpuModel: input.cpuModel ?? "max",
    network: input.network ?? { taps: "descriptors", vhost: false },
    pidFile: "/state/guests/qemu.pid",
  };
  return planCommandLine(request);
}

/** Options, each with its value on its line. */
function lines({ args, descriptors, helpers }: ReturnType<typeof plan>): string {
  const text: string[] = [];
  for (const argument of args) {
    if (argument.startsWith("-") && !argument.startsWith("-append")) text.push(argument);
    else text[text.length - 1] += ` ${argument}`;
  }
  const inherited = descriptors.map(
    (entry) => `# fd ${entry.fd}: ${entry.what}${"nicId" in entry ? ` ${entry.nicId} queue ${entry.queue}` : ""}`,
  );
  const beside = helpers.map(({ binary, args: its }) => `# ${[binary, ...its].join(" ")}`);
  return [...text, ...inherited, ...beside, ""].join("\n");
}

describe("the command line of a guest", () => {
  it.each(cases)("is as written down for %s", async (name) => {
    const input = JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")) as Case;
    await expect(lines(plan(input))).toMatchFileSnapshot(join(folder, `${name}.args`));
  });

  it("is the same each time", () => {
    const input = JSON.parse(readFileSync(join(folder, "q35.json"), "utf8")) as Case;
    expect(plan(input)).toEqual(plan(input));
  });
});

describe("the properties of devices", () => {
  const { args } = plan(JSON.parse(readFileSync(join(folder, "hw-spice.json"), "utf8")) as Case);
  const having = (...names: readonly string[]) => ({ deviceProperties: { "virtio-balloon-pci": names } });

  it("are those that QEMU says its device has; those of a device that it was not asked about are its own business", () => {
    requireDeviceProperties(args, { deviceProperties: {} });
    requireDeviceProperties(args, having("addr", "deflate-on-oom", "free-page-reporting"));
    const lacking: unknown = expect.objectContaining({
      code: "NOT_SUPPORTED",
      capability: "virtio-balloon-pci.free-page-reporting",
    });
    expect(() => requireDeviceProperties(args, having("addr", "deflate-on-oom"))).toThrow(lacking);
  });

  it("are asked for of every device that a plan has", () => {
    const drivers = cases.flatMap((name) => {
      const planned = plan(JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")) as Case).args;
      const devices = planned.filter((argument, index) => planned[index - 1] === "-device" && argument.startsWith("{"));
      return devices.map((device) => (JSON.parse(device) as { driver: string }).driver);
    });
    // An operator's own.
    expect([...new Set(drivers)].filter((driver) => !PLANNED_DEVICES.has(driver))).toEqual(["edu"]);
  });
});

/** What a value is made of, without what it says: the members of JSON, the keys of `key=value` pairs. */
function shapeOf(argument: string): string {
  if (argument.startsWith("{")) return JSON.stringify(Object.keys(JSON.parse(argument) as object));
  const pairs = argument.replaceAll(",,", "").split(",");
  return pairs.length === 1
    ? argument.startsWith("-")
      ? argument
      : ""
    : pairs.map((pair) => pair.split("=", 1)[0]).join();
}

const texts9 = (text: string): readonly string[] => Array.from({ length: 9 }, () => text);

function isAccepted(definition: GuestDefinition): boolean {
  try {
    checkDefinition(definition, qemu72);
    return true;
  } catch {
    return false;
  }
}

/** A guest in whose hardware these texts stand, wherever there may be some. */
function withTexts([a, b, c, d, e, f, g, h, i]: readonly string[]): GuestDefinition {
  const base = (JSON.parse(readFileSync(join(folder, "q35.json"), "utf8")) as Case).definition;
  return {
    ...base,
    firmware: "uefi",
    hardware: {
      memory: { backing: "file", directory: `/m/${a}` },
      uefi: { codePath: `/c/${b}`, variablesTemplatePath: `/v/${c}` },
      vnc: { address: "::1", tlsDirectory: `/t/${d}` },
      spice: { address: "127.0.0.1", tlsDirectory: `/s/${e}` },
      filesystems: [
        { tag: "nine", path: `/f/${f}`, driver: "9p" },
        { tag: "virtio", path: `/w/${String(g).replaceAll(/[,\\\\]/g, "")}`, driver: "virtiofs" },
      ],
      smbios: { system: { product: h as string, serial: i as string }, oemStrings: [a as string, b as string] },
    },
  };
}

describe("what a definition holds", () => {
  const hostile = fc.string({ unit: fc.constantFrom(...",\"'=\\{}[]: -;$`\nab/."), minLength: 1, maxLength: 40 });
  const base = JSON.parse(readFileSync(join(folder, "q35.json"), "utf8")) as Case;

  it("is never more than one value of one option, whatever it says", () => {
    fc.assert(
      fc.property(hostile, hostile, hostile, (id, path, text) => {
        const definition = base.definition;
        const disk = {
          ...definition.disks[0]!,
          id,
          source: { type: "file", path: `/d/${path}`, format: "raw" },
          serial: text,
        } as const;
        const nic = { ...definition.nics[0]!, id };
        const altered = {
          ...definition,
          disks: [disk],
          nics: [nic],
          kernel: { kernelPath: `/k/${path}`, commandLine: text },
        };
        const request = {
          definition: altered,
          hardware: planHardware(altered, "q35", { machineType: "pc-q35-7.2", hotplugPorts: 2 }),
          capabilities: qemu72,
          accelerator: "tcg",
          cpuModel: "max",
          network: { taps: "descriptors", vhost: false },
          pidFile: "/state/qemu.pid",
        } as const;
        const { args } = planCommandLine(request);
        const plain = planCommandLine({
          ...request,
          definition: { ...altered, kernel: { kernelPath: "/k/k", commandLine: "c" } },
        }).args;
        expect(args.filter((argument) => argument.startsWith("-")).length).toBeLessThanOrEqual(
          plain.filter((argument) => argument.startsWith("-")).length + 2,
        );
        expect(args.length).toBe(plain.length);
        const devices = args.filter((_, index) =>
          ["-device", "-blockdev", "-netdev", "-object"].includes(args[index - 1] ?? ""),
        );
        const parsed = devices.map((argument) => JSON.parse(argument) as Record<string, unknown>);
        const file = parsed.find((entry) => "node-name" in entry)?.["file"] as { filename: string };
        expect(file.filename).toBe(`/d/${path}`);
        expect(parsed.find((entry) => entry["driver"] === "virtio-blk-pci")?.["serial"]).toBe(text.slice(0, 20));
        expect(args[args.indexOf("-append") + 1]).toBe(text);
        expect(args[args.indexOf("-kernel") + 1]).toBe(`/k/${path}`);
      }),
    );
  });

  it("adds neither option nor member, whatever any text of the hardware says", () => {
    const names = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    const shape = ({ args }: ReturnType<typeof plan>): readonly string[] => args.map(shapeOf);
    const plain = shape(plan({ definition: withTexts(names) }));
    fc.assert(
      fc.property(fc.array(hostile, { minLength: 9, maxLength: 9 }), (texts) => {
        const definition = withTexts(texts);
        fc.pre(isAccepted(definition));
        expect(shape(plan({ definition }))).toEqual(plain);
      }),
      { numRuns: 300 },
    );
    expect(isAccepted(withTexts(texts9(',id=x"}')))).toBe(true);
  });

  it("stays one value behind doubled commas", () => {
    fc.assert(
      fc.property(hostile, (text) => {
        const options = `guest=${escapeOption(text)},debug-threads=on`.split(/(?<!,)(?:,,)*,(?!,)/);
        expect(escapeOption(text).replaceAll(",,", ",")).toBe(text);
        expect(options.length).toBeGreaterThanOrEqual(1);
      }),
    );
    expect(escapeOption("a,debug-threads=off")).toBe("a,,debug-threads=off");
  });

  it.each([
    ["name", { name: "a,process=x" }],
    ["name", { name: "-incoming" }],
    ["name", { name: "a\nb" }],
    ["uuid", { uuid: "not-a-uuid" }],
    ["memoryMiB", { memoryMiB: 0 }],
    ["vcpus", { vcpus: 289 }],
    ["cpuTopology", { vcpus: 4, cpuTopology: { sockets: 2, cores: 1, threads: 1 } }],
    ["kernel.kernelPath", { kernel: { kernelPath: "../vmlinuz" } }],
    ["kernel.commandLine", { kernel: { kernelPath: "/vmlinuz", commandLine: "a\0b" } }],
    [
      "disks[0].source.path",
      { disks: [{ ...base.definition.disks[0], source: { type: "file", path: "nbd:evil:1", format: "raw" } }] },
    ],
    ["disks[1].id", { disks: [base.definition.disks[0], { ...base.definition.disks[0], deviceName: "vdz" }] }],
    ["disks[1].deviceName", { disks: [base.definition.disks[0], { ...base.definition.disks[0], id: "other" }] }],
    ["nics[0].macAddress", { nics: [{ ...base.definition.nics[0], macAddress: "01:00:5e:00:00:01" }] }],
    [
      "nics[0].backend.deviceName",
      { nics: [{ ...base.definition.nics[0], backend: { type: "tap", deviceName: "a,b", bridge: "br0", queues: 1 } }] },
    ],
    ["nics[0].queues", { nics: [{ ...base.definition.nics[0], model: "e1000", queues: 2 }] }],
  ])("is refused by the name of its field when it can't be: %s", (field, change) => {
    const bad = { ...base.definition, ...change };
    const expected: unknown = expect.objectContaining({ code: "INVALID_ARGUMENT", field: `definition.${field}` });
    expect(() => checkDefinition(bad, qemu72)).toThrow(expected);
  });

  it.each([
    ["a machine of another architecture", { machine: "virt" }],
    ["UEFI of a microvm", { machine: "microvm", firmware: "uefi", kernel: { kernelPath: "/k" }, disks: [] }],
    [
      "an IDE disk of a microvm",
      { machine: "microvm", kernel: { kernelPath: "/k" }, disks: [{ ...base.definition.disks[0], bus: "ide" }] },
    ],
    [
      "a NIC of a microvm that is none of virtio's",
      {
        machine: "microvm",
        kernel: { kernelPath: "/k" },
        disks: [],
        nics: [{ ...base.definition.nics[0], model: "e1000" }],
      },
    ],
  ])("is refused as not supported: %s", (_, change) => {
    const expected: unknown = expect.objectContaining({ code: "NOT_SUPPORTED" });
    expect(() => checkDefinition({ ...base.definition, ...change }, qemu72)).toThrow(expected);
  });
});
