/** Which of the host's processors a guest's processors and threads run on, and its threads for disks. */
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { DomainModificationImpact as IMPACT } from "../../../libvirt/rpc/index.js";
import type { DomainDocument, DomainRecord } from "./domain-record.js";
import { chosen, vcpusOf } from "./domain-state.js";
import type { HostState } from "./host-state.js";
import { refusal } from "./refuse.js";

type Nothing = Record<string, never>;

export function processorPinHandlers(host: HostState): FakeLibvirtHandlers {
  const { cpus } = host.hardware;
  const pinVcpu = (domain: DomainRecord, vcpu: number, cpumap: Uint8Array, flags: number): Nothing => {
    const cpuset = listOf(cpumap, cpus);
    for (const document of chosen(domain, flags)) {
      const count = Number(document.vcpu?.$text ?? 1);
      const which = document === domain.live ? "live" : "persistent";
      if (vcpu < 0 || vcpu >= count)
        throw refusal("invalidArg", "qemu", `vcpu ${vcpu} is out of range of ${which} cpu count ${count}`);
      if (cpuset === "") throw refusal("invalidArg", "qemu", "Empty cpu list for pinning");
      const others = (document.cputune?.vcpupin ?? []).filter((pin) => pin.vcpu !== vcpu);
      document.cputune = { ...document.cputune, vcpupin: [...others, { vcpu, cpuset }] };
    }
    tellTunable(host, domain, flags, `cputune.vcpupin${vcpu}`, cpuset);
    return {};
  };
  return {
    domainPinVcpu: ({ dom, vcpu, cpumap }) => pinVcpu(host.unlockedDomain(dom), vcpu, cpumap, IMPACT.live),
    domainPinVcpuFlags: ({ dom, vcpu, cpumap, flags }) => pinVcpu(host.unlockedDomain(dom), vcpu, cpumap, flags),
    domainGetVcpuPinInfo({ dom, ncpumaps, maplen, flags }) {
      const [document] = chosen(host.domain(dom), flags) as [DomainDocument];
      const num = Math.min(ncpumaps, Number(document.vcpu?.$text ?? 1));
      const pins = document.cputune?.vcpupin ?? [];
      const maps = Array.from({ length: num }, (_, vcpu) =>
        mapOf(pins.find((pin) => pin.vcpu === vcpu)?.cpuset ?? document.vcpu?.cpuset, cpus, maplen),
      );
      return { cpumaps: Buffer.concat(maps), num };
    },
    domainPinEmulator({ dom, cpumap, flags }) {
      const domain = host.unlockedDomain(dom);
      const cpuset = listOf(cpumap, cpus);
      if (cpuset === "") throw refusal("invalidArg", "qemu", "Empty cpu list for pinning");
      for (const document of chosen(domain, flags)) document.cputune = { ...document.cputune, emulatorpin: { cpuset } };
      tellTunable(host, domain, flags, "cputune.emulatorpin", cpuset);
      return {};
    },
    domainGetEmulatorPinInfo({ dom, maplen, flags }) {
      const [document] = chosen(host.domain(dom), flags) as [DomainDocument];
      const { cpuset } = document.cputune?.emulatorpin ?? {};
      return { cpumaps: mapOf(cpuset ?? document.vcpu?.cpuset, cpus, maplen), ret: 1 };
    },
    domainSetVcpu({ dom, cpumap, state, flags }) {
      const domain = host.unlockedDomain(dom);
      for (const document of chosen(domain, flags)) setVcpus(document, numbersOf(cpumap), state !== 0);
      return {};
    },
    ...ioThreadHandlers(host),
  };
}

