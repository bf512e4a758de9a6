import { describe, expect, it } from "vitest";
import { CommandError } from "../../../src/host/index.js";
import type { CommandRunner } from "../../../src/host/index.js";
import { ConntrackTable, parseFlow } from "../../../src/firewall/conntrack.js";
import { flowDeletions } from "../../../src/firewall/flow-deletions.js";
import type { SelectableFlow } from "../../../src/firewall/flow-deletions.js";
import { rangeOf } from "../../../src/firewall/policy/address-range.js";

const tcp = (source: string, sourcePort: number, destination: string, port: number): string =>
  `tcp      6 431999 ESTABLISHED src=${source} dst=${destination} sport=${sourcePort} dport=${port} ` +
  `src=${destination} dst=${source} sport=${port} dport=${sourcePort} [ASSURED] mark=0 use=1`;

function flow(line: string, version: 4 | 6 = 4): SelectableFlow {
  const parsed = parseFlow(version, line);
  if (parsed === undefined) throw new Error(line);
  return parsed;
}

const texts = (doomed: readonly string[], kept: readonly string[], addresses: readonly string[]): readonly string[] =>
  flowDeletions(
    doomed.map((line) => flow(line)),
    kept.map((line) => flow(line)),
    addresses.map((address) => rangeOf(address)),
  )
    .map((words) => words.join(" "))
    .sort();

describe("flows to be deleted", () => {
  const web = Array.from({ length: 1_000 }, (_, index) => tcp(`192.0.2.${index % 250}`, 2_000 + index, "10.0.0.5", 80));

  it("go all at once where nothing of their address is kept", () => {
    const out = tcp("10.0.0.5", 4_000, "198.51.100.1", 443);
    expect(texts([...web, out], [], ["10.0.0.5"])).toEqual([
      "-f ipv4 --orig-src 10.0.0.5",
      "-f ipv4 --reply-src 10.0.0.5",
    ]);
  });

  it("go by protocol, by port and by the other end, as what is kept lets them", () => {
    const kept = [tcp("192.0.2.1", 1, "10.0.0.5", 22)];
    const dns =
      "udp 17 29 src=192.0.2.9 dst=10.0.0.5 sport=5 dport=53 src=10.0.0.5 dst=192.0.2.9 sport=53 dport=5 use=1";
    expect(texts([...web, dns], kept, ["10.0.0.5"])).toEqual([
      "-f ipv4 --reply-src 10.0.0.5 -p 17",
      "-f ipv4 --reply-src 10.0.0.5 -p 6 --dport 80",
    ]);
    const [one, other] = [tcp("192.0.2.1", 7, "10.0.0.5", 80), tcp("192.0.2.2", 7, "10.0.0.5", 80)];
    expect(texts([one], [other], ["10.0.0.5"])).toEqual([
      "-f ipv4 --reply-src 10.0.0.5 -p 6 --dport 80 --orig-src 192.0.2.1",
    ]);
    const twin = tcp("192.0.2.1", 8, "10.0.0.5", 80);
    expect(texts([one], [twin], ["10.0.0.5"])).toEqual([
      "-f ipv4 -p 6 --orig-src 192.0.2.1 --orig-dst 10.0.0.5 --sport 7 --dport 80",
    ]);
  });

  it("are never taken together by an address whose other flows are not known", () => {
    expect(texts([tcp("10.0.0.5", 1, "10.0.0.6", 80)], [], ["10.0.0.6"])).toEqual(["-f ipv4 --reply-src 10.0.0.6"]);
    expect(texts([tcp("10.0.0.5", 1, "10.0.0.6", 80)], [], [])).toEqual([
      "-f ipv4 -p 6 --orig-src 10.0.0.5 --orig-dst 10.0.0.6 --sport 1 --dport 80",
    ]);
  });

  it("are known by who answers where an address stood before it, and by the port that was asked for", () => {
    const line =
      "tcp 6 100 ESTABLISHED src=192.0.2.1 dst=203.0.113.7 sport=9 dport=8080 src=10.0.0.5 dst=192.0.2.1 sport=80 dport=9 use=1";
    expect(flow(line)).toMatchObject({ destinationPort: 80, sentPort: 8_080 });
    expect(texts([line], [tcp("192.0.2.3", 1, "10.0.0.5", 22)], ["10.0.0.5"])).toEqual([
      "-f ipv4 --reply-src 10.0.0.5 -p 6 --dport 8080",
    ]);
  });
});

describe("the kernel's table of flows", () => {
  /** Answers like a table of so many flows to one address, beside those of others. */
  class FakeConntrack implements CommandRunner {
    readonly calls: string[] = [];
    constructor(readonly others: number) {}

    run(argv: readonly string[]): ReturnType<CommandRunner["run"]> {
      const call = argv.slice(1).join(" ");
      this.calls.push(call);
      const own = [tcp("192.0.2.1", 1, "10.0.0.5", 80), tcp("10.0.0.5", 1, "192.0.2.1", 443)];
      const others = Array.from({ length: this.others }, (_, index) => tcp("10.9.9.9", index, "10.9.9.8", 1));
      if (call === "-C") return answer(String(this.others + 2));
      if (call === "-L -f ipv4") return answer([...own, ...others].join("\n"));
      if (call === "-L -f ipv4 --orig-src 10.0.0.5") return answer(own[1] ?? "");
      if (call.startsWith("-L -f ipv4 --")) return answer(call.endsWith("10.0.0.5") ? (own[0] ?? "") : "");
      return Promise.reject(new CommandError({ argv, exitCode: 1, stderr: "" }));
    }
  }
  const answer = (stdout: string): ReturnType<CommandRunner["run"]> =>
    Promise.resolve({ stdout, stderr: "", exitCode: 0 });
  const own = [rangeOf("10.0.0.5")];

  it("is read once, and asked for single addresses only where it is large", async () => {
    const small = new FakeConntrack(10);
    const table = new ConntrackTable(small);
    for (const _again of [1, 2]) expect(await table.list(own)).toHaveLength(2);
    expect(small.calls).toEqual(["-L -f ipv4", "-L -f ipv4"]);

    const large = new FakeConntrack(5_000);
    const second = new ConntrackTable(large);
    for (const _again of [1, 2]) expect(await second.list(own)).toHaveLength(2);
    expect(large.calls[0]).toBe("-L -f ipv4");
    expect(large.calls.slice(1)).toEqual([
      "-C",
      "-L -f ipv4 --orig-src 10.0.0.5",
      "-L -f ipv4 --orig-dst 10.0.0.5",
      "-L -f ipv4 --reply-src 10.0.0.5",
    ]);
  });

  it("has nothing to say of link-local addresses, and does not mind that a flow has ended", async () => {
    const commands = new FakeConntrack(0);
    const table = new ConntrackTable(commands);
    expect(await table.list([rangeOf("fe80::1")])).toEqual([]);
    await table.delete({ doomed: await table.list(own), kept: [], addresses: own });
    expect(commands.calls.filter((call) => call.startsWith("-D")).sort()).toEqual([
      "-D -f ipv4 --orig-src 10.0.0.5",
      "-D -f ipv4 --reply-src 10.0.0.5",
    ]);
  });
});
