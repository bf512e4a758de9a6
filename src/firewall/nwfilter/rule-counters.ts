/** What the rules that libvirt has made for a port have counted, read from where libvirt put them. */
import { asError } from "../../core/index.js";
import type { CommandRunner } from "../../host/index.js";
import { FirewallError } from "../errors.js";
import type { FilterCounter, PortCounters } from "../policy/firewall-backend.js";

/** @throws FirewallError when libvirt has made no rules for the port */
export async function portCounters(
  commands: CommandRunner,
  deviceName: string,
): Promise<Pick<PortCounters, "accepted" | "dropped">> {
  const rules = (
    await Promise.all(
      ["iptables", "ip6tables"].map(async (command) => {
        try {
          const { stdout } = await commands.run([command, "--wait", "--verbose", "--list-rules", `FO-${deviceName}`]);
          return parseRules(stdout);
        } catch (error) {
          throw new FirewallError("the port's rules can't be read", { cause: asError(error), detail: deviceName });
        }
      }),
    )
  ).flat();
  const sum = (target: string): FilterCounter =>
    rules
      .filter((rule) => rule.target === target && !rule.isReply)
      .reduce((total, { packets, bytes }) => ({ packets: total.packets + packets, bytes: total.bytes + bytes }), {
        packets: 0n,
        bytes: 0n,
      });
  return { accepted: sum("ACCEPT"), dropped: sum("DROP") };
}

interface CountedRule extends FilterCounter {
  readonly target: string;
  /** Of connections that were permitted before. */
  readonly isReply: boolean;
}

/** Lines such as `-A FO-tap0 -p tcp -m conntrack --ctstate NEW -c 3 180 -j ACCEPT`. */
export function parseRules(text: string): CountedRule[] {
  return text.split("\n").flatMap((line): CountedRule[] => {
    const [packets, bytes] = /\s-c (\d+) (\d+)(?:\s|$)/.exec(line)?.slice(1) ?? [];
    const target = /\s-j ([A-Z]+)(?:\s|$)/.exec(line)?.[1];
    if (packets === undefined || bytes === undefined || target === undefined) return [];
    const isReply = /\s--ctstate \S*ESTABLISHED/.test(line);
    return [{ target, isReply, packets: BigInt(packets), bytes: BigInt(bytes) }];
  });
}
