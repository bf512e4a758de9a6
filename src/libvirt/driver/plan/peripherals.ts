/** The smaller parts of a QEMU guest's machine. Pure. */
import type { DomainXml, LibvirtXml } from "../../xml/index.js";
import { deviceAlias } from "./device-alias.js";
import { offers } from "./host-facts.js";
import { isX86 } from "./plan-context.js";
import type { PlanContext } from "./plan-context.js";
import { unsupported } from "./refuse.js";
import { defined, onOff } from "./defined.js";

/** The source of random numbers; without another word every guest has one. */
export function planRng({ hardware, facts }: PlanContext): readonly LibvirtXml.DomainRng[] | undefined {
  const { rng = {} } = hardware;
  if (rng === false) return undefined;
  const { source = "/dev/urandom", maxBytes, periodMs } = rng;
  const model = source === "builtin" ? "builtin" : "random";
  if (!offers(facts, "rng", "backendModel", model)) {
    if (hardware.rng === undefined) return undefined;
    throw unsupported("hardware.rng.source", `this host's QEMU has no random numbers of kind ${model}`);
  }
  return [
    defined<LibvirtXml.DomainRng>({
      model: "virtio",
      rate: maxBytes === undefined ? undefined : { bytes: maxBytes, period: periodMs ?? 1000 },
      backend: model === "builtin" ? { model } : { model, $text: source },
      alias: { name: deviceAlias("part", "rng") },
    }),
  ];
}

export function planBalloon({ hardware }: PlanContext): LibvirtXml.DomainMemballoon {
  const { balloon = {} } = hardware;
  if (balloon === false) return { model: "none" };
  const { statisticsPeriodSeconds: period = 0, freePageReporting, deflateOnOom } = balloon;
  return defined<LibvirtXml.DomainMemballoon>({
    model: "virtio",
    autodeflate: onOff(deflateOnOom),
    freePageReporting: onOff(freePageReporting),
    stats: period === 0 ? undefined : { period },
    alias: { name: deviceAlias("part", "balloon") },
  });
}

export function planTpm({ hardware, facts, machine }: PlanContext): readonly LibvirtXml.DomainTpm[] | undefined {
  const { tpm } = hardware;
  if (tpm === undefined) return undefined;
  const model = `tpm-${tpm.model ?? (machine === "virt" ? "tis" : "crb")}`;
  if (!offers(facts, "tpm", "model", model))
    throw unsupported("hardware.tpm.model", `this host's QEMU has no ${model}`);
  if (!offers(facts, "tpm", "backendModel", "emulator"))
    throw unsupported("hardware.tpm", "this host's libvirt has no TPM emulation; it wants swtpm and swtpm_setup");
  if (!offers(facts, "tpm", "backendVersion", "2.0"))
    throw unsupported("hardware.tpm", "this host's libvirt emulates no TPM 2.0");
  return [{ model, backend: { type: "emulator", version: "2.0" }, alias: { name: deviceAlias("part", "tpm") } }];
}

export function planWatchdog(context: PlanContext): readonly LibvirtXml.DomainWatchdog[] | undefined {
  const { hardware, host, machine } = context;
  const { watchdog } = hardware;
  if (watchdog === undefined) return undefined;
  const { model, action } = watchdog;
  if (model === "itco" && (machine !== "q35" || host.libvirtVersion < 9_001_000))
    throw unsupported("hardware.watchdog.model", "itco is part of q35 machines, and known to libvirt from 9.1 on");
  if (model === "ib700" && machine !== "pc" && machine !== "q35")
    throw unsupported("hardware.watchdog.model", "this machine has no ISA bus");
  return [
    {
      model,
      action: action === "injectNmi" ? "inject-nmi" : action,
      alias: { name: deviceAlias("part", "watchdog") },
    },
  ];
}

type Audio = Pick<LibvirtXml.DomainDevices, "sound" | "audio">;

export function planSound(context: PlanContext): Audio {
  const { sound } = context.hardware;
  if (sound === undefined) return {};
  const { model, backend = "none" } = sound;
  if (model === "sb16" && !isX86(context)) throw unsupported("hardware.sound.model", "this machine has no ISA bus");
  return {
    sound: [{ model, alias: { name: deviceAlias("part", "sound") }, audio: { id: "1" } }],
    audio: [{ id: "1", type: backend }],
  };
}

export function planVsock({ hardware, facts }: PlanContext): LibvirtXml.DomainVsock | undefined {
  const { vsock } = hardware;
  if (vsock === undefined) return undefined;
  if (facts?.features["vsock"]?.supported === false) throw unsupported("hardware.vsock", "this host has no vsock");
  return { model: "virtio", cid: { auto: "no", address: vsock.cid }, alias: { name: deviceAlias("part", "vsock") } };
}

export function planIommu(context: PlanContext): LibvirtXml.DomainIommu | undefined {
  const { iommu } = context.platform;
  if (iommu === undefined) return undefined;
  const { model } = iommu;
  const field = "platform.libvirt.iommu.model";
  const { machine, host } = context;
  if ((model === "intel" && machine !== "q35") || (model === "smmuv3" && machine !== "virt") || machine === "pc")
    throw unsupported(field, `a ${machine ?? "guest's"} machine can't have it`);
  if (model === "virtio" && host.libvirtVersion < 8_003_000) throw unsupported(field, "virtio needs libvirt 8.3");
  if (model !== "intel") return { model };
  // Interrupts can be remapped only where QEMU itself has the interrupt controller.
  const remaps = host.virtType === "kvm";
  return { model, driver: defined({ intremap: remaps ? "on" : undefined, caching_mode: "on", iotlb: "on" }) };
}

export function planPerf({ platform, host }: PlanContext): DomainXml["perf"] {
  const { perfEvents = [] } = platform;
  if (perfEvents.length === 0) return undefined;
  perfEvents.forEach((name, index) => {
    const field = `platform.libvirt.perfEvents[${index}]`;
    if (!PERF_EVENTS.includes(name)) throw unsupported(field, `libvirt has no perf event ${name}`);
    const feature = MONITORS.get(name);
    if (feature !== undefined && host.cpuFeatures.length > 0 && !host.cpuFeatures.includes(feature))
      throw unsupported(field, `the host's CPU has no ${feature}`);
  });
  return { event: [...new Set(perfEvents)].map((name) => ({ name, enabled: "yes" })) };
}

/** What the CPU has to have for events that are its own. */
const MONITORS: ReadonlyMap<string, string> = new Map([
  ["cmt", "cmt"],
  ["mbmt", "mbm_total"],
  ["mbml", "mbm_local"],
]);
const PERF_EVENTS: readonly string[] = [
  ...["cmt", "mbmt", "mbml", "cpu_cycles", "instructions", "cache_references", "cache_misses", "branch_instructions"],
  ...["branch_misses", "bus_cycles", "stalled_cycles_frontend", "stalled_cycles_backend", "ref_cpu_cycles"],
  ...["cpu_clock", "task_clock", "page_faults", "context_switches", "cpu_migrations", "page_faults_min"],
  ...["page_faults_maj", "alignment_faults", "emulation_faults"],
];
