/** Checks of the parts of a VIF that reach the host. */
import { check, InvalidArgumentError } from "../core/index.js";
import { checkLinkName } from "../host/index.js";
import { MACVTAP_MODES } from "./vif.js";
import type { BandwidthLimit, BridgeVif, MacvtapVif, OvsVif, TapVif, VhostUserVif, Vif } from "./vif.js";

const checkId = check.uuid();
const checkMac = check.mac();
const checkMtu = check.integer({ min: 68, max: 65_535 });
const checkQueues = check.integer({ min: 1, max: 256 });
const checkCidr = check.cidr();
const checkVlan = check.integer({ min: 1, max: 4094 });
const checkMode = check.oneOf(MACVTAP_MODES);
const checkServer = check.oneOf(["switch", "hypervisor"]);
// What QEMU's options and ovs-vsctl's would read otherwise, and what no socket's address has room for.
const checkSocketPath = check.string({
  maxBytes: 107,
  pattern: /^(?:\/[A-Za-z0-9._@-]+)+$/,
  expected: "an absolute path of at most 107 letters, digits and . _ @ -",
});
const checkInterfaceId = check.string({ max: 64, charset: "name" });
const checkRate = check.integer({ min: 1, max: 4_000_000 });
const checkBurst = check.integer({ min: 1, max: 1_048_576 });

/** Checks what VIFs of all types have. Throws `InvalidArgumentError` naming the field below `path`. */
export function validateVif(vif: Vif, path: string): void {
  checkId(vif.id, `${path}.id`);
  checkMac(vif.macAddress, `${path}.macAddress`);
  const { mtu, subnets } = vif.network;
  if (mtu !== undefined) checkMtu(mtu, `${path}.network.mtu`);
  subnets?.forEach((subnet, i) => checkCidr(subnet.cidr, `${path}.network.subnets[${i}].cidr`));
  if (vif.queues !== undefined) checkQueues(vif.queues, `${path}.queues`);
  for (const side of ["inbound", "outbound"] as const) {
    const limit = vif.bandwidth?.[side];
    if (limit !== undefined) checkLimit(limit, `${path}.bandwidth.${side}`);
  }
}

function checkLimit({ averageKBps, peakKBps, burstKiB }: BandwidthLimit, path: string): void {
  checkRate(averageKBps, `${path}.averageKBps`);
  if (burstKiB !== undefined) checkBurst(burstKiB, `${path}.burstKiB`);
  if (peakKBps === undefined) return;
  checkRate(peakKBps, `${path}.peakKBps`);
  if (peakKBps < averageKBps) {
    throw new InvalidArgumentError({ field: `${path}.peakKBps`, value: peakKBps, expected: "at least the average" });
  }
}

/** Checks a VIF on a bridge. Throws `InvalidArgumentError` naming the field below `path`. */
export function validateBridgeVif(vif: BridgeVif, path: string): void {
  validateVif(vif, path);
  checkLinkName(vif.bridge, `${path}.bridge`);
  checkDeviceName(vif.deviceName, vif.bridge, path);
}

/** Checks a VIF on a bridge of Open vSwitch. Throws `InvalidArgumentError` naming the field below `path`. */
export function validateOvsVif(vif: OvsVif, path: string): void {
  validateVif(vif, path);
  checkLinkName(vif.bridge, `${path}.bridge`);
  checkDeviceName(vif.deviceName, vif.bridge, path);
  if (vif.interfaceId !== undefined) checkInterfaceId(vif.interfaceId, `${path}.interfaceId`);
  if (vif.vlan !== undefined) checkVlan(vif.vlan, `${path}.vlan`);
}

/** Checks a VIF on a macvtap device. Throws `InvalidArgumentError` naming the field below `path`. */
export function validateMacvtapVif(vif: MacvtapVif, path: string): void {
  validateVif(vif, path);
  checkLinkName(vif.parentInterface, `${path}.parentInterface`);
  checkDeviceName(vif.deviceName, vif.parentInterface, path);
  if (vif.mode !== undefined) checkMode(vif.mode, `${path}.mode`);
}

/** Checks a VIF on a TAP of somebody else's. Throws `InvalidArgumentError` naming the field below `path`. */
export function validateTapVif(vif: TapVif, path: string): void {
  validateVif(vif, path);
  checkLinkName(vif.deviceName, `${path}.deviceName`);
}

/** Checks a VIF on a switch in user space. Throws `InvalidArgumentError` naming the field below `path`. */
export function validateVhostUserVif(vif: VhostUserVif, path: string): void {
  validateVif(vif, path);
  checkSocketPath(vif.socketPath, `${path}.socketPath`);
  if (vif.server !== undefined) checkServer(vif.server, `${path}.server`);
  if (vif.model !== undefined && vif.model !== "virtio") {
    throw new InvalidArgumentError({
      field: `${path}.model`,
      value: vif.model,
      expected: "virtio, which alone a switch in user space can serve",
    });
  }
}

function checkDeviceName(name: string | undefined, other: string, path: string): void {
  if (name === undefined) return;
  checkLinkName(name, `${path}.deviceName`);
  if (name === other) {
    throw new InvalidArgumentError({
      field: `${path}.deviceName`,
      value: name,
      expected: "another name than that of the bridge or interface it is on",
    });
  }
}
