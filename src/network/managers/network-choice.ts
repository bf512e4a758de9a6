/** Which networks an instance gets. */
import { InvalidArgumentError } from "../../core/index.js";
import { NetworkNotFoundError, NoNetworkError } from "../ipam/errors.js";
import type { Network } from "../ipam/network.js";
import type { WantedVif } from "../ipam/instance-addresses.js";
import type { Versioned } from "../ipam/records.js";
import { StoreConflictError } from "../store/store-errors.js";
import type { NetworkStoreOptions } from "../store/network-store.js";
import type { CheckedInstanceRequest, RequestedNetwork } from "./instance-request.js";
import type { ManagerContext } from "./manager-context.js";

/** The VIFs that a request amounts to; every network has a host when this resolves. */
export async function chooseNetworks(
  context: ManagerContext,
  request: CheckedInstanceRequest,
  options: NetworkStoreOptions,
): Promise<readonly WantedVif[]> {
  const defaults = request.networks === undefined ? await defaultNetworks(context, request.projectId, options) : [];
  const requested: readonly RequestedNetwork[] =
    request.networks ?? defaults.map(({ value }) => ({ networkId: value.id }));
  const wanted: WantedVif[] = [];
  for (const [at, one] of requested.entries()) {
    const found = defaults[at] ?? (await context.networks.get(one.networkId, options));
    requireUsable(context, found.value, request.projectId, `request.networks[${at}].networkId`);
    const isServed = found.value.multiHost || found.value.host !== undefined || !context.profile.managesNetworks;
    const network = isServed ? found : await context.networks.setHost(one.networkId, context.hostName, options);
    const { vpnPrivateAddress } = network.value;
    if (request.vpn && vpnPrivateAddress !== undefined)
      wanted.push({ ...one, network, fixedIp: vpnPrivateAddress, evenReserved: true });
    else wanted.push({ ...one, network });
  }
  return wanted;
}

function requireUsable(context: ManagerContext, network: Network, projectId: string, field: string): void {
  const isForeign = network.projectId !== undefined && network.projectId !== projectId;
  // What belongs to others is not told from what is not there.
  if (isForeign || (context.profile.byProject && network.projectId === undefined))
    throw new NetworkNotFoundError(network.id);
  if (network.bridge === undefined)
    throw new InvalidArgumentError({ field, value: network.id, expected: "a network with a bridge" });
}

async function defaultNetworks(
  context: ManagerContext,
  projectId: string,
  options: NetworkStoreOptions,
): Promise<readonly Versioned<Network>[]> {
  const found = context.profile.byProject
    ? await projectNetworks(context, projectId, options)
    : (await context.networks.all(options)).filter(
        ({ value }) => value.vlan === undefined && (value.projectId ?? projectId) === projectId,
      );
  if (found.length === 0) throw new NoNetworkError("there is no network for the instance");
  return found;
}

/** Those of the project; one that nobody has becomes its first. */
async function projectNetworks(
  context: ManagerContext,
  projectId: string,
  options: NetworkStoreOptions,
): Promise<readonly Versioned<Network>[]> {
  const own = await context.networks.ofProject(projectId, options);
  if (own.length > 0) return own;
  try {
    await context.networks.addFirstToProject(projectId, options);
  } catch (error) {
    // Another call for the project was faster.
    if (!(error instanceof StoreConflictError && error.reason === "limit")) throw error;
  }
  return context.networks.ofProject(projectId, options);
}
