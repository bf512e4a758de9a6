/** Where the kernel tracks flows for us. */

/**
 * Where flows are tracked. `bridge`: in the bridge itself, where the kernel can (`nf_conntrack_bridge`). `inet`: where routed packets are, to which each bridge of a filtered port hands
 * its own (`nf_call_iptables` of that bridge).
 */
export type TrackingMode = "bridge" | "inet";
