// Random groups, random packets: a driver's kernel and the plain model must agree on every one.
import fc from "fast-check";
import { expect } from "vitest";
import type { ProviderRule, SecurityGroup, SecurityGroupRule } from "../../../src/firewall/index.js";
import { run } from "../../lab/index.js";
import type { Payload } from "../../lab/index.js";
import type { TestedFirewall } from "./contract.js";
import { FirewallLab } from "./firewall-lab.js";
import { comesThrough } from "./policy-model.js";
import type { ModelPacket, ModelPolicy } from "./policy-model.js";

const GROUPS = ["a", "b", "c"] as const;
const HOSTS = [1, 2, 3, 4] as const;
const PORTS = [22, 79, 80, 81, 443, 8000] as const;

const version = fc.constantFrom(4 as const, 6 as const);
const cidr = (ip: 4 | 6): fc.Arbitrary<string> =>
  ip === 4
    ? fc.constantFrom("0.0.0.0/0", "10.77.0.0/24", "10.77.0.101", "10.77.0.102/31", "10.77.0.96/29", "192.0.2.0/24")
    : fc.constantFrom("::/0", "fd77::/64", "fd77::101", "fd77::102/127", "2001:db8::/32");

const match = (ip: 4 | 6) =>
  fc.oneof(
    fc.constant({ ipVersion: ip }),
    fc.constantFrom(47, 50, 6, 17).map((protocol) => ({ ipVersion: ip, protocol })),
    fc.record({
      ipVersion: fc.constant(ip),
      protocol: fc.constantFrom("tcp" as const, "udp" as const),
      portFrom: fc.constantFrom(...PORTS),
    }),
    fc
      .tuple(fc.constantFrom("tcp" as const, "udp" as const), fc.constantFrom(...PORTS), fc.constantFrom(...PORTS))
      .map(([protocol, one, other]) => ({
        ipVersion: ip,
        protocol,
        portFrom: Math.min(one, other),
        portTo: Math.max(one, other),
      })),
    fc.constantFrom(
      { ipVersion: ip, protocol: "icmp" as const },
      { ipVersion: ip, protocol: "icmp" as const, icmpType: ip === 4 ? 8 : 128 },
      { ipVersion: ip, protocol: "icmp" as const, icmpType: ip === 4 ? 8 : 128, icmpCode: 0 },
      { ipVersion: ip, protocol: "icmp" as const, icmpType: ip === 4 ? 13 : 129 },
    ),
  );

const remote = (ip: 4 | 6): fc.Arbitrary<SecurityGroupRule["remote"]> =>
  fc.oneof(
    fc.constant(undefined),
    cidr(ip).map((text) => ({ cidr: text })),
    fc.constantFrom(...GROUPS).map((groupId) => ({ groupId })),
  );

const rule: fc.Arbitrary<SecurityGroupRule> = version.chain((ip) =>
  fc
    .record({ direction: fc.constantFrom("ingress" as const, "egress" as const), match: match(ip), remote: remote(ip) })
    .map(({ direction, match: matched, remote: other }) => ({
      direction,
      ...matched,
      ...(other === undefined ? {} : { remote: other }),
    })),
);

const providerRule: fc.Arbitrary<ProviderRule> = version.chain((ip) =>
  fc
    .record({ match: match(ip), cidr: cidr(ip) })
    .map(({ match: matched, cidr: source }) => ({ ...matched, cidr: source })),
);

/** How a host gets from one policy to the next. */
type Way = "one by one" | "together" | "deferred";

interface World {
  readonly way: Way;
  readonly groups: readonly SecurityGroup[];
  readonly providerRules: readonly ProviderRule[];
  /** Groups of the hosts 1 to 4; undefined: not filtered. */
  readonly ports: readonly (readonly string[] | undefined)[];
}

const world: fc.Arbitrary<World> = fc.record({
  way: fc.oneof(
    { weight: 1, arbitrary: fc.constant<Way>("one by one") },
    { weight: 3, arbitrary: fc.constantFrom<Way[]>("together", "deferred") },
  ),
  groups: fc.tuple(
    ...GROUPS.map((id) =>
      fc.record({
        id: fc.constant(id as string),
        rules: fc.array(rule, { maxLength: 6 }),
        egress: fc.constantFrom("any" as const, "rules" as const, "rules" as const),
      }),
    ),
  ),
  providerRules: fc.array(providerRule, { maxLength: 1 }),
  ports: fc.array(
    fc.oneof({ weight: 1, arbitrary: fc.constant(undefined) }, { weight: 4, arbitrary: fc.subarray([...GROUPS]) }),
    {
      minLength: 4,
      maxLength: 4,
    },
  ),
});

/** One in which much comes through, so that no run is about nothing but what is dropped. */
const OPEN_WORLD: World = {
  way: "together",
  groups: GROUPS.map((id) => ({
    id,
    rules:
      id === "a"
        ? [
            { direction: "ingress", ipVersion: 4 },
            { direction: "ingress", ipVersion: 6, remote: { groupId: "b" } },
          ]
        : [],
  })),
  providerRules: [],
  ports: [["a"], ["a", "b"], undefined, ["c"]],
};

interface Shot {
  readonly from: number;
  readonly to: number;
  readonly version: 4 | 6;
  readonly kind: "tcp" | "udp" | "echo" | number;
  readonly port: number;
}

