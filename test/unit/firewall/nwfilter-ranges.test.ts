import { expect, it } from "vitest";
import { rangeOf } from "../../../src/firewall/policy/address-range.js";
import { compileGroup } from "../../../src/firewall/policy/group-policy.js";
import { permissions } from "../../../src/firewall/nwfilter/match-rules.js";

it("names no last address of IPv6, which libvirt takes for one of IPv4", () => {
  const remote = { groupId: "peers" };
  const rules = (["ingress", "egress"] as const).flatMap((direction) =>
    ([4, 6] as const).map((ipVersion) => ({ direction, ipVersion, protocol: "tcp" as const, remote })),
  );
  const group = compileGroup("g", { id: "g", rules, egress: "rules" });
  const peers = [
    { ...rangeOf("fd77::101"), last: rangeOf("fd77::102").last },
    { ...rangeOf("10.0.0.1"), last: rangeOf("10.0.0.2").last },
  ];
  const told = permissions(group, () => peers).map((rule) => JSON.stringify(rule));
  expect(told.filter((rule) => rule.includes("tcp-ipv6"))).toHaveLength(4);
  expect(told.filter((rule) => rule.includes("ipto") && rule.includes("fd77"))).toEqual([]);
  expect(told.filter((rule) => rule.includes("10.0.0.2"))).toHaveLength(2);
});
