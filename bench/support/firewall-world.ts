/** Instances and groups that firewalls are measured with, and the same rules in the shape that Nova's iptables driver gives them. */
import type { FilteredInstance, MemorySecurityGroupSource, SecurityGroupRule } from "../../src/firewall/index.js";

export const RULES = 50;
export const GROUPS = 20;

const hex = (value: number): string => value.toString(16).padStart(2, "0");

export function uuidOf(index: number): string {
  return `00000000-0000-4000-8000-${String(index).padStart(12, "0")}`;
}

export function addressOf(index: number): string {
  return `10.${1 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
}

export function macOf(index: number): string {
  return `52:54:00:${hex(index >> 16)}:${hex((index >> 8) & 255)}:${hex(index & 255)}`;
}

/** On bridge `br0`, in one of the groups. */
export function instanceOf(index: number): FilteredInstance {
  return {
    uuid: uuidOf(index),
    name: `instance-${index}`,
    ports: [
      {
        id: uuidOf(index),
        macAddress: macOf(index),
        deviceName: `tap${index}`,
        bridge: "br0",
        fixedIps: [{ address: addressOf(index) }],
        securityGroups: [`group-${index % GROUPS}`],
      },
    ],
  };
}

/** Those of a group, and some more. */
export function rulesOf(group: number, extra = 0): SecurityGroupRule[] {
  return Array.from({ length: RULES + extra }, (_, index) => ({
    direction: "ingress",
    ipVersion: 4,
    protocol: "tcp",
    portFrom: 1_000 + index,
    remote: { cidr: `172.16.${group}.${index}/32` },
  }));
}

/** All groups; the first one trusts the group `front`, too. */
export function fillGroups(source: MemorySecurityGroupSource): void {
  for (let group = 0; group < GROUPS; group++) source.setGroup({ id: `group-${group}`, rules: rulesOf(group) });
  source.setGroup({ id: "front", rules: [] });
  source.setGroup({
    id: "group-0",
    rules: [...rulesOf(0), { direction: "ingress", ipVersion: 4, remote: { groupId: "front" } }],
  });
}

/** A chain an instance with all of its rules, and a dispatch rule: what Nova's driver gives to iptables-restore. */
export function novaRules(count: number): string {
  const lines = ["*filter", ":nova-local - [0:0]", ":nova-fallback - [0:0]"];
  for (let index = 0; index < count; index++) lines.push(`:nova-inst-${index} - [0:0]`);
  lines.push("-A FORWARD -j nova-local", "-A nova-fallback -j DROP");
  for (let index = 0; index < count; index++)
    lines.push(`-A nova-local -d ${addressOf(index)}/32 -j nova-inst-${index}`);
  for (let index = 0; index < count; index++) {
    lines.push(`-A nova-inst-${index} -m state --state INVALID -j DROP`);
    lines.push(`-A nova-inst-${index} -m state --state RELATED,ESTABLISHED -j ACCEPT`);
    for (let rule = 0; rule < RULES; rule++)
      lines.push(
        `-A nova-inst-${index} -s 172.16.${index % GROUPS}.${rule}/32 -p tcp -m tcp --dport ${1_000 + rule} -j ACCEPT`,
      );
    lines.push(`-A nova-inst-${index} -j nova-fallback`);
  }
  lines.push("COMMIT", "");
  return lines.join("\n");
}
