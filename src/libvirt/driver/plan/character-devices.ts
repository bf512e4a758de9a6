/** Consoles, serial ports and channels of QEMU guests. Pure. */
import type { CharacterBackend, LibvirtXml } from "../../xml/index.js";
import { channelXml, serialXml } from "../../xml/index.js";
import { deviceAlias } from "./device-alias.js";
import { isX86 } from "./plan-context.js";
import type { PlanContext } from "./plan-context.js";
import { invalid, unsupported } from "./refuse.js";

export const AGENT_CHANNEL = "org.qemu.guest_agent.0";
const SPICE_CHANNEL = "com.redhat.spice.0";

/** Of the four that a PC has, one stays a pseudo terminal. */
const MAX_TCP_PORTS = 3;

/**
 * The guest's console, whose log is kept, and the ports beside it: pseudo terminals, which `domainOpenConsole` opens by their aliases; or TCP ports, with one pseudo terminal
 * after them where the machine has room for it.
 */
export function planSerialPorts(context: PlanContext): readonly LibvirtXml.DomainConsole[] {
  const { hardware, options } = context;
  const { consoleLogPath, serialConsole } = options;
  const wanted = 1 + (hardware.extraSerialPorts ?? 0);
  if (wanted > 1 && !isX86(context)) throw unsupported("hardware.extraSerialPorts", "this machine has one serial port");
  const backends =
    serialConsole === undefined ? new Array<undefined>(wanted).fill(undefined) : listeners(context, wanted);
  return backends.map((backend, port) => ({
    ...serialXml({
      port,
      backend,
      ...(port === 0 && consoleLogPath !== undefined ? { log: { file: consoleLogPath, append: true } } : {}),
    }),
    alias: { name: serialAlias(port) },
  }));
}

function listeners(context: PlanContext, wanted: number): readonly (CharacterBackend | undefined)[] {
  const { address: host = "", ports = [] } = context.options.serialConsole ?? {};
  if (wanted > MAX_TCP_PORTS)
    throw unsupported("hardware.extraSerialPorts", `a guest has at most ${MAX_TCP_PORTS} serial consoles on TCP ports`);
  if (ports.length !== wanted) throw invalid("options.serialConsole.ports", ports.length, `${wanted} ports`);
  const listening = ports.map((port): CharacterBackend => ({ tcp: { host, port }, listen: true }));
  return isX86(context) ? [...listening, undefined] : listening;
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
