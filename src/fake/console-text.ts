/** What a simulated guest writes to its serial console. */
import type { GuestRecord } from "./guest-record.js";

/** The console's text for one entry of the guest's history; what is no event stands for itself. Pure. */
export function consoleText(record: GuestRecord, entry: string): string {
  const { name, vcpus, memoryMiB, disks, nics, kernel } = record.definition;
  switch (entry) {
    case "boot":
      return lines(
        "[    0.000000] Linux version 6.1.0-fake",
        `[    0.000000] Command line: ${kernel?.commandLine ?? "root=/dev/vda1 console=ttyS0"}`,
        `[    0.010000] Memory: ${memoryMiB * 1024}K available`,
        `[    0.020000] smp: Brought up 1 node, ${vcpus} CPUs`,
        ...disks.map((disk, index) => `[    0.${300 + index}000] ${disk.deviceName}: disk ${disk.serial ?? disk.id}`),
        ...nics.map((nic, index) => `[    0.${500 + index}000] eth${index}: ${nic.macAddress}`),
        "[    1.000000] systemd[1]: Reached target multi-user.target",
        "",
        `${name} login: `,
      );
    case "shutdown":
      return lines("", "[  OK  ] Reached target poweroff.target", "reboot: Power down");
    case "crash":
      return lines(
        "",
        "Kernel panic - not syncing: fake panic",
        "---[ end Kernel panic - not syncing: fake panic ]---",
      );
    case "nmi":
      return lines("", "Uhhuh. NMI received for unknown reason 3d on CPU 0.");
    default:
      return entry;
  }
}

function lines(...texts: readonly string[]): string {
  const last = texts.at(-1) ?? "";
  return texts.join("\r\n") + (last.endsWith("login: ") ? "" : "\r\n");
}
