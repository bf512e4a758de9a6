/** Whether the parts of a guest's hardware go together, and with its flavor and disks. Pure. */
import { InvalidArgumentError } from "../core/index.js";
import type { DiskTuning } from "./disk-tuning.js";
import type { GraphicsListener, GuestCpu, GuestHardware, GuestMemory } from "./guest-hardware.js";
import type { CpuTopology, DiskBus, Firmware } from "./instance-spec.js";
import { checkTuningFits } from "./validate-disk-tuning.js";

/** What hardware has to go together with. */
export interface HardwareFrame {
  readonly vcpus: number;
  readonly memoryMiB: number;
  readonly cpuTopology?: CpuTopology | undefined;
  readonly firmware?: Firmware | undefined;
}

/** A disk's tuning, its bus, and where both stand. */
export interface TunedDisk {
  readonly tuning?: DiskTuning | undefined;
  readonly bus: DiskBus;
  readonly path: string;
}

/** @throws InvalidArgumentError that names the first field at odds with another */
export function checkHardwareFits(
  hardware: GuestHardware | undefined,
  frame: HardwareFrame,
  disks: readonly TunedDisk[],
  path: string,
): void {
  for (const { tuning, bus, path: place } of disks)
    if (tuning !== undefined) checkTuningFits(tuning, bus, hardware?.ioThreads ?? 0, place);
  if (hardware === undefined) return;
  checkCpu(hardware.cpu ?? {}, frame, hardware.ioThreads ?? 0, `${path}.cpu`);
  checkMemory(hardware, frame.memoryMiB, `${path}.memory`);
  checkUefi(hardware, frame.firmware ?? "bios", `${path}.uefi`);
  checkListener(hardware.vnc, `${path}.vnc`);
  checkListener(hardware.spice, `${path}.spice`);
  checkRest(hardware, path);
}

function checkCpu(cpu: GuestCpu, frame: HardwareFrame, ioThreads: number, path: string): void {
  const { mode, model, features = [], numaCells, pinning } = cpu;
  const most = cpu.maxVcpus ?? frame.vcpus;
  if ((mode === "custom") !== (model !== undefined))
    throw invalid(
      `${path}.model`,
      model,
      mode === "custom" ? "the name of a CPU model" : "absent, but for mode custom",
    );
  unique(
    features.map(({ name }) => name),
    (index) => `${path}.features[${index}].name`,
  );
  if (most < frame.vcpus) throw invalid(`${path}.maxVcpus`, most, `at least the ${frame.vcpus} vCPUs of the flavor`);
  const { cores = 1, threads = 1 } = frame.cpuTopology ?? {};
  if (most % (cores * threads) !== 0)
    throw invalid(`${path}.maxVcpus`, most, `a multiple of the ${cores * threads} vCPUs of a socket`);
  if (numaCells !== undefined) checkCells(numaCells, most, frame.memoryMiB, `${path}.numaCells`);
  if ((pinning?.vcpus?.length ?? 0) > most)
    throw invalid(`${path}.pinning.vcpus`, pinning?.vcpus?.length, `at most ${most} lists, one a vCPU`);
  if ((pinning?.ioThreads?.length ?? 0) > ioThreads)
    throw invalid(
      `${path}.pinning.ioThreads`,
      pinning?.ioThreads?.length,
      `at most ${ioThreads} lists, one an I/O thread`,
    );
}

function checkCells(cells: NonNullable<GuestCpu["numaCells"]>, vcpus: number, memoryMiB: number, path: string): void {
  const seen = new Set<number>();
  cells.forEach((cell, index) =>
    cell.vcpus.forEach((vcpu, place) => {
      if (vcpu >= vcpus || seen.has(vcpu))
        throw invalid(`${path}[${index}].vcpus[${place}]`, vcpu, `a number below ${vcpus} that no other cell has`);
      seen.add(vcpu);
    }),
  );
  if (seen.size !== vcpus) throw invalid(path, `${seen.size} vCPUs`, `all ${vcpus} vCPUs that the guest may have`);
  const sum = cells.reduce((total, cell) => total + cell.memoryMiB, 0);
  if (sum !== memoryMiB) throw invalid(path, `${sum} MiB`, `the ${memoryMiB} MiB of the flavor, together`);
  const unbound = cells.findIndex(({ policy, hostNodes }) => policy !== undefined && hostNodes === undefined);
  if (unbound >= 0) throw invalid(`${path}[${unbound}].policy`, cells[unbound]?.policy, "absent without hostNodes");
}

