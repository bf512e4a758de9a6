/** A QEMU guest's clock, and what its machine and hypervisor tell it of themselves. Pure. */
import type { LibvirtXml } from "../../xml/index.js";
import { defined, onOff } from "./defined.js";
import { hasFeature } from "./host-facts.js";
import { isX86 } from "./plan-context.js";
import type { PlanContext } from "./plan-context.js";
import { invalid, unsupported } from "./refuse.js";

const ON = { state: "on" } as const;
/** How often Windows tries a lock before it gives its vCPU away. */
const SPINLOCK_RETRIES = 8191;
const HYPERV = ["relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "frequencies"] as const;

/** The element `<features>`. */
export function planFeatures(context: PlanContext): LibvirtXml.DomainFeatures {
  const { hardware, facts, platform, guest, host } = context;
  const hyperv = wantsHyperv(context) ? hypervFeatures(context) : undefined;
  const { hideHypervisor, pmu, translationCacheMiB: cache } = platform;
  if (hideHypervisor === true && (host.virtType !== "kvm" || !isX86(context)))
    throw unsupported("platform.libvirt.hideHypervisor", "it needs KVM on an x86 machine");
  if (cache !== undefined && host.virtType !== "qemu")
    throw unsupported("platform.libvirt.translationCacheMiB", "KVM translates nothing");
  if (pmu !== undefined && host.virtType !== "kvm" && guest.arch !== "aarch64")
    throw unsupported("platform.libvirt.pmu", "it needs KVM");
  return defined<LibvirtXml.DomainFeatures>({
    // Without UEFI an ARM machine is described to its kernel by another table.
    acpi: isX86(context) || context.definition.firmware === "uefi" ? true : undefined,
    apic: isX86(context) ? {} : undefined,
    hyperv,
    kvm: hideHypervisor === true ? { hidden: ON } : undefined,
    pmu: pmu === undefined ? undefined : { state: onOff(pmu) },
    tcg: cache === undefined ? undefined : { "tb-cache": { unit: "MiB", $text: cache } },
    smm: hardware.uefi?.secureBoot === true ? { state: "on" } : undefined,
    // With it the guest's crash kernel can be read from a dump of its memory.
    vmcoreinfo: hasFeature(facts, "vmcoreinfo") === true ? ON : undefined,
    ioapic: platform.iommu?.model === "intel" && context.host.virtType === "kvm" ? { driver: "qemu" } : undefined,
  });
}

/** Windows is given what the host has of it, without being asked; who asks is told that it can't be had. */
function wantsHyperv(context: PlanContext): boolean {
  const { hardware, platform, host } = context;
  const known = hasFeature(context.facts, "hyperv") ?? true;
  const usual = platform.guestSystem === "windows" && host.virtType === "kvm" && isX86(context) && known;
  return hardware.clock?.hyperv ?? usual;
}

function hypervFeatures(context: PlanContext): LibvirtXml.DomainFeaturesHyperv {
  const { host, facts } = context;
  if (host.virtType !== "kvm" || !isX86(context))
    throw unsupported("hardware.clock.hyperv", "it needs KVM on an x86 machine");
  if (hasFeature(facts, "hyperv") === false)
    throw unsupported("hardware.clock.hyperv", "this host's KVM has nothing of it");
  const known = facts?.features["hyperv"]?.enums["features"];
  const has = (name: string): boolean => known?.includes(name) ?? true;
  return {
    ...Object.fromEntries(HYPERV.filter(has).map((name) => [name, ON])),
    ...(has("spinlocks") ? { spinlocks: { state: "on", retries: SPINLOCK_RETRIES } } : {}),
  };
}

/** The element `<clock>`. Windows keeps local time and reads time from its hypervisor; other guests by timers that make up for what they missed. */
export function planClock(context: PlanContext): LibvirtXml.DomainClock {
  const { platform, host } = context;
  const system = platform.guestSystem ?? "other";
  const { base = system === "windows" ? "localtime" : "utc", driftFix = "slew" } = context.hardware.clock ?? {};
  const reads = host.virtType === "kvm" && system !== "other";
  const timers: LibvirtXml.DomainClockTimer[] = [
    { name: "rtc", tickpolicy: driftFix === "slew" ? "catchup" : "delay" },
    { name: "pit", tickpolicy: "delay" },
    { name: "hpet", present: "no" },
    ...(reads ? [{ name: "kvmclock", present: system === "linux" ? "yes" : "no" }] : []),
    ...(wantsHyperv(context) ? [{ name: "hypervclock", present: "yes" }] : []),
  ];
  return { offset: base, ...(isX86(context) ? { timer: timers } : {}) };
}

/** The element `<launchSecurity>`. */
export function planLaunchSecurity({
  platform,
  host,
  facts,
  definition,
}: PlanContext): LibvirtXml.DomainLaunchSecurity | undefined {
  const { launchSecurity } = platform;
  if (launchSecurity === undefined) return undefined;
  const { type, kernelHashes } = launchSecurity;
  const field = "platform.libvirt.launchSecurity";
  if (kernelHashes === true && definition.kernel === undefined)
    throw invalid(`${field}.kernelHashes`, kernelHashes, "absent or false without a kernel");
  const types = facts?.features["launchSecurity"]?.enums["sectype"];
  const known = types === undefined ? hasFeature(facts, "sev") : types.includes(type);
  if (host.virtType !== "kvm" || known === false) throw unsupported(field, `this host has no ${type}`);
  if (type === "sev-snp" && host.libvirtVersion < 10_005_000) throw unsupported(field, "sev-snp needs libvirt 10.5");
  if (definition.firmware !== "uefi") throw unsupported(field, "it needs firmware uefi");
  const { policy = type === "sev" ? 0x33 : 0x3_0000 } = launchSecurity;
  const hex = `0x${policy.toString(16).padStart(type === "sev" ? 4 : 8, "0")}`;
  return defined<LibvirtXml.DomainLaunchSecurity>({
    type,
    kernelHashes: kernelHashes === undefined ? undefined : kernelHashes ? "yes" : "no",
    policy: hex,
  });
}
