import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IptablesManager, IptablesRule } from "../../../src/firewall/index.js";
import { targetOf } from "../../../src/firewall/iptables/iptables-rule.js";
import { parseListed, parseSaved } from "../../../src/firewall/iptables/saved-table.js";
import { prefixesOf, setEntriesOf } from "../../../src/firewall/policy/prefixes.js";
import { groupMatch } from "../../../src/firewall/iptables/rule-text.js";
import { rangeOf } from "../../../src/firewall/policy/address-range.js";
import { anyCodePoint } from "../any-code-point.js";

const table = (owner = "prog") => new IptablesManager({ owner }).ipv4.filter;

describe("IptablesTable", () => {
  it("cuts its owner's name to 16 characters, and refuses chains that are too long with it", () => {
    const manager = new IptablesManager({ owner: "abcdefghijklmnopqrstuv" });
    expect(manager.owner).toBe("abcdefghijklmnop");
    manager.ipv4.filter.addChain("12345678901");
    expect(() => manager.ipv4.filter.addChain("123456789012")).toThrow(/11 characters/);
    expect(() => new IptablesManager({ owner: "a-b" })).toThrow(/owner/);
    expect(() => new IptablesManager({ owner: "nova" })).toThrow(/shared/);
  });

  it("keeps the order of rules, top ones first, and each once", () => {
    const filter = table();
    filter.addChain("a");
    filter.addRule("a", "-j ACCEPT");
    filter.addRule("a", "-j LOG", { top: true });
    filter.addRule("a", "-j DROP");
    filter.addRule("a", "-j RETURN", { top: true });
    filter.addRule("a", "-j ACCEPT");
    const texts = () => filter.rules.filter(({ chain }) => chain === "prog-a").map(({ text }) => text);
    expect(texts()).toEqual(["-j LOG", "-j RETURN", "-j ACCEPT", "-j DROP"]);
    filter.removeRule("a", "-j LOG");
    expect(texts()).toHaveLength(4);
    filter.removeRule("a", "-j LOG", { top: true });
    filter.emptyChain("b");
    expect(texts()).toEqual(["-j RETURN", "-j ACCEPT", "-j DROP"]);
    filter.emptyChain("a");
    expect([texts(), filter.hasChain("a"), filter.hasChain("b")]).toEqual([[], true, false]);
  });

  it("removes by what a whole line says from its beginning on", () => {
    const filter = table();
    filter.addChain("a");
    for (const address of ["10.10.10.1", "10.10.10.10", "10.10.10.1/32"])
      filter.addRule("a", `-d ${address} -j ACCEPT`);
    expect(filter.removeRulesRegex(".*\\s+10\\.10\\.10\\.1(/32|\\s+|$)")).toBe(2);
    expect(filter.removeRulesRegex(/10\.10/g)).toBe(0);
    expect(filter.removeRulesRegex(/-A prog-a .*10\.10\.10\.10/)).toBe(1);
  });

  it("refuses what is not there, and names that are not its own to give", () => {
    const filter = table();
    expect(() => filter.addRule("none", "-j ACCEPT")).toThrow(/chain/);
    expect(() => filter.addChain("prog-x", { wrap: false })).toThrow(/owner/);
    for (const name of ["", "a b", "a\nb", "-x", "a;b", "x".repeat(40)]) expect(() => filter.addChain(name)).toThrow();
  });

  it("takes no text that is more than a rule", () => {
    const filter = table();
    filter.addChain("a");
    const bad = [
      ...["", "-j ACCEPT\nCOMMIT", "-j ACCEPT\r-F", "-j A\0", "-j ACCEPT -t nat", "-M /bin/sh", "--modprobe=/bin/sh"],
      ...["--mod /bin/sh", '"--modprobe=/bin/sh"', '--mod"probe=/bin/sh"', '"-M" x', '-m comment --comment "a', "-F"],
      ...["-j ACCEPT -A INPUT", "--append INPUT", "-6 -j DROP", "-nM x", "-j ä", "-j a\\", 'x"-M"', "--tab nat"],
      ...["x".repeat(5_000), "-c 1 2 -j ACCEPT", "-D INPUT 1", "\t-j ACCEPT"],
    ];
    for (const text of bad)
      expect(() => filter.addRule("a", text), text).toThrow(/INVALID|invalid|must|expected|rule/i);
    const good = [
      '-m comment --comment "of port 7, eth0" -j ACCEPT',
      "-p tcp -m tcp ! --tcp-flags SYN,ACK SYN --to-ports 8 -j REDIRECT",
      "! -s 10.0.0.0/8 -i br+ -m state --state NEW -m limit --limit 3/min -j LOG --log-prefix x",
      "-j DNAT --to 10.0.0.1:80",
    ];
    for (const text of good) filter.addRule("a", text);
    expect(filter.rules.filter(({ chain }) => chain === "prog-a")).toHaveLength(good.length);
  });

  it("never writes more than one command a line, whatever it is given", () => {
    const filter = table();
    filter.addChain("a");
    const text = fc.oneof(fc.string({ unit: anyCodePoint, maxLength: 40 }), fc.string({ maxLength: 40 }));
    fc.assert(
      fc.property(text, fc.constantFrom("", "-j ACCEPT ", "-m comment --comment ", '"-'), (hostile, before) => {
        filter.emptyChain("a");
        try {
          filter.addRule("a", `${before}${hostile}`);
        } catch {
          return true;
        }
        const line = filter.rules.at(-1)?.toString() ?? "";
        return /^-A prog-a [ -~]+$/.test(line) && !/ "?-(?:-?M|-?mod|t |-tab)/.test(line);
      }),
      { numRuns: 2_000 },
    );
  });

  it("removes a chain with just the rules that go to it", () => {
    const name = fc.stringMatching(/^[a-c.1-]{1,5}$/).filter((text) => !text.startsWith("-"));
    fc.assert(
      fc.property(fc.uniqueArray(name, { minLength: 2, maxLength: 6 }), (chains) => {
        const filter = table();
        for (const chain of chains) filter.addChain(chain);
        for (const chain of chains) {
          filter.addRule("local", `-j $${chain}`);
          filter.addRule("local", `-s 10.0.0.1 -g $${chain} -m comment --comment x`);
        }
        const [gone = ""] = chains;
        filter.removeChain(gone);
        const targets = filter.rules.filter(({ chain }) => chain === "prog-local").map(({ target }) => target);
        const expected = chains.slice(1).flatMap((chain) => [`prog-${chain}`, `prog-${chain}`]);
        expect(targets).toEqual(expected);
      }),
    );
  });

  it("compares rules by chain, text, wrapping and top", () => {
    const rule = new IptablesRule("a", "-j DROP");
    expect(rule.equals(new IptablesRule("a", "-j DROP"))).toBe(true);
    expect(rule.equals(new IptablesRule("a", "-j DROP", { top: true }))).toBe(false);
    expect(rule.equals(new IptablesRule("a", "-j DROP", { wrap: false }))).toBe(false);
    expect(targetOf('-m comment --comment "-j x" -j y --to 1')).toBe("y");
    expect(targetOf("-m comment --comment z")).toBeUndefined();
  });
});

