/** Checks of ports. */
import { check } from "../core/index.js";
import type { Check } from "../core/index.js";
import { MACVTAP_MODES, NIC_MODELS } from "../network/index.js";
import type { Vif } from "../network/index.js";
import { tagCheck } from "./validate-volume.js";

const id = check.string({ max: 255, charset: "name" });
const interfaceName = check.string({ max: 15, charset: "name" });

const [address, cidr] = [check.ipAddress(), check.cidr()];
const addressOrCidr: Check<string> = (value, path) =>
  typeof value === "string" && value.includes("/") ? cidr(value, path) : address(value, path);

const subnet = check.object({
  cidr: check.cidr(),
  gateway: check.optional(check.ipAddress()),
  dnsServers: check.optional(check.array(check.ipAddress(), { max: 16 })),
  dhcpServer: check.optional(check.ipAddress()),
  hostRoutes: check.optional(
    check.array(check.object({ destination: check.cidr(), nextHop: check.ipAddress() }), { max: 64 }),
  ),
});

const network = check.object({
  id,
  label: check.optional(check.string({ max: 255 })),
  mtu: check.optional(check.integer({ min: 68, max: 65_535 })),
  subnets: check.optional(check.array(subnet, { max: 32 })),
});

const bandwidthLimit = check.object({
  averageKBps: check.integer({ min: 1, max: 4_000_000 }),
  peakKBps: check.optional(check.integer({ min: 1, max: 4_000_000 })),
  burstKiB: check.optional(check.integer({ min: 1, max: 1_048_576 })),
});

const common = {
  id: check.uuid(),
  macAddress: check.mac(),
  network,
  model: check.optional(check.oneOf(NIC_MODELS)),
  fixedIps: check.optional(
    check.array(check.object({ address: check.ipAddress(), subnetId: check.optional(id) }), { max: 64 }),
  ),
  allowedAddressPairs: check.optional(
    check.array(check.object({ address: addressOrCidr, macAddress: check.optional(check.mac()) }), { max: 64 }),
  ),
  securityGroups: check.optional(check.array(id, { max: 64 })),
  portSecurityEnabled: check.optional(check.boolean()),
  tag: check.optional(tagCheck),
  queues: check.optional(check.integer({ min: 1, max: 256 })),
  bootIndex: check.optional(check.integer({ min: 0, max: 255 })),
  bandwidth: check.optional(
    check.object({ inbound: check.optional(bandwidthLimit), outbound: check.optional(bandwidthLimit) }),
  ),
};

/** A port as an embedder gives it. */
export const vifCheck: Check<Vif> = check.variants("type", {
  bridge: check.object({
    type: check.oneOf(["bridge"]),
    ...common,
    bridge: interfaceName,
    deviceName: check.optional(interfaceName),
  }),
  ovs: check.object({
    type: check.oneOf(["ovs"]),
    ...common,
    bridge: interfaceName,
    deviceName: check.optional(interfaceName),
    interfaceId: check.optional(check.string({ max: 64, charset: "name" })),
    vlan: check.optional(check.integer({ min: 1, max: 4094 })),
  }),
  macvtap: check.object({
    type: check.oneOf(["macvtap"]),
    ...common,
    parentInterface: interfaceName,
    mode: check.optional(check.oneOf(MACVTAP_MODES)),
    deviceName: check.optional(interfaceName),
  }),
  tap: check.object({ type: check.oneOf(["tap"]), ...common, deviceName: interfaceName }),
  vhostUser: check.object({
    type: check.oneOf(["vhostUser"]),
    ...common,
    socketPath: check.absolutePath(),
    server: check.optional(check.oneOf(["switch", "hypervisor"])),
  }),
  user: check.object({ type: check.oneOf(["user"]), ...common }),
});

/** The id of a port, alone or within a whole one. */
export function checkVifId(value: unknown, path: string): string {
  const holder = check.guarded(
    (v): v is { readonly id?: unknown } => typeof v === "object" && v !== null,
    "an object with the port's id",
  );
  return check.uuid()(holder(value, path).id, `${path}.id`);
}