function checkMemory({ memory = {}, filesystems = [] }: GuestHardware, memoryMiB: number, path: string): void {
  const { maxMiB, slots, hotplug, backing, hugepageKiB, directory, shared } = memory satisfies GuestMemory;
  if (maxMiB !== undefined && maxMiB < memoryMiB)
    throw invalid(`${path}.maxMiB`, maxMiB, `at least the ${memoryMiB} MiB of the flavor`);
  if (slots !== undefined && maxMiB === undefined) throw invalid(`${path}.slots`, slots, "absent without maxMiB");
  if (slots !== undefined && hotplug === "virtio-mem")
    throw invalid(`${path}.slots`, slots, "absent with hotplug virtio-mem");
  if (hugepageKiB !== undefined && backing !== "hugepages")
    throw invalid(`${path}.hugepageKiB`, hugepageKiB, "absent, but for backing hugepages");
  if (hugepageKiB !== undefined && (memoryMiB * 1024) % hugepageKiB !== 0)
    throw invalid(`${path}.hugepageKiB`, hugepageKiB, `a size that divides the ${memoryMiB} MiB of the flavor`);
  if ((directory === undefined) === (backing === "file"))
    throw invalid(
      `${path}.directory`,
      directory,
      backing === "file" ? "an absolute path" : "absent, but for backing file",
    );
  if (!filesystems.some(({ driver }) => driver === "virtiofs")) return;
  if (backing === "anonymous") throw invalid(`${path}.backing`, backing, "another one: a file system is over virtiofs");
  if (shared === false) throw invalid(`${path}.shared`, shared, "true or absent: a file system is over virtiofs");
}

function checkUefi({ uefi }: GuestHardware, firmware: Firmware, path: string): void {
  if (uefi === undefined) return;
  if (firmware !== "uefi") throw invalid(path, "an object", "absent, but for firmware uefi");
  const { codePath, variablesTemplatePath } = uefi;
  if ((codePath === undefined) !== (variablesTemplatePath === undefined))
    throw invalid(`${path}.variablesTemplatePath`, variablesTemplatePath, "there if and only if codePath is");
}

function checkListener(
  listener: (GraphicsListener & { readonly verifyClients?: boolean; readonly tlsCiphers?: string }) | undefined,
  path: string,
): void {
  if (listener === undefined) return;
  const { address, port, tlsDirectory, verifyClients, tlsCiphers } = listener;
  if (address === undefined && port !== undefined) throw invalid(`${path}.port`, port, "absent without address");
  if (address === undefined && tlsDirectory !== undefined)
    throw invalid(`${path}.tlsDirectory`, tlsDirectory, "absent without address");
  if (verifyClients === true && tlsDirectory === undefined)
    throw invalid(`${path}.verifyClients`, verifyClients, "false or absent without tlsDirectory");
  if (tlsCiphers !== undefined && tlsDirectory === undefined)
    throw invalid(`${path}.tlsCiphers`, tlsCiphers, "absent without tlsDirectory");
}

function checkRest(hardware: GuestHardware, path: string): void {
  const { rng, sound, spice, devices = [], filesystems = [] } = hardware;
  if (rng !== undefined && rng !== false && rng.periodMs !== undefined && rng.maxBytes === undefined)
    throw invalid(`${path}.rng.periodMs`, rng.periodMs, "absent without maxBytes");
  if (sound?.backend === "spice" && spice === undefined)
    throw invalid(`${path}.sound.backend`, sound.backend, "none, unless there is a SPICE console");
  unique(
    devices.map(({ id }) => id),
    (index) => `${path}.devices[${index}].id`,
  );
  unique(
    filesystems.map(({ tag }) => tag),
    (index) => `${path}.filesystems[${index}].tag`,
  );
  filesystems.forEach(({ tag, path: directory, driver, securityModel }, index) => {
    const place = `${path}.filesystems[${index}]`;
    if (driver === "9p" && tag.length > 31) throw invalid(`${place}.tag`, tag, "1 to 31 characters for 9p");
    if (driver === "virtiofs" && securityModel !== undefined)
      throw invalid(`${place}.securityModel`, securityModel, "absent for virtiofs");
    if (driver === "virtiofs" && /[,\\]/.test(directory))
      throw invalid(`${place}.path`, directory, "a path without comma and backslash for virtiofs");
  });
}

function unique(values: readonly string[], path: (index: number) => string): void {
  const second = values.findIndex((value, index) => values.indexOf(value) !== index);
  if (second >= 0) throw invalid(path(second), values[second], "one that no other has");
}

function invalid(field: string, value: unknown, expected: string): InvalidArgumentError {
  return new InvalidArgumentError({ field, value, expected });
}
