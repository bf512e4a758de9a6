// Text from specs, groups and members that wants to be more than a name or an address: it is refused, or it stays what it is.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isHyperviseError } from "../../../src/core/index.js";
import {
  IptablesFirewallDriver,
  MemorySecurityGroupSource,
  NftablesFirewallDriver,
  NwfilterFirewallDriver,
} from "../../../src/firewall/index.js";
import type { FilteredInstance, SecurityGroup } from "../../../src/firewall/index.js";
import type { CommandRunner } from "../../../src/host/index.js";

/** In all that is hostile, so that it is found again. */
const MARK = "evil";
const commands: CommandRunner = { run: () => Promise.reject(new Error("a plan runs nothing")) };

const PIECES = [
  ...[
    " ",
    "\n",
    "\r",
    "\t",
    "\0",
    ";",
    "#",
    "'",
    '"',
    "\\",
    "$",
    "`",
    "|",
    "&",
    "<",
    ">",
    "{",
    "}",
    "(",
    ")",
    "@",
    "*",
  ],
  ...["/", "!", "-", "--", ",", ":", "%", "+", "=", "\u2028", "é", "0", "10.0.0.1", "/32", "::1", "fd00::/8"],
  ...["accept", "flush ruleset", "include", "drop", "-j ACCEPT", "--modprobe=/bin/sh", "COMMIT", "</filter>", "]]>"],
];
const hostile = fc
  .tuple(
    fc.array(fc.oneof(fc.constantFrom(...PIECES), fc.string({ maxLength: 4 })), { maxLength: 5 }),
    fc.array(fc.oneof(fc.constantFrom(...PIECES), fc.string({ maxLength: 4 })), { maxLength: 5 }),
  )
  .map(([before, after]) => [...before, MARK, ...after].join(""));

interface Given {
  readonly instance: FilteredInstance;
  readonly group: SecurityGroup;
  readonly member: string;
  readonly provider: string;
}

const PLAIN: Given = {
  instance: {
    uuid: "0b7cbf0c-9a3f-4d3e-9c52-0a52c1a0f6a1",
    name: "web",
    ports: [
      {
        id: "port-1",
        macAddress: "52:54:00:00:00:01",
        deviceName: "tap0",
        bridge: "br0",
        fixedIps: [{ address: "10.0.0.5" }, { address: "fd00::5" }],
        allowedAddressPairs: [{ address: "10.1.0.0/16", macAddress: "52:54:00:00:00:02" }],
        subnets: [{ cidr: "10.0.0.0/24", gateway: "10.0.0.1", dhcpServer: "10.0.0.2" }],
        securityGroups: ["web"],
      },
    ],
  },
  group: {
    id: "web",
    egress: "rules",
    rules: [
      {
        direction: "ingress",
        ipVersion: 4,
        protocol: "tcp",
        portFrom: 80,
        portTo: 81,
        remote: { cidr: "192.0.2.0/24" },
      },
      { direction: "egress", ipVersion: 4, protocol: "udp", portFrom: 53, remote: { groupId: "peers" } },
    ],
  },
  member: "10.0.0.9",
  provider: "198.51.100.0/24",
};

/** Where a text stands in what is given. */
type Path = readonly (string | number)[];

function pathsOf(value: unknown, path: Path = []): readonly Path[] {
  if (typeof value !== "object" || value === null) return [path];
  return Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, [...path, key]));
}

function replaced(value: unknown, [key, ...rest]: Path, text: string): unknown {
  if (key === undefined) return text;
  const copy: unknown = Array.isArray(value) ? [...(value as unknown[])] : { ...(value as object) };
  const fields = copy as Record<string, unknown>;
  fields[key] = replaced(fields[key], rest, text);
  return copy;
}

const attack = fc.tuple(fc.constantFrom(...pathsOf(PLAIN)), hostile);

type Planner = { plan(instance: FilteredInstance): Promise<string> };

async function planOf(make: (groups: MemorySecurityGroupSource) => Planner, given: Given): Promise<string | undefined> {
  const groups = new MemorySecurityGroupSource();
  groups.setGroup(given.group);
  groups.setMember("peer", { addresses: [given.member] }, ["peers"]);
  try {
    return await make(groups).plan(given.instance);
  } catch (error) {
    if (!isHyperviseError(error, "INVALID_ARGUMENT")) throw error;
    return undefined;
  }
}

async function attackAll(
  make: (groups: MemorySecurityGroupSource) => Planner,
  isWhole: (text: string) => void,
  numRuns: number,
): Promise<void> {
  const plain = await planOf(make, PLAIN);
  expect(plain).toBeTypeOf("string");
  isWhole(plain as string);
  const lines = (plain as string).split("\n").length;
  const names = pathsOf(PLAIN).filter((path) => path[0] === "instance" || path[0] === "group" || path[0] === "member");
  expect(names.length).toBeGreaterThan(15);
  await fc.assert(
    fc.asyncProperty(attack, async ([path, text]) => {
      const planned = await planOf(make, replaced(PLAIN, path, text) as Given);
      if (planned === undefined) return;
      isWhole(planned);
      // A group that the port is not in any more takes its rules along; nothing brings more of them.
      expect(planned.split("\n").length).toBeLessThanOrEqual(lines);
    }),
    { numRuns },
  );
}

describe("hostile text", { timeout: 60_000 }, () => {
  it("brings nothing into nft's language", () =>
    attackAll(
      (groups) => new NftablesFirewallDriver({ groups, commands }),
      (text) => {
        for (const line of text.trimEnd().split("\n")) {
          expect(line).toMatch(/^add (counter|chain|rule|set|map|element) (bridge|inet) hypervise [a-z0-9_]+( |$)/);
          const bare = line.replace(/"[A-Za-z0-9._ -]*"/g, "");
          expect(bare).toMatch(/^[a-z0-9_ .:,/{}@;-]*$/);
          expect(bare).not.toContain(MARK);
        }
      },
      300,
    ));

  it("brings nothing into the language of iptables and ipset", () =>
    attackAll(
      (groups) => new IptablesFirewallDriver({ groups, commands, variant: "nft" }),
      (text) => {
        for (const line of text.trimEnd().split("\n")) {
          const bare = line
            .replace(/"[A-Za-z0-9._ -]*"/g, "")
            .replace(/(-[io]|--physdev-(in|out)) [A-Za-z0-9._-]+/g, "");
          expect(bare).toMatch(/^[A-Za-z0-9_ .:,/{}@;!*#-]*$/);
          expect(bare).not.toContain(MARK);
        }
      },
      200,
    ));

  it("brings nothing into libvirt's XML", () =>
    attackAll(
      (groups) => new NwfilterFirewallDriver({ groups, libvirt: "test:///default" }),
      (text) => {
        for (const line of text.trimEnd().split("\n")) {
          const bare = line.replace(/ [a-z0-9]+="[^"<>\n]*"/gi, "");
          expect(bare).toMatch(/^ *(<\/?[a-z0-9-]+ *\/?>)*[A-Za-z0-9 -]*(<\/[a-z]+>)?$/);
          expect(bare).not.toContain(MARK);
        }
      },
      80,
    ));
});
