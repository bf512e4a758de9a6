/** Consoles, serial ports and channels of QEMU guests. Pure. */
import type { LibvirtXml } from "../../xml/index.js";
import { channelXml, serialXml } from "../../xml/index.js";
import { deviceAlias } from "./device-alias.js";
import { isX86 } from "./plan-context.js";
import type { PlanContext } from "./plan-context.js";
import { unsupported } from "./refuse.js";

export const AGENT_CHANNEL = "org.qemu.guest_agent.0";
const SPICE_CHANNEL = "com.redhat.spice.0";

/** The guest's console, whose log is kept, and the ports beside it: pseudo terminals, which `domainOpenConsole` opens by their aliases. */
export function planSerialPorts(context: PlanContext): readonly LibvirtXml.DomainConsole[] {
  const { hardware, options } = context;
  const { extraSerialPorts = 0 } = hardware;
  if (extraSerialPorts > 0 && !isX86(context))
    throw unsupported("hardware.extraSerialPorts", "this machine has one serial port");
  const { consoleLogPath } = options;
  return Array.from({ length: extraSerialPorts + 1 }, (_, port) => ({
    ...serialXml({
      port,
      ...(port === 0 && consoleLogPath !== undefined ? { log: { file: consoleLogPath, append: true } } : {}),
    }),
    alias: { name: serialAlias(port) },
  }));
}

/** Alias of a serial port; 0 is the console. */
export function serialAlias(port: number): string {
  return deviceAlias("part", `serial${port}`);
}

/** Channels of the agents in the guest. */
export function planChannels({
  definition,
  hardware,
  options,
}: PlanContext): readonly LibvirtXml.DomainChannel[] | undefined {
  const { spice } = hardware;
  const { guestAgentSocket } = options;
  const channels: LibvirtXml.DomainChannel[] = [];
  if (definition.guestAgent) {
    const backend = guestAgentSocket === undefined ? {} : { backend: { unix: guestAgentSocket, listen: true } };
    channels.push({
      ...channelXml({ name: AGENT_CHANNEL, ...backend }),
      alias: { name: deviceAlias("part", "agent") },
    });
  }
  if (spice !== undefined && spice.agent !== false)
    channels.push({
      type: "spicevmc",
      target: { type: "virtio", name: SPICE_CHANNEL },
      alias: { name: deviceAlias("part", "vdagent") },
    });
  return channels.length === 0 ? undefined : channels;
}
