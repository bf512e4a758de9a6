/** The guest's NICs: what each is connected to. Pure. */
import type { GuestNic } from "../../../driver/index.js";
import type { LibvirtXml } from "../../xml/index.js";
import { filterReferenceXml } from "../../xml/index.js";
import { defined } from "./defined.js";
import type { BootOrder } from "./boot-order.js";
import { deviceAlias } from "./device-alias.js";
import type { DomainFamily, PlanContext } from "./plan-context.js";
import { invalid, unsupported } from "./refuse.js";

type Connection = Pick<LibvirtXml.DomainInterface, "type" | "source" | "target" | "ip">;

/** Models by the kind of guest: an absent value leaves the model out, an absent model can't be had. */
const MODELS: { readonly [F in DomainFamily]: Readonly<Partial<Record<GuestNic["model"], string | undefined>>> } = {
  qemu: { virtio: "virtio", e1000: "e1000", e1000e: "e1000e", rtl8139: "rtl8139", vmxnet3: "vmxnet3" },
  lxc: { virtio: undefined },
  xenHvm: { virtio: undefined, e1000: "e1000", rtl8139: "rtl8139" },
  xenPv: { virtio: undefined },
  parallels: { virtio: "virtio", e1000: "e1000", rtl8139: "rtl8139" },
  parallelsCt: { virtio: undefined },
  uml: { virtio: undefined },
};

/** The element `<interface>`, as a domain has it and as it is attached. @throws NotSupportedError, InvalidArgumentError */
export function planInterface(
  context: PlanContext,
  nic: GuestNic,
  boot: BootOrder,
  field: string,
): LibvirtXml.DomainInterface {
  const { family, host, options } = context;
  if (!Object.hasOwn(MODELS[family], nic.model))
    throw unsupported(`${field}.model`, `libvirt's ${host.virtType} guests have no NIC of model ${nic.model}`);
  const model = MODELS[family][nic.model];
  const queues = queuesOf(context, nic, field);
  const filter = Object.hasOwn(options.filters ?? {}, nic.id) ? options.filters?.[nic.id] : undefined;
  return defined<LibvirtXml.DomainInterface>({
    ...connectionOf(context, nic, field),
    mac: { address: nic.macAddress },
    model: model === undefined ? undefined : { type: model },
    driver: queues > 1 ? { queues } : undefined,
    filterref: filter === undefined ? undefined : filterReferenceXml(filter),
    mtu: nic.mtu === undefined || family !== "qemu" ? undefined : { size: nic.mtu },
    boot: family === "qemu" ? boot.of(nic.bootIndex) : undefined,
    rom: family === "qemu" && nic.bootIndex === undefined ? { enabled: "no" } : undefined,
    alias: family === "qemu" ? { name: deviceAlias("nic", nic.id) } : undefined,
  });
}

function queuesOf({ family }: PlanContext, nic: GuestNic, field: string): number {
  const queues = Math.max(nic.queues, nic.backend.type === "user" ? 1 : nic.backend.queues);
  if (queues === 1) return 1;
  if (family !== "qemu") throw unsupported(`${field}.queues`, "only QEMU guests have several");
  if (nic.model !== "virtio" || nic.backend.type === "user")
    throw invalid(`${field}.queues`, queues, "1, but for a virtio NIC on a TAP or a switch in user space");
  return queues;
}

function connectionOf(context: PlanContext, nic: GuestNic, field: string): Connection {
  return context.family === "qemu" ? qemuConnection(nic, field) : otherConnection(context, nic, field);
}

/** Host devices are there before the guest and stay after it: libvirt neither makes nor removes them. */
function qemuConnection({ backend, model }: GuestNic, field: string): Connection {
  switch (backend.type) {
    case "tap":
    case "macvtap":
      return { type: "ethernet", target: { dev: backend.deviceName, managed: "no" } };
    case "vhostUser":
      if (model !== "virtio") throw invalid(`${field}.model`, model, "virtio for a NIC on a switch in user space");
      // libvirt says who QEMU is.
      return {
        type: "vhostuser",
        source: { type: "unix", path: backend.socketPath, mode: backend.server === "hypervisor" ? "server" : "client" },
      };
    case "user":
      return { type: "user", ...(backend.cidr === undefined ? {} : { ip: [userAddress(backend.cidr, field)] }) };
  }
}

function userAddress(cidr: string, field: string): LibvirtXml.DomainIp {
  const [address, prefix] = cidr.split("/");
  if (address === undefined || prefix === undefined || Number(prefix) > 27 || Number(prefix) === 0)
    throw invalid(`${field}.backend.cidr`, cidr, "an IPv4 network with a prefix of 1 to 27");
  return { family: "ipv4", address, prefix: Number(prefix) };
}

/** Others than QEMU can't use a TAP that is there already: what they make themselves, libvirt puts on the bridge. */
function otherConnection({ family, host }: PlanContext, { backend }: GuestNic, field: string): Connection {
  const { type } = backend;
  if (type === "tap" && backend.bridge !== undefined) return { type: "bridge", source: { bridge: backend.bridge } };
  if (type === "tap" && family === "uml") return { type: "ethernet", target: { dev: backend.deviceName } };
  throw unsupported(
    `${field}.backend`,
    `libvirt's ${host.virtType} guests can't be connected to a ${type} ${type === "tap" ? "on no bridge" : "device"}`,
  );
}
