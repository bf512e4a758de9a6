/** Statistics of domains: one by one, and of all at once. */
import type { FakeLibvirtHandlers } from "../fake-call.js";
import {
  ConnectGetAllDomainStatsFlags as LIST,
  DomainMemoryStatTags,
  DomainState,
  DomainStatsTypes as STATS,
} from "../../../libvirt/rpc/index.js";
import type { TypedParameter } from "../../../libvirt/rpc/index.js";
import { diskOf, fileOf, targetOf } from "./block-jobs.js";
import type { Disk } from "./block-jobs.js";
import { devicesOf } from "./device-names.js";
import { sizeOfDisk } from "./disk-sizes.js";
import { vcpusOf } from "./domain-state.js";
import type { DomainRecord } from "./domain-record.js";
import { cpuNanoseconds, diskNumbers, nicNumbers } from "./guest-numbers.js";
import type { HostState } from "./host-state.js";
import { refusal } from "./refuse.js";

interface Nic {
  readonly target?: { readonly dev?: string };
  readonly mac?: { readonly address?: string };
}

export function statisticsHandlers(host: HostState): FakeLibvirtHandlers {
  return {
    connectGetAllDomainStats({ doms, stats, flags }) {
      const asked = doms.length > 0 ? doms.map((dom) => host.domain(dom)) : [...host.domains.values()];
      const chosen = asked.filter((domain) => isAsked(domain, flags));
      return {
        retStats: chosen.map((domain) => ({ dom: domain.reference, params: allOf(host, domain, stats >>> 0 || ALL) })),
      };
    },
    domainBlockStats({ dom, path }) {
      const domain = host.activeDomain(dom);
      diskOf(domain, path);
      return { ...diskNumbers(host, domain), errs: -1n };
    },
    domainBlockStatsFlags({ dom, path, nparams }) {
      const domain = host.activeDomain(dom);
      diskOf(domain, path);
      const { rdReq, rdBytes, wrReq, wrBytes } = diskNumbers(host, domain);
      const params = [
        ["rd_operations", rdReq],
        ["rd_bytes", rdBytes],
        ["wr_operations", wrReq],
        ["wr_bytes", wrBytes],
      ] as const;
      const list = params.map(([field, value]): TypedParameter => ({ field, type: "llong", value }));
      return { params: list.slice(0, nparams), nparams: list.length };
    },
    domainInterfaceStats({ dom, device }) {
      const domain = host.activeDomain(dom);
      const nics = devicesOf(domain.document, "interface") as Nic[];
      if (!nics.some(({ target, mac }) => target?.dev === device || mac?.address === device))
        throw refusal("invalidArg", "qemu", `invalid argument: '${device}' is not a known interface`);
      return { ...nicNumbers(host, domain), rxErrs: 0n, rxDrop: 0n, txErrs: 0n, txDrop: 0n };
    },
    domainMemoryStats({ dom, maxStats }) {
      const domain = host.activeDomain(dom);
      const kib = BigInt(domain.document.currentMemory?.$text ?? 0);
      const tags: readonly (readonly [tag: number, val: bigint])[] = [
        [DomainMemoryStatTags.actualBalloon, kib],
        [DomainMemoryStatTags.unused, kib / 2n],
        [DomainMemoryStatTags.available, kib],
        [DomainMemoryStatTags.rss, kib / 2n],
      ];
      return { stats: tags.slice(0, maxStats).map(([tag, val]) => ({ tag, val })) };
    },
    domainGetVcpus({ dom, maxinfo, maplen }) {
      const domain = host.activeDomain(dom);
      const count = Math.min(maxinfo, vcpusOf(domain.document));
      const cpuTime = cpuNanoseconds(host, domain) / BigInt(Math.max(1, count));
      const info = Array.from({ length: count }, (_, number) => ({
        number,
        state: 1,
        cpuTime,
        cpu: number % host.hardware.cpus,
      }));
      return { info, cpumaps: new Uint8Array(count * maplen).fill(0xff) };
    },
  };
}

