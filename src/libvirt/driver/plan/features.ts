/** A QEMU guest's clock, and what its machine and hypervisor tell it of themselves. Pure. */
import type { LibvirtXml } from "../../xml/index.js";
import { defined } from "./defined.js";
import { hasFeature } from "./host-facts.js";
import { isX86 } from "./plan-context.js";
import type { PlanContext } from "./plan-context.js";
import { unsupported } from "./refuse.js";

const ON = { state: "on" } as const;
/** How often Windows tries a lock before it gives its vCPU away. */
const SPINLOCK_RETRIES = 8191;
const HYPERV = ["relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "frequencies"] as const;

/** The element `<features>`. */
export function planFeatures(context: PlanContext): LibvirtXml.DomainFeatures {
  const { hardware, facts, platform } = context;
  const hyperv = hardware.clock?.hyperv === true ? hypervFeatures(context) : undefined;
  return defined<LibvirtXml.DomainFeatures>({
    acpi: true,
    apic: isX86(context) ? {} : undefined,
    hyperv,
    smm: hardware.uefi?.secureBoot === true ? { state: "on" } : undefined,
    // With it the guest's crash kernel can be read from a dump of its memory.
    vmcoreinfo: hasFeature(facts, "vmcoreinfo") === true ? ON : undefined,
    ioapic: platform.iommu?.model === "intel" && context.host.virtType === "kvm" ? { driver: "qemu" } : undefined,
  });
}

function hypervFeatures(context: PlanContext): LibvirtXml.DomainFeaturesHyperv {
  const { host, facts } = context;
  if (host.virtType !== "kvm" || !isX86(context))
    throw unsupported("hardware.clock.hyperv", "it needs KVM on an x86 machine");
  const known = facts?.features["hyperv"]?.enums["features"];
  const has = (name: string): boolean => known?.includes(name) ?? true;
  return {
    ...Object.fromEntries(HYPERV.filter(has).map((name) => [name, ON])),
    ...(has("spinlocks") ? { spinlocks: { state: "on", retries: SPINLOCK_RETRIES } } : {}),
  };
}

/** The element `<clock>`. Windows reads time from its hypervisor; other guests by timers that make up for what they missed. */
export function planClock(context: PlanContext): LibvirtXml.DomainClock {
  const { base = "utc", driftFix = "slew", hyperv = false } = context.hardware.clock ?? {};
  const timers: LibvirtXml.DomainClockTimer[] = [
    { name: "rtc", tickpolicy: driftFix === "slew" ? "catchup" : "delay" },
    { name: "pit", tickpolicy: "delay" },
    { name: "hpet", present: "no" },
    ...(hyperv ? [{ name: "hypervclock", present: "yes" }] : []),
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
