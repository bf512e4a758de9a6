/** What the host is: its hardware, its abilities, its devices. */
import { getCpuModels, hostCpu } from "./host-cpu.js";
import { capabilitiesXml, domainCapabilitiesXml } from "./capabilities.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { ConnectListAllNodeDeviceFlags } from "../../../libvirt/rpc/index.js";
import type { parseNodeDeviceXml } from "../../../libvirt/xml/index.js";
import { formatCpuXml, formatNodeDeviceXml, parseCpuXml } from "../../../libvirt/xml/index.js";
import type { HostState } from "./host-state.js";
import { readDocument } from "./read-document.js";
import { refusal } from "./refuse.js";

const CPU = { incompatible: 0, identical: 1, superset: 2 } as const;
const MAX_VCPUS = 255;

export function nodeHandlers(host: HostState): FakeLibvirtHandlers {
  const { hardware } = host;
  const compare = (xml: string): number => {
    const { model, feature } = readDocument("cpu", "cpu", () => parseCpuXml(xml));
    const own = hostCpu(hardware);
    const wanted = typeof model === "string" ? model : (model as { $text?: string } | undefined)?.$text;
    const names = (feature ?? []).map(({ name }) => name);
    if (wanted !== undefined && wanted !== own.model && !getCpuModels().includes(wanted))
      throw refusal("internalError", "cpu", `Unknown CPU model ${wanted}`);
    if (names.some((name) => name !== undefined && !own.features.includes(name))) return CPU.incompatible;
    return wanted === own.model && names.length === own.features.length ? CPU.identical : CPU.superset;
  };
  return {
    connectGetType: () => ({ type: "QEMU" }),
    connectGetVersion: () => ({ hvVer: host.release.qemuVersion }),
    connectGetHostname: () => ({ hostname: host.name }),
    connectIsSecure: () => ({ secure: 1 }),
    connectGetMaxVcpus: () => ({ maxVcpus: MAX_VCPUS }),
    connectGetCapabilities: () => ({ capabilities: capabilitiesXml(host) }),
    connectGetDomainCapabilities: ({ machine, virttype, arch, emulatorbin }) => ({
      capabilities: domainCapabilitiesXml(host, { machine, virttype, arch, emulatorbin }),
    }),
    connectGetSysinfo: () => ({
      sysinfo: "<sysinfo type='smbios'><system><entry name='manufacturer'>hypervise</entry></system></sysinfo>",
    }),
    connectGetCpuModelNames() {
      const models = getCpuModels();
      return { models, ret: models.length };
    },
    connectCompareCpu: ({ xml }) => ({ result: compare(xml) }),
    connectCompareHypervisorCpu: ({ xmlCpu }) => ({ result: compare(xmlCpu) }),
    connectBaselineHypervisorCpu: ({ xmlCpus }) => ({ cpu: baseline(host, xmlCpus) }),
    connectBaselineCpu: ({ xmlCpus }) => ({ cpu: baseline(host, xmlCpus) }),
    nodeGetInfo: () => ({
      model: "x86_64",
      memory: hardware.memoryKiB,
      cpus: hardware.cpus,
      mhz: hardware.mhz,
      nodes: 1,
      sockets: 1,
      cores: hardware.cpus,
      threads: 1,
    }),
    nodeGetFreeMemory: () => ({ freeMem: freeKiB(host) * 1024n }),
    nodeGetCellsFreeMemory: () => ({ cells: [freeKiB(host) * 1024n] }),
    nodeGetMemoryStats({ nparams }) {
      const numbers = [
        { field: "total", value: hardware.memoryKiB },
        { field: "free", value: freeKiB(host) },
        { field: "buffers", value: 0n },
        { field: "cached", value: 0n },
      ];
      return { params: numbers.slice(0, nparams), nparams: numbers.length };
    },
    nodeGetCpuStats({ nparams }) {
      const nanoseconds = BigInt(Math.round(host.clock.monotonic())) * 1_000_000n * BigInt(hardware.cpus);
      const numbers = [
        { field: "kernel", value: nanoseconds / 20n },
        { field: "user", value: nanoseconds / 10n },
        { field: "idle", value: (nanoseconds * 17n) / 20n },
        { field: "iowait", value: 0n },
      ];
      return { params: numbers.slice(0, nparams), nparams: numbers.length };
    },
    nodeGetCpuMap({ needMap }) {
      const bytes = new Uint8Array(Math.ceil(hardware.cpus / 8));
      for (let cpu = 0; cpu < hardware.cpus; cpu++) bytes[cpu >> 3] = (bytes[cpu >> 3] ?? 0) | (1 << (cpu & 7));
      return { cpumap: needMap === 0 ? new Uint8Array(0) : bytes, online: hardware.cpus, ret: hardware.cpus };
    },
    nodeGetSecurityModel: () => ({ model: "none", doi: "0" }),
    ...deviceHandlers(host),
  };
}

