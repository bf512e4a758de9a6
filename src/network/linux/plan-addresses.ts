/** Plans of the host's own addresses on its devices. Pure. */
import { checkLinkName } from "../../host/index.js";
import { formatPrefix, parsePrefix } from "./addresses.js";
import { globalAddresses } from "./host-state.js";
import { stepAddress } from "./network-plan.js";
import type { NetworkPlan } from "./network-plan.js";
import type { StepAddress } from "./network-step.js";

/** Where guests look for instance metadata. */
export const METADATA_ADDRESS = "169.254.169.254";

/** An address with the prefix of its subnet, as a gateway has it. @throws InvalidArgumentError */
export function gatewayAddress(address: string, cidr: string): StepAddress {
  const { length, version } = parsePrefix(cidr, "cidr");
  const own = parsePrefix(address, "hostAddress");
  const hasBroadcast = version === 4 && length < 31;
  return {
    version,
    address: formatPrefix({ ...own, length }),
    ...(hasBroadcast ? { broadcast: "+" } : {}),
  };
}

/**
 * Gives a device these addresses beside those that it has. The first of IPv4 becomes the device's first, which is the one
 * that a DHCP server sends from; what stood before it comes after it, and routes stay.
 */
export function planGatewayAddresses(plan: NetworkPlan, device: string, wanted: readonly StepAddress[]): void {
  checkLinkName(device, "device");
  const first = wanted.find(({ version }) => version === 4);
  const found = globalAddresses(plan.link(device), 4);
  if (first !== undefined && found.length > 0 && found[0]?.address !== first.address) {
    const others = found.filter(({ address }) => address !== first.address).map(stepAddress);
    const routes = plan.state.routes.filter((route) => route.version === 4 && route.device === device);
    for (const address of [...found].reverse()) plan.deleteAddress(device, stepAddress(address));
    plan.addAddress(device, first);
    for (const address of others) plan.addAddress(device, address);
    for (const route of routes) plan.add({ kind: "replaceRoute", to: route, from: route });
  }
  for (const address of wanted) plan.addAddress(device, address);
}

/** Binds a public address to a device, for this host alone. @throws InvalidArgumentError */
export function planPublicAddress(plan: NetworkPlan, device: string, address: string): void {
  checkLinkName(device, "device");
  plan.addAddress(device, publicAddress(address));
}

export function planNoPublicAddress(plan: NetworkPlan, device: string, address: string): void {
  checkLinkName(device, "device");
  plan.deleteAddress(device, publicAddress(address));
}

/** The metadata address, which no other host sees. */
export function planMetadataAddress(plan: NetworkPlan): void {
  plan.addAddress("lo", { version: 4, address: `${METADATA_ADDRESS}/32`, scope: "link" });
}

function publicAddress(address: string): StepAddress {
  const { version, address: own } = parsePrefix(address);
  return { version, address: `${own}/${version === 4 ? 32 : 128}` };
}