/** Packets from a seed: a list of them would make a counterexample that nobody reads. */
function shotsOf(seed: number, count: number): Shot[] {
  const next = random(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  return Array.from({ length: count }, () => ({
    from: pick(HOSTS),
    to: pick(HOSTS),
    version: pick([4, 6] as const),
    kind: pick(["tcp", "tcp", "tcp", "udp", "udp", "echo", 47, 50] as const),
    port: next() < 0.7 ? pick(PORTS) : 1 + Math.floor(next() * 9_000),
  }));
}

/** Marsaglia's xorshift. */
function random(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

export interface AgreementSize {
  /** Policies to try, one after the other in one lab. */
  readonly worlds: number;
  /** For each. Default 400. */
  readonly packets?: number;
  readonly inOneStep?: boolean;
  /** True: a packet that a bridge shows to all its ports, not knowing where its receiver is, begins a flow when one of them takes it, though its receiver may not. */
  readonly floodsBeginFlows?: boolean;
}

export async function expectAgreement(
  make: (lab: FirewallLab) => TestedFirewall,
  { worlds, packets = 400, inOneStep = false, floodsBeginFlows = false }: AgreementSize,
): Promise<{ readonly packets: number; readonly passed: number }> {
  await using lab = await FirewallLab.create(4, { inOneStep });
  const firewall = make(lab);
  const count = { packets: 0, passed: 0 };
  let sourcePort = 1_024;
  try {
    await fc.assert(
      fc.asyncProperty(world, fc.integer(), async (given, seed) => {
        await changeTo(lab, firewall, given);
        await run(["conntrack", "-F"]);
        const policy = modelOf(lab, given);
        const answered = new Set<string>();
        for (const one of shotsOf(seed, packets)) {
          // Of a protocol without ports the second packet between two hosts is no new flow.
          const pair = `${one.version} ${one.kind} ${[one.from, one.to].sort().join(" ")}`;
          if (one.from === one.to || answered.has(pair)) continue;
          sourcePort = sourcePort >= 60_000 ? 1_024 : sourcePort + 1;
          const packet = packetOf(lab, one);
          const expected = comesThrough(policy, packet);
          const came = lab.reaches(one.from, one.to, payloadOf(one, sourcePort), one.version);
          expect(came, JSON.stringify({ ...one, packet, nth: count.packets })).toBe(expected);
          if ((came || floodsBeginFlows) && typeof one.kind === "number") answered.add(pair);
          count.packets += 1;
          count.passed += came ? 1 : 0;
        }
      }),
      { numRuns: worlds, endOnFailure: true, includeErrorInReport: true, examples: [[OPEN_WORLD, 1]] },
    );
  } finally {
    await firewall.remove();
  }
  return count;
}

async function changeTo(lab: FirewallLab, firewall: TestedFirewall, given: World): Promise<void> {
  for (const group of given.groups) lab.groups.setGroup(group);
  lab.groups.setProviderRules(given.providerRules);
  const changes = [
    ...HOSTS.map((number) => async () => {
      const groups = given.ports[number - 1];
      if (groups !== undefined) {
        await lab.filter(firewall, number, { securityGroups: groups });
        return;
      }
      await firewall.unfilterInstance(lab.instance(number));
      for (const id of lab.groups.deleteMember(`port-${number}`)) await firewall.refreshSecurityGroupMembers(id);
    }),
    ...given.groups.map(
      ({ id }) =>
        () =>
          firewall.refreshSecurityGroupRules(id),
    ),
    () => firewall.refreshProviderFirewallRules(),
  ];
  if (given.way === "together") {
    await Promise.all(changes.map((change) => change()));
    return;
  }
  if (given.way === "deferred") firewall.filterDeferApplyOn();
  for (const change of changes) await change();
  if (given.way === "deferred") await firewall.filterDeferApplyOff();
}

function modelOf(lab: FirewallLab, { groups, providerRules, ports }: World): ModelPolicy {
  const addresses = (number: number): readonly string[] => Object.values(lab.host(number).address);
  const members = new Map(
    GROUPS.map((id) => [
      id as string,
      HOSTS.flatMap((number) => (ports[number - 1]?.includes(id) === true ? addresses(number) : [])),
    ]),
  );
  return {
    groups,
    providerRules,
    members,
    groupsOf: (address) => ports[(HOSTS.find((number) => addresses(number).includes(address)) ?? 0) - 1],
  };
}

function packetOf(lab: FirewallLab, { from, to, version: ip, kind, port }: Shot): ModelPacket {
  const common = { version: ip, source: lab.host(from).address[ip], destination: lab.host(to).address[ip] };
  if (kind === "echo") return { ...common, protocol: ip === 4 ? 1 : 58, icmpType: ip === 4 ? 8 : 128, icmpCode: 0 };
  if (typeof kind === "number") return { ...common, protocol: kind };
  return { ...common, protocol: kind === "tcp" ? 6 : 17, destinationPort: port };
}

function payloadOf({ version: ip, kind, port }: Shot, sourcePort: number): Payload {
  if (typeof kind === "number") return { protocol: kind, data: Buffer.alloc(16) };
  if (kind !== "echo") return { protocol: kind, sourcePort, destinationPort: port };
  const data = Buffer.alloc(4);
  data.writeUInt16BE(sourcePort);
  return ip === 4 ? { protocol: "icmp", type: 8, data } : { protocol: "icmpv6", type: 128, data };
}
