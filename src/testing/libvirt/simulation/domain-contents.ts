/** What a guest's memory, disks and channels hold, and what the host knows of its troubles. */
import { DomainState } from "../../../libvirt/rpc/index.js";
import type { FakeLibvirtHandlers } from "../fake-call.js";
import { diskOf, fileOf } from "./block-jobs.js";
import { readDomainDefinition } from "./complete-domain.js";
import { devicesOf } from "./device-names.js";
import { sizeOfDisk } from "./disk-sizes.js";
import type { HostState } from "./host-state.js";
import { invalidOperation, refusal } from "./refuse.js";

const NATIVE_FORMAT = "qemu-argv";
const PAGE_KIB = 4;

export function domainContentHandlers(host: HostState): FakeLibvirtHandlers {
  return {
    domainBlockPeek({ dom, path, offset, size }) {
      const disk = diskOf(host.domain(dom), path);
      const bytes = sizeOfDisk(host, disk);
      if (offset + BigInt(size) > bytes) throw refusal("systemError", "qemu", `${path}: failed to seek or read`);
      const volume = [...host.pools.values()]
        .flatMap(({ volumes }) => [...volumes.values()])
        .find((each) => each.path === fileOf(disk));
      const buffer = Buffer.alloc(size);
      volume?.content.copy(buffer, 0, Number(offset));
      return { buffer };
    },
    domainMemoryPeek({ dom, size }) {
      host.activeDomain(dom);
      return { buffer: Buffer.alloc(size) };
    },
    domainOpenChannel({ dom, name }, { stream }) {
      const domain = host.activeDomain(dom);
      const channels = devicesOf(domain.document, "channel") as {
        target?: { name?: string };
        alias?: { name?: string };
      }[];
      const found = channels.some(
        ({ target, alias }) => name === undefined || target?.name === name || alias?.name === name,
      );
      if (!found) throw refusal("internalError", "qemu", "cannot find channel");
      if (stream !== undefined) {
        domain.consoles.add(stream);
        void stream.closed.then(() => domain.consoles.delete(stream));
      }
      return {};
    },
    domainGetDiskErrors({ dom, maxerrors }) {
      host.activeDomain(dom);
      return { errors: [].slice(0, maxerrors), nerrors: 0 };
    },
    domainGetMessages({ dom }) {
      host.domain(dom);
      return { msgs: [] };
    },
    domainIsUpdated({ dom }) {
      host.domain(dom);
      return { updated: 0 };
    },
    domainSetBlockThreshold({ dom, dev, threshold }) {
      const domain = host.activeDomain(dom);
      const path = fileOf(diskOf(domain, dev.replace(/\[\d+\]$/, "")));
      // The guest has written beyond it already when the disk is larger: it is told at once.
      const size = sizeOfDisk(host, diskOf(domain, dev.replace(/\[\d+\]$/, "")));
      if (threshold > 0n && size > threshold) {
        const event = { dom: domain.reference, dev, path, threshold, excess: size - threshold };
        host.later(0, () => host.emit("domain", "blockThreshold", event), domain.timers);
      }
      return {};
    },
    domainSendProcessSignal({ dom }) {
      host.activeDomain(dom);
      throw refusal("noSupport", "domain", "this function is not supported by the connection driver");
    },
    domainGetSecurityLabel({ dom }) {
      host.domain(dom);
      return { label: "", enforcing: 0 };
    },
    domainGetSecurityLabelList({ dom }) {
      host.domain(dom);
      return { labels: [], ret: 0 };
    },
    domainGetLaunchSecurityInfo({ dom }) {
      host.domain(dom);
      return { params: [] };
    },
    domainGetAutostartOnce: ({ dom }) => ({ autostart: host.domain(dom).autostartOnce ? 1 : 0 }),
    domainSetAutostartOnce({ dom, autostart }) {
      const domain = host.domain(dom);
      if (domain.persistent === undefined) throw invalidOperation("cannot set autostart for transient domain");
      domain.autostartOnce = autostart !== 0;
      return {};
    },
    connectDomainXmlToNative({ nativeFormat, domainXml }) {
      if (nativeFormat !== NATIVE_FORMAT)
        throw refusal("invalidArg", "qemu", `unsupported config type ${nativeFormat}`);
      const { name, devices, memory } = readDomainDefinition(host, domainXml);
      const mib = Math.ceil(Number(memory?.$text ?? 0) / 1024);
      return { nativeConfig: `${devices?.emulator ?? "qemu"} -name guest=${name} -m size=${mib}m\n` };
    },
    nodeGetFreePages({ pages, cellCount }) {
      const running = [...host.domains.values()].filter(({ state }) => state !== DomainState.shutoff);
      const used = running.reduce((sum, { document }) => sum + BigInt(document.memory?.$text ?? 0), 0n);
      const free = host.hardware.memoryKiB > used ? host.hardware.memoryKiB - used : 0n;
      const counts = Array.from({ length: Math.min(1, cellCount) }, () =>
        pages.map((kib) => (kib === PAGE_KIB ? free / BigInt(PAGE_KIB) : 0n)),
      );
      return { counts: counts.flat() };
    },
  };
}
