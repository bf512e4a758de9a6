/** What a policy says of a flow. Pure. */
import type { IpVersion } from "../security-group.js";
import type { CompiledMatch, CompiledRule } from "./group-policy.js";
import type { PolicyState } from "./policy-state.js";
import type { PortPolicy } from "./port-policy.js";

/** A flow by its first packet. */
export interface Flow {
  readonly version: IpVersion;
  readonly source: bigint;
  readonly destination: bigint;
  readonly protocol: number;
  readonly destinationPort?: number;
  readonly sourcePort?: number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
}

/** ICMPv6 that every host needs to find its neighbours and routers (RFC 4861, RFC 2710, RFC 3810). */
export const ICMPV6_TO_PORT = [130, 134, 135, 136] as const;
export const ICMPV6_FROM_PORT = [131, 132, 133, 135, 136, 143] as const;

const UDP = 17;
const ICMPV6 = 58;
const DHCP_PORTS = { 4: { client: 68, server: 67 }, 6: { client: 546, server: 547 } } as const;

export function permitsIngress(state: PolicyState, port: PortPolicy, flow: Flow): boolean {
  const { groups } = port;
  if (groups === undefined) return true;
  if (state.providerRules.some((rule) => within(rule.source, flow, flow.source) && matches(rule, flow))) return false;
  const { client, server } = DHCP_PORTS[flow.version];
  const isReply = flow.protocol === UDP && flow.sourcePort === server && flow.destinationPort === client;
  const servers = port.dhcpServers[flow.version];
  if (isReply && (flow.version === 6 ? servers.length > 0 : servers.some((range) => within(range, flow, flow.source))))
    return true;
  if (flow.protocol === ICMPV6 && ICMPV6_TO_PORT.some((type) => type === flow.icmpType)) return true;
  if (port.neighbours.some((range) => within(range, flow, flow.source))) return true;
  return groups.some((id) => permitsRemote(state, state.groups.get(id)?.ingress, flow, flow.source));
}

export function permitsEgress(state: PolicyState, { groups }: PortPolicy, flow: Flow): boolean {
  if (groups === undefined) return true;
  const { client, server } = DHCP_PORTS[flow.version];
  if (flow.protocol === UDP && flow.sourcePort === client && flow.destinationPort === server) return true;
  if (flow.protocol === ICMPV6 && ICMPV6_FROM_PORT.some((type) => type === flow.icmpType)) return true;
  return groups.some((id) => {
    const group = state.groups.get(id);
    return group?.egressAny === true || permitsRemote(state, group?.egress, flow, flow.destination);
  });
}

function permitsRemote(
  state: PolicyState,
  rules: readonly CompiledRule[] | undefined,
  flow: Flow,
  other: bigint,
): boolean {
  return (rules ?? []).some((rule) => {
    if (!matches(rule, flow)) return false;
    const { remote } = rule;
    if (remote === undefined) return true;
    if ("range" in remote) return within(remote.range, flow, other);
    return (state.members.get(remote.groupId) ?? []).some((range) => within(range, flow, other));
  });
}

function matches({ version, protocol, ports, icmpType, icmpCode }: CompiledMatch, flow: Flow): boolean {
  if (version !== flow.version || (protocol !== undefined && protocol !== flow.protocol)) return false;
  const { destinationPort } = flow;
  if (
    ports !== undefined &&
    !(destinationPort !== undefined && ports.from <= destinationPort && destinationPort <= ports.to)
  )
    return false;
  if (icmpType !== undefined && icmpType !== flow.icmpType) return false;
  return icmpCode === undefined || icmpCode === flow.icmpCode;
}

function within(
  range: { readonly version: IpVersion; readonly first: bigint; readonly last: bigint },
  flow: Flow,
  address: bigint,
): boolean {
  return range.version === flow.version && range.first <= address && address <= range.last;
}
