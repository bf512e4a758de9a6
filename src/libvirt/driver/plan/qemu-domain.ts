/** QEMU guests, with KVM and without. Pure. */
import type { DomainXml, LibvirtXml } from "../../xml/index.js";
import { defined } from "./defined.js";
import { BootOrder } from "./boot-order.js";
import { planChannels, planSerialPorts } from "./character-devices.js";
import { planControllers } from "./controllers.js";
import { planCpu, planNumaTuning } from "./cpu.js";
import { planDisk } from "./disks.js";
import { planClock, planFeatures, planLaunchSecurity } from "./features.js";
import { planBoot, planSysinfo } from "./firmware.js";
import { planGraphics, planVideo } from "./graphics.js";
import { planFilesystems, planHostDevices, planInputs } from "./guest-devices.js";
import { hasFeature } from "./host-facts.js";
import { planInterface } from "./interfaces.js";
import { planMemory, planMemoryDevices } from "./memory.js";
import {
  planBalloon,
  planIommu,
  planPerf,
  planRng,
  planSound,
  planTpm,
  planVsock,
  planWatchdog,
} from "./peripherals.js";
import type { PlanContext } from "./plan-context.js";
import { unsupported } from "./refuse.js";

/** The parts of a domain that are a QEMU guest's own. */
export function qemuDomain(context: PlanContext): DomainXml {
  const { hardware } = context;
  return defined<DomainXml>({
    genid: generationId(context),
    ...planMemory(context),
    ...planCpu(context),
    numatune: planNumaTuning(context),
    sysinfo: planSysinfo(context),
    os: planBoot(context),
    features: planFeatures(context),
    clock: planClock(context),
    on_poweroff: "destroy",
    on_reboot: hardware.onReboot === "poweroff" ? "destroy" : "restart",
    on_crash: "destroy",
    perf: planPerf(context),
    devices: devices(context),
    launchSecurity: planLaunchSecurity(context),
  });
}

/** Without a value libvirt makes one up when the domain is defined. */
function generationId({ hardware, facts, options, machine }: PlanContext): string | undefined {
  const wanted = hardware.generationId;
  const known = machine === "virt" ? false : hasFeature(facts, "genid");
  if (wanted === true && known === false) throw unsupported("hardware.generationId", "this machine has none");
  return (wanted ?? known === true) ? (options.generationId ?? "") : undefined;
}

function devices(context: PlanContext): LibvirtXml.DomainDevices {
  const { definition, facts, guest } = context;
  const boot = new BootOrder(definition);
  return defined<LibvirtXml.DomainDevices>({
    emulator: facts?.emulator ?? guest.emulator,
    disk: definition.disks.map((disk, index) => planDisk(context, disk, boot, `disks[${index}]`)),
    controller: planControllers(context),
    filesystem: planFilesystems(context),
    interface: definition.nics.map((nic, index) => planInterface(context, nic, boot, `nics[${index}]`)),
    input: planInputs(context),
    ...planSound(context),
    hostdev: planHostDevices(context),
    graphics: planGraphics(context),
    video: planVideo(context),
    serial: planSerialPorts(context),
    channel: planChannels(context),
    rng: planRng(context),
    tpm: planTpm(context),
    memory: planMemoryDevices(context),
    watchdog: planWatchdog(context),
    memballoon: planBalloon(context),
    iommu: planIommu(context),
    vsock: planVsock(context),
  });
}
