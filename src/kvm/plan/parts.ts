/** Names that parts and files of every guest have. */

/** Files in the guest's directory, which QEMU gets as a descriptor: so a long path of the state directory meets no limit of socket addresses. */
export const GUEST_FILES = {
  monitor: "qmp.sock",
  toolsMonitor: "tools.sock",
  console: "console.sock",
  consoleLog: "console.log",
  agent: "agent.sock",
  log: "qemu.log",
  pid: "qemu.pid",
  /** Sockets on which QEMU waits for a guest from another host, and for its disks. */
  incoming: "incoming.sock",
  incomingDisks: "disks.sock",
  /** Sockets by which QEMU reaches another host through this process. */
  outgoing: "outgoing.sock",
  outgoingDisks: "outgoing-disks.sock",
  /** The memory of a suspended guest, and what it is called until it is whole. */
  memory: "memory.state",
  memoryPart: "memory.part",
  runtime: "runtime.json",
  /** Consoles with pictures, where they have no address. */
  vnc: "vnc.sock",
  spice: "spice.sock",
  /** Serial ports beside the console. */
  serial1: "serial1.sock",
  serial2: "serial2.sock",
  serial3: "serial3.sock",
  /** The variables of UEFI firmware. */
  uefiVariables: "uefi-variables",
  /** What the guest's TPM keeps. */
  tpm: "tpm",
  /** What the processes beside QEMU say. */
  helperLog: "helpers.log",
} as const;

/** Ids of the parts that every guest has. */
export const PARTS = {
  console: "console0",
  agent: "agent0",
  agentChardev: "agent",
  consoleChardev: "console",
  balloon: "balloon0",
} as const;