function baseline(host: HostState, cpus: readonly string[]): string {
  if (cpus.length === 0) throw refusal("invalidArg", "cpu", "no CPUs given");
  const lists = cpus.map((xml) => readDocument("cpu", "cpu", () => parseCpuXml(xml)));
  const common = (lists[0]?.feature ?? []).filter(({ name }) =>
    lists.every(({ feature }) => (feature ?? []).some((each) => each.name === name)),
  );
  return formatCpuXml({
    mode: "custom",
    match: "exact",
    model: { fallback: "forbid", $text: hostCpu(host.hardware).model },
    feature: common.map((each) => ({ ...each, policy: "require" as const })),
  });
}

/** Memory that no running guest has. */
export function freeKiB(host: HostState): bigint {
  const used = [...host.domains.values()].reduce((sum, { live }) => sum + BigInt(live?.currentMemory?.$text ?? 0), 0n);
  return host.hardware.memoryKiB > used ? host.hardware.memoryKiB - used : 0n;
}

/** Flags by which devices of a kind are asked for. */
const CAPABILITY_FLAGS: Readonly<Record<string, number>> = {
  system: ConnectListAllNodeDeviceFlags.capSystem,
  pci: ConnectListAllNodeDeviceFlags.capPciDev,
  usb_device: ConnectListAllNodeDeviceFlags.capUsbDev,
  usb: ConnectListAllNodeDeviceFlags.capUsbInterface,
  net: ConnectListAllNodeDeviceFlags.capNet,
  scsi_host: ConnectListAllNodeDeviceFlags.capScsiHost,
  storage: ConnectListAllNodeDeviceFlags.capStorage,
  mdev: ConnectListAllNodeDeviceFlags.capMdev,
};

function deviceHandlers(host: HostState): FakeLibvirtHandlers {
  const found = (name: string): ReturnType<typeof parseNodeDeviceXml> => {
    const device = host.nodeDevices.get(name);
    if (device === undefined)
      throw refusal("noNodeDevice", "nodedev", `Node device not found: no node device with matching name '${name}'`);
    return device;
  };
  return {
    nodeDeviceLookupByName: ({ name }) => ({ dev: { name: found(name).name ?? name } }),
    nodeDeviceGetXmlDesc: ({ name }) => ({ xml: formatNodeDeviceXml(found(name)) }),
    nodeDeviceGetParent: ({ name }) => ({ parentName: found(name).parent?.$text }),
    nodeDeviceNumOfCaps: ({ name }) => ({ num: capabilitiesOf(found(name)).length }),
    nodeDeviceListCaps: ({ name, maxnames }) => ({ names: capabilitiesOf(found(name)).slice(0, maxnames) }),
    nodeDeviceDetachFlags: ({ name }) => driver(found(name), "vfio-pci"),
    nodeDeviceDettach: ({ name }) => driver(found(name), "vfio-pci"),
    nodeDeviceReAttach: ({ name }) => driver(found(name), undefined),
    nodeDeviceReset({ name }) {
      found(name);
      return {};
    },
    nodeNumOfDevices: ({ cap }) => ({ num: devicesWith(host, cap).length }),
    nodeListDevices: ({ cap, maxnames }) => ({ names: devicesWith(host, cap).slice(0, maxnames) }),
    connectListAllNodeDevices({ flags }) {
      const wanted = (device: ReturnType<typeof parseNodeDeviceXml>): boolean =>
        flags === 0 || capabilitiesOf(device).some((name) => ((CAPABILITY_FLAGS[name] ?? 0) & flags) !== 0);
      const devices = [...host.nodeDevices].filter(([, device]) => wanted(device)).map(([name]) => ({ name }));
      return { devices, ret: devices.length };
    },
  };
}

function driver(device: ReturnType<typeof parseNodeDeviceXml>, name: string | undefined): Record<string, never> {
  if (name === undefined) delete device.driver;
  else device.driver = { name };
  return {};
}

function capabilitiesOf(device: ReturnType<typeof parseNodeDeviceXml>): string[] {
  const capabilities = (device.capability ?? []) as readonly { readonly type?: string }[];
  return capabilities.flatMap(({ type }) => (type === undefined ? [] : [type]));
}

function devicesWith(host: HostState, capability: string | undefined): string[] {
  return [...host.nodeDevices]
    .filter(([, device]) => capability === undefined || capabilitiesOf(device).includes(capability))
    .map(([name]) => name);
}