function ioThreadHandlers(host: HostState): FakeLibvirtHandlers {
  const idsOf = ({ iothreadids, iothreads = 0 }: DomainDocument): number[] => {
    const ids = (iothreadids?.iothread ?? []).map(({ id }) => Number(id));
    for (let next = 1; ids.length < iothreads; next++) if (!ids.includes(next)) ids.push(next);
    return ids;
  };
  const setIds = (document: DomainDocument, ids: readonly number[]): void => {
    document.iothreads = ids.length;
    document.iothreadids = { iothread: ids.map((id) => ({ id })) };
    if (ids.length > 0) return;
    delete document.iothreads;
    delete document.iothreadids;
  };
  const known = (document: DomainDocument, id: number): void => {
    if (!idsOf(document).includes(id))
      throw refusal("invalidArg", "domain", `cannot find IOThread '${id}' in iothreadids list`);
  };
  return {
    domainGetIoThreadInfo({ dom, flags }) {
      const [document] = chosen(host.domain(dom), flags) as [DomainDocument];
      const { cpus } = host.hardware;
      const pins = document.cputune?.iothreadpin ?? [];
      const info = idsOf(document).map((id) => ({
        ioThreadId: id,
        cpumap: mapOf(pins.find((pin) => pin.iothread === id)?.cpuset, cpus, Math.ceil(cpus / 8)),
      }));
      return { info, ret: info.length };
    },
    domainAddIoThread({ dom, ioThreadId, flags }) {
      const documents = chosen(host.unlockedDomain(dom), flags);
      if (ioThreadId === 0) throw refusal("invalidArg", "qemu", "invalid value of 0 for iothread_id");
      for (const document of documents)
        if (idsOf(document).includes(ioThreadId))
          throw refusal("invalidArg", "domain", `an IOThread is already using iothread_id '${ioThreadId}'`);
      for (const document of documents) setIds(document, [...idsOf(document), ioThreadId]);
      return {};
    },
    domainDelIoThread({ dom, ioThreadId, flags }) {
      const documents = chosen(host.unlockedDomain(dom), flags);
      for (const document of documents) known(document, ioThreadId);
      for (const document of documents)
        setIds(
          document,
          idsOf(document).filter((id) => id !== ioThreadId),
        );
      return {};
    },
    domainPinIoThread({ dom, ioThreadsId: iothread, cpumap, flags }) {
      const documents = chosen(host.unlockedDomain(dom), flags);
      const cpuset = listOf(cpumap, host.hardware.cpus);
      if (cpuset === "") throw refusal("invalidArg", "qemu", "Empty iothread cpumap list for pinning");
      for (const document of documents) known(document, iothread);
      for (const document of documents) {
        const others = (document.cputune?.iothreadpin ?? []).filter((pin) => pin.iothread !== iothread);
        document.cputune = { ...document.cputune, iothreadpin: [...others, { iothread, cpuset }] };
      }
      return {};
    },
  };
}

function tellTunable(host: HostState, domain: DomainRecord, flags: number, field: string, value: string): void {
  if (!domain.active || (flags & (IMPACT.live | IMPACT.config)) === IMPACT.config) return;
  host.emit("domain", "tunable", { dom: domain.reference, params: [{ field, type: "string", value }] });
}

/** Turns processors on or off; the first stays. @throws FakeLibvirtError for those that are not there */
function setVcpus(document: DomainDocument, numbers: readonly number[], on: boolean): void {
  const most = Number(document.vcpu?.$text ?? 1);
  for (const number of numbers) {
    if (number >= most) throw refusal("invalidArg", "qemu", `vcpu ${number} is out of range of live cpu count ${most}`);
    if (!on && number === 0) throw refusal("operationUnsupported", "qemu", "vCPU '0' can't be unplugged");
  }
  const current = vcpusOf(document) + (on ? numbers.length : -numbers.length);
  document.vcpu = { ...document.vcpu, current: Math.max(1, Math.min(most, current)) };
}

/** Processors of a map of bits, as libvirt writes lists: `0-2,5`. */
function listOf(map: Uint8Array, cpus: number): string {
  const set = Array.from({ length: cpus }, (_, cpu) => cpu).filter((cpu) => ((map[cpu >> 3] ?? 0) >> (cpu & 7)) & 1);
  const ranges: string[] = [];
  for (let i = 0; i < set.length; i++) {
    const first = set[i] as number;
    while (set[i + 1] === (set[i] as number) + 1) i++;
    ranges.push(first === set[i] ? String(first) : `${first}-${set[i]}`);
  }
  return ranges.join(",");
}

/** The map of bits of a list; all processors where none is given. */
function mapOf(cpuset: string | undefined, cpus: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (const cpu of cpuset === undefined ? Array.from({ length: cpus }, (_, i) => i) : numbersOf(cpuset))
    if (cpu >> 3 < length) bytes[cpu >> 3] = (bytes[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  return bytes;
}

/** Numbers of a list such as `0-2,^1,5`. @throws FakeLibvirtError */
function numbersOf(list: string): number[] {
  const numbers = new Set<number>();
  for (const part of list.split(",")) {
    const [all, not, first, last] = /^\s*(\^?)(\d{1,5})(?:-(\d{1,5}))?\s*$/.exec(part) ?? [];
    if (all === undefined) throw refusal("invalidArg", "qemu", `Failed to parse bitmap '${list}'`);
    for (let i = Number(first); i <= Number(last ?? first); i++) {
      if (not === "") numbers.add(i);
      else numbers.delete(i);
    }
  }
  return [...numbers];
}