const ALL = Object.values(STATS).reduce<number>((all, bit) => all | bit, 0);

function isAsked(domain: DomainRecord, flags: number): boolean {
  const { active, persistent, state } = domain;
  if ((flags & LIST.active) !== 0 && !active && (flags & LIST.inactive) === 0) return false;
  if ((flags & LIST.inactive) !== 0 && active && (flags & LIST.active) === 0) return false;
  if ((flags & LIST.persistent) !== 0 && persistent === undefined && (flags & LIST.transient) === 0) return false;
  if ((flags & LIST.running) !== 0 && state !== DomainState.running && (flags & (LIST.paused | LIST.shutoff)) === 0)
    return false;
  return true;
}

function allOf(host: HostState, domain: DomainRecord, groups: number): TypedParameter[] {
  const { document } = domain;
  const params: TypedParameter[] = [];
  const int = (field: string, value: number): void => void params.push({ field, type: "int", value });
  const uint = (field: string, value: number): void => void params.push({ field, type: "uint", value });
  const ullong = (field: string, value: bigint): void => void params.push({ field, type: "ullong", value });
  const string = (field: string, value: string): void => void params.push({ field, type: "string", value });
  const has = (bit: number): boolean => (groups & bit) !== 0;
  if (has(STATS.state)) {
    int("state.state", domain.state);
    int("state.reason", domain.reason);
  }
  if (has(STATS.cpuTotal) && domain.active) {
    const time = cpuNanoseconds(host, domain);
    ullong("cpu.time", time);
    ullong("cpu.user", (time * 3n) / 4n);
    ullong("cpu.system", time / 4n);
  }
  if (has(STATS.balloon)) {
    ullong("balloon.current", BigInt(document.currentMemory?.$text ?? 0));
    ullong("balloon.maximum", BigInt(document.memory?.$text ?? 0));
  }
  if (has(STATS.vcpu)) {
    const count = vcpusOf(document);
    uint("vcpu.current", count);
    uint("vcpu.maximum", Number(document.vcpu?.$text ?? 1));
    for (let i = 0; domain.active && i < count; i++) {
      int(`vcpu.${i}.state`, 1);
      ullong(`vcpu.${i}.time`, cpuNanoseconds(host, domain) / BigInt(count));
    }
  }
  if (has(STATS.interface) && domain.active) {
    const nics = devicesOf(document, "interface") as Nic[];
    uint("net.count", nics.length);
    nics.forEach(({ target }, i) => {
      const numbers = nicNumbers(host, domain);
      string(`net.${i}.name`, target?.dev ?? "");
      ullong(`net.${i}.rx.bytes`, numbers.rxBytes);
      ullong(`net.${i}.rx.pkts`, numbers.rxPackets);
      ullong(`net.${i}.tx.bytes`, numbers.txBytes);
      ullong(`net.${i}.tx.pkts`, numbers.txPackets);
    });
  }
  if (has(STATS.block)) {
    const disks = devicesOf(document, "disk") as Disk[];
    uint("block.count", disks.length);
    disks.forEach((disk, i) => {
      string(`block.${i}.name`, targetOf(disk));
      if (fileOf(disk) !== "") string(`block.${i}.path`, fileOf(disk));
      if (!domain.active) return;
      const numbers = diskNumbers(host, domain);
      ullong(`block.${i}.rd.reqs`, numbers.rdReq);
      ullong(`block.${i}.rd.bytes`, numbers.rdBytes);
      ullong(`block.${i}.wr.reqs`, numbers.wrReq);
      ullong(`block.${i}.wr.bytes`, numbers.wrBytes);
      const size = sizeOfDisk(host, disk);
      for (const name of ["allocation", "capacity", "physical"]) ullong(`block.${i}.${name}`, size);
    });
  }
  return params;
}
