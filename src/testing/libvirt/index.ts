/** Fakes of libvirt's daemon: one that does what a test says, and one with simulated domains behind it. */
export { NO_LIBVIRT_REPLY } from "./fake-call.js";
export type {
  FakeLibvirtCall,
  FakeLibvirtClient,
  FakeLibvirtHandler,
  FakeLibvirtHandlers,
  FakeLibvirtResult,
  FakeProcedureName,
  FakeProcedures,
  HeldLibvirtCall,
} from "./fake-call.js";
export { FakeLibvirtError } from "./fake-libvirt-error.js";
export type { FakeLibvirtErrorDetails } from "./fake-libvirt-error.js";
export { FakeLibvirtServer } from "./fake-libvirt-server.js";
export type { FakeLibvirtServerOptions, LibvirtMonitorEvent } from "./fake-libvirt-server.js";
export { FakeLibvirtStream } from "./fake-libvirt-stream.js";
export { LibvirtFaults, REPLY_DAMAGES, cutReply } from "./libvirt-faults.js";
export type { LibvirtFault, LibvirtFaultFilter, ReplyDamage } from "./libvirt-faults.js";
export type { FakeKeepalive } from "./served-client.js";
export { SimulatedLibvirtHost } from "./simulated-libvirt-host.js";
export type { SimulatedLibvirtContents, SimulatedLibvirtHostOptions } from "./simulated-libvirt-host.js";
export type { SimulatedGuestBehaviour } from "./simulation/behaviour.js";
export type { SimulatedLibvirtRelease } from "./simulation/release.js";
export type { ConsoleProgram } from "./simulation/domain-streams.js";
export type { AgentCommand } from "./simulation/guest-agent.js";
