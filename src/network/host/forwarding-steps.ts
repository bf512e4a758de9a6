/** Switches that let a host forward for its guests: those of single devices, and the host's where that is asked for. */
import type { NetworkExecutor } from "../linux/network-executor.js";
import type { NetworkStep } from "../linux/network-step.js";
import type { LinuxNetworkHostSettings } from "./linux-network-host-options.js";
import type { HostNetwork } from "./network-host.js";
import { forwardingKeys } from "./plan-host-network.js";

/** Steps for what comes in by these networks' bridges, and by the device that leads outside; none for what is on already. */
export async function forwardingSteps(
  executor: NetworkExecutor,
  settings: Pick<LinuxNetworkHostSettings, "publicInterface" | "globalForwarding" | "forwardIpv6">,
  networks: readonly HostNetwork[],
  signal: AbortSignal | undefined,
): Promise<readonly NetworkStep[]> {
  const { publicInterface, globalForwarding, forwardIpv6 } = settings;
  const routed = networks.flatMap(forwardingKeys);
  const outside = publicInterface === undefined ? [] : [`net/ipv4/conf/${publicInterface}/forwarding`];
  const values = await executor.sysctls(
    [
      ...routed,
      ...(routed.length === 0 ? [] : outside),
      ...(globalForwarding ? ["net/ipv4/ip_forward"] : []),
      ...(forwardIpv6 ? ["net/ipv6/conf/all/forwarding"] : []),
    ],
    { signal },
  );
  return [...values].flatMap(([key, from]): readonly NetworkStep[] =>
    from === "1" ? [] : [{ kind: "sysctl", key, to: "1", from }],
  );
}
