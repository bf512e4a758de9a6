/** Checks of the parts of a VIF that reach the host. */
import { check, InvalidArgumentError } from "../core/index.js";
import { checkLinkName } from "../host/index.js";
import type { BridgeVif, Vif } from "./vif.js";

const checkId = check.uuid();
const checkMac = check.mac();
const checkMtu = check.integer({ min: 68, max: 65_535 });
const checkQueues = check.integer({ min: 1, max: 256 });
const checkCidr = check.cidr();

/** Checks what VIFs of all types have. Throws `InvalidArgumentError` naming the field below `path`. */
export function validateVif(vif: Vif, path: string): void {
  checkId(vif.id, `${path}.id`);
  checkMac(vif.macAddress, `${path}.macAddress`);
  const { mtu, subnets } = vif.network;
  if (mtu !== undefined) checkMtu(mtu, `${path}.network.mtu`);
  subnets?.forEach((subnet, i) => checkCidr(subnet.cidr, `${path}.network.subnets[${i}].cidr`));
  if (vif.queues !== undefined) checkQueues(vif.queues, `${path}.queues`);
}

/** Checks a VIF on a bridge. Throws `InvalidArgumentError` naming the field below `path`. */
export function validateBridgeVif(vif: BridgeVif, path: string): void {
  validateVif(vif, path);
  checkLinkName(vif.bridge, `${path}.bridge`);
  if (vif.deviceName === undefined) return;
  checkLinkName(vif.deviceName, `${path}.deviceName`);
  if (vif.deviceName === vif.bridge) {
    throw new InvalidArgumentError({
      field: `${path}.deviceName`,
      value: vif.deviceName,
      expected: "another name than the bridge's",
    });
  }
}