describe("what iptables prints", () => {
  it("is read with its counters, in both ways of telling it", () => {
    const saved = parseSaved(
      '*filter\n:FORWARD ACCEPT [1:2]\n:a - [0:0]\n[5:60] -A a -m comment --comment "x -c 1 2" -j b\n[0:0] -A a\nCOMMIT\n',
    );
    expect(saved.get("a")).toEqual([
      { text: '-m comment --comment "x -c 1 2" -j b', packets: 5n, bytes: 60n },
      { text: "", packets: 0n, bytes: 0n },
    ]);
    expect(saved.get("FORWARD")).toEqual([]);
    const listed = parseListed("-P FORWARD ACCEPT -c 0 0\n-N a\n-A a -s 10.0.0.1/32 -c 5 60 -j b\n-A a -c 1 2 -j b\n");
    expect(listed.get("a")?.map(({ text }) => text)).toEqual(["-s 10.0.0.1/32 -j b", "-j b"]);
    expect(listed.get("FORWARD")).toEqual([]);
  });
});

describe("group rules in iptables' words", () => {
  const match = (rule: object) => groupMatch({ version: 4, ...rule }, "ingress", "o");

  it("keep ICMPv6 types and codes, and say types that iptables has another meaning for", () => {
    expect(match({ version: 6, protocol: 58, icmpType: 128, icmpCode: 0 })).toBe(
      "-p ipv6-icmp -m icmp6 --icmpv6-type 128/0",
    );
    expect(match({ protocol: 1, icmpType: 8 })).toBe("-p icmp -m icmp --icmp-type 8");
    expect(match({ protocol: 1, icmpType: 255 })).toContain("u32");
    expect(match({ protocol: 0 })).toContain("u32");
    expect(match({ version: 6, protocol: 0 })).toBeUndefined();
    expect(match({ protocol: 47 })).toBe("-p 47");
    expect(match({ protocol: 136, ports: { from: 1, to: 2 } })).toBe("-p udplite -m multiport --dports 1:2");
    expect(match({ remote: { range: rangeOf("0.0.0.0/0") } })).toBe("");
  });

  it("cover ranges by prefixes, no more and no less", () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 4_095n), fc.bigInt(0n, 4_095n), (one, two) => {
        const [first, last] = one < two ? [one, two] : [two, one];
        const ranges = prefixesOf({ version: 4, first, last }).map((prefix) => rangeOf(prefix));
        expect(ranges[0]?.first).toBe(first);
        expect(ranges.at(-1)?.last).toBe(last);
        for (const [index, range] of ranges.entries())
          if (index > 0) expect(range.first).toBe((ranges[index - 1]?.last ?? 0n) + 1n);
      }),
    );
    expect(setEntriesOf(rangeOf("::/0"))).toEqual(["::/1", "8000::/1"]);
    expect(setEntriesOf(rangeOf("0.0.0.0/0"))).toEqual(["0.0.0.0/1", "128.0.0.0/1"]);
  });
});
