import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IptablesManager } from "../../../src/firewall/index.js";
import { canonical, FakeIptables } from "./fake-iptables.js";

const make = (kernel = new FakeIptables(), options = {}) => ({
  kernel,
  manager: new IptablesManager({ commands: kernel, owner: "prog", ...options }),
});
const other = { wrap: false } as const;

describe("IptablesManager", () => {
  it("begins with Nova's chains, ours before those of others and the source NAT last", async () => {
    const { kernel, manager } = make();
    kernel.run4("-A FORWARD -j DROP", "-A INPUT -j LOG");
    kernel.table(4, "nat").get("POSTROUTING")?.push({ text: "-j MASQUERADE", packets: 5 });
    manager.ipv4.filter.addRule("local", "-j $INPUT");
    manager.ipv4.nat.addRule("snat", "-s 10.0.0.0/8 -j ACCEPT");
    manager.ipv6.filter.addChain("x");
    manager.ipv4.mangle.addRule("POSTROUTING", "-j ACCEPT");
    await manager.apply();
    expect(kernel.rules(4, "filter", "FORWARD")).toEqual(["-j nova-filter-top", "-j prog-FORWARD", "-j DROP"]);
    expect(kernel.rules(4, "filter", "OUTPUT")).toEqual(["-j nova-filter-top", "-j prog-OUTPUT"]);
    expect(kernel.rules(4, "filter", "INPUT")).toEqual(["-j prog-INPUT", "-j LOG"]);
    expect(kernel.rules(4, "filter", "nova-filter-top")).toEqual(["-j prog-local"]);
    expect(kernel.rules(6, "filter", "FORWARD")).toEqual(["-j nova-filter-top", "-j prog-FORWARD"]);
    expect(kernel.rules(4, "nat", "POSTROUTING")).toEqual([
      "-j prog-POSTROUTING",
      "-j MASQUERADE",
      "-j nova-postrouting-bottom",
    ]);
    expect(kernel.rules(4, "nat", "nova-postrouting-bottom")).toEqual(["-j prog-snat"]);
    expect(kernel.rules(4, "nat", "prog-snat")).toEqual(["-j prog-float-snat", "-s 10.0.0.0/8 -j ACCEPT"]);
    expect(kernel.rules(4, "mangle", "POSTROUTING")).toEqual(["-j prog-POSTROUTING"]);
  });

  it("leaves a table alone that was never used", async () => {
    const { kernel, manager } = make();
    await manager.apply();
    expect(kernel.scripts).toEqual([]);
    manager.ipv4.filter.addChain("a");
    await manager.apply();
    expect(kernel.scripts.every((script) => script.startsWith("*filter"))).toBe(true);
  });

  it("sends only what has changed, and nothing where nothing has", async () => {
    const { kernel, manager } = make();
    const { filter } = manager.ipv4;
    filter.addChain("a");
    filter.addRule("a", "-s 10.0.0.1 -j ACCEPT");
    await manager.apply();
    kernel.scripts.length = 0;
    await manager.apply();
    filter.addRule("a", "-s 10.0.0.1 -j ACCEPT");
    filter.removeRule("a", "-s 10.9.9.9 -j ACCEPT");
    filter.removeChain("nothing");
    await manager.apply();
    expect(kernel.scripts).toEqual([]);
    filter.addRule("a", "-s 10.0.0.2 -j ACCEPT");
    await manager.apply();
    expect(kernel.scripts.at(-1)).toBe(
      "*filter\n-C prog-a -s 10.0.0.1 -j ACCEPT\n-A prog-a -s 10.0.0.2 -j ACCEPT\nCOMMIT\n",
    );
  });

  it("waits for the lock, and never flushes a table", async () => {
    const { kernel, manager } = make(undefined, { lockWaitSeconds: 7, variant: "legacy" });
    manager.ipv4.filter.addChain("a");
    await manager.apply();
    const restores = kernel.argv.filter(([program]) => program === "iptables-legacy-restore");
    expect(restores.length).toBeGreaterThan(0);
    for (const argv of restores) expect(argv.slice(1)).toEqual(["-w", "7", "--noflush", "--counters"]);
  });

  // D1 and D4 of what others did: found by a piece of a name.
  it("takes out the jumps to a chain and not those to one whose name begins alike", async () => {
    const { kernel, manager } = make();
    const { filter } = manager.ipv4;
    for (const name of ["inst-1", "inst-10"]) {
      filter.addChain(name);
      filter.addRule("local", `-d 10.0.0.${name.slice(5)} -j $${name}`);
    }
    kernel.run4("-N mine", '-A mine -m comment --comment "prog-inst-1 is theirs" -j ACCEPT', "-N other-prog-inst-1");
    await manager.apply();
    filter.removeChain("inst-1");
    await manager.apply();
    expect(kernel.rules(4, "filter", "prog-local")).toEqual(["-d 10.0.0.10/32 -j prog-inst-10"]);
    expect(kernel.rules(4, "filter", "prog-inst-1")).toBeUndefined();
    expect(kernel.rules(4, "filter", "mine")).toHaveLength(1);
    expect(kernel.rules(4, "filter", "other-prog-inst-1")).toEqual([]);
  });

  // D2
  it("expands `$` alike when it adds and when it removes, at the beginning of a word only", () => {
    const { filter } = make().manager.ipv4;
    filter.addChain("a");
    filter.addRule("a", "-m comment --comment x$y -j $local");
    expect(filter.rules.at(-1)?.text).toBe("-m comment --comment x$y -j prog-local");
    filter.removeRule("a", "-m comment --comment x$y -j $local");
    expect(filter.rules.filter(({ chain }) => chain === "prog-a")).toEqual([]);
  });

  // D3
  it("keeps what another program adds between a look and a change", async () => {
    const { kernel, manager } = make();
    manager.ipv4.filter.addChain("a");
    let number = 0;
    kernel.meanwhile = () => kernel.run4(`-A FORWARD -s 10.1.0.${number++} -j ACCEPT`);
    await manager.apply();
    manager.ipv4.filter.addRule("a", "-j DROP");
    await manager.apply();
    const theirs = kernel.rules(4, "filter", "FORWARD")?.filter((text) => text.startsWith("-s 10.1."));
    expect(theirs).toHaveLength(number);
  });

  // D5
  it("removes a rule from another's chain that the kernel tells in other words", async () => {
    const { kernel, manager } = make();
    kernel.run4("-A FORWARD -j LOG");
    const text = "-j ACCEPT -p tcp -m multiport --dports 1:2 -s 10.0.0.1";
    manager.ipv4.filter.addRule("FORWARD", text, other);
    await manager.apply();
    expect(kernel.rules(4, "filter", "FORWARD")).toContain(canonical(text));
    await make(kernel).manager.apply();
    const again = make(kernel).manager;
    again.ipv4.filter.addRule("FORWARD", text, other);
    await again.apply();
    expect(kernel.rules(4, "filter", "FORWARD")?.filter((rule) => rule === canonical(text))).toHaveLength(1);
    again.ipv4.filter.removeRule("FORWARD", text, other);
    await again.apply();
    expect(kernel.rules(4, "filter", "FORWARD")).not.toContain(canonical(text));
    expect(kernel.rules(4, "filter", "FORWARD")).toContain("-j LOG");
  });

  // D16
  it("takes out the rules of a chain that are no longer among those wanted", async () => {
    const { kernel, manager } = make();
    const { filter } = manager.ipv4;
    filter.replaceRules("a", ["-s 10.0.0.1/32 -j ACCEPT", "-s 10.0.0.2/32 -j ACCEPT", "-j $local"]);
    await manager.apply();
    filter.replaceRules("a", ["-s 10.0.0.2/32 -j ACCEPT", "-s 10.0.0.3/32 -j ACCEPT", "-j $local"]);
    await manager.apply();
    expect(kernel.rules(4, "filter", "prog-a")).toEqual([
      "-s 10.0.0.2/32 -j ACCEPT",
      "-s 10.0.0.3/32 -j ACCEPT",
      "-j prog-local",
    ]);
  });

  it("keeps counters over changes and over a new process", async () => {
    const { kernel, manager } = make();
    const texts = ["-s 10.0.0.1/32 -j ACCEPT", "-s 10.0.0.2/32 -j ACCEPT"];
    manager.ipv4.filter.replaceRules("a", texts);
    await manager.apply();
    const rule = () =>
      kernel
        .table(4, "filter")
        .get("prog-a")
        ?.find(({ text }) => text === texts[1]);
    const jump = () =>
      kernel
        .table(4, "filter")
        .get("FORWARD")
        ?.find(({ text }) => text === "-j nova-filter-top");
    for (const one of [rule(), jump()]) if (one !== undefined) one.packets = 42;
    kernel.run4("-I FORWARD 1 -j LOG");
    manager.ipv4.filter.replaceRules("a", ["-j DROP", texts[1] ?? ""]);
    await manager.apply();
    expect([rule()?.packets, jump()?.packets]).toEqual([42, 42]);
    expect(kernel.rules(4, "filter", "FORWARD")?.[0]).toBe("-j nova-filter-top");
    const next = make(kernel).manager;
    next.ipv4.filter.replaceRules("a", [texts[1] ?? "", "-j LOG"]);
    await next.apply();
    expect([rule()?.packets, jump()?.packets]).toEqual([42, 42]);
    expect(kernel.rules(4, "filter", "prog-a")).toEqual([texts[1], "-j LOG"]);
  });

  it("takes out what an earlier process left, and all that is its own at the end, but nothing that others use", async () => {
    const { kernel, manager } = make();
    const rest = JSON.stringify([...kernel.table(4, "filter")]);
    manager.ipv4.filter.replaceRules("old", ["-j ACCEPT"]);
    manager.ipv4.filter.addRule("local", "-j $old");
    manager.ipv4.nat.addChain("x");
    await manager.apply();
    const next = make(kernel).manager;
    await next.apply();
    expect(JSON.stringify([...kernel.table(4, "nat")])).not.toContain("prog-");
    const third = make(kernel).manager;
    third.ipv4.filter.addChain("new");
    await third.apply();
    expect(kernel.rules(4, "filter", "prog-old")).toBeUndefined();
    const neighbour = make(kernel, { owner: "theirs" }).manager;
    neighbour.ipv4.filter.addChain("new");
    await neighbour.apply();
    await third.remove();
    expect(kernel.rules(4, "filter", "FORWARD")).toEqual(["-j nova-filter-top", "-j theirs-FORWARD"]);
    expect(kernel.rules(4, "filter", "nova-filter-top")).toEqual(["-j theirs-local"]);
    await neighbour.remove();
    expect(JSON.stringify([...kernel.table(4, "filter")])).toBe(rest);
  });

  it("repairs what somebody has flushed, with the next change or when told to", async () => {
    const { kernel, manager } = make();
    manager.ipv4.filter.replaceRules("a", ["-j ACCEPT"]);
    await manager.apply();
    const whole = JSON.stringify([...kernel.table(4, "filter")].map(([chain, rules]) => [chain, rules.map(String)]));
    for (const repair of [
      () => manager.reconcile(),
      () => {
        manager.ipv4.filter.addChain(`b${Math.random()}`.slice(0, 8));
        return manager.apply();
      },
    ]) {
      kernel.tables.clear();
      await repair();
      expect(kernel.rules(4, "filter", "FORWARD")?.[0]).toBe("-j nova-filter-top");
      expect(kernel.rules(4, "filter", "prog-a")).toEqual(["-j ACCEPT"]);
    }
    expect(whole).toContain("prog-a");
  });

  it("leaves the first family as it was when the second refuses", async () => {
    const { kernel, manager } = make();
    manager.ipv4.filter.addChain("a");
    manager.ipv6.filter.addChain("a");
    await manager.apply();
    const before = JSON.stringify([...kernel.tables].map(([name, table]) => [name, [...table]]));
    kernel.refuses = ([program = ""], input) => program === "ip6tables-restore" && input.includes("DROP");
    for (const filter of [manager.ipv4.filter, manager.ipv6.filter]) {
      filter.addRule("a", "-j DROP");
      filter.addChain("b");
    }
    await expect(manager.apply()).rejects.toThrow(expect.objectContaining({ code: "FIREWALL_FAILED" }) as Error);
    expect(JSON.stringify([...kernel.tables].map(([name, table]) => [name, [...table]]))).toBe(before);
    expect(manager.ipv4.filter.dirty).toBe(true);
    kernel.refuses = () => false;
    await manager.apply();
    expect(kernel.rules(4, "filter", "prog-a")).toEqual(["-j DROP"]);
    manager.ipv4.filter.addRule("a", "-j LOG");
    manager.revert();
    expect(manager.ipv4.filter.rules.some(({ text }) => text === "-j LOG")).toBe(false);
  });

  it("restores an earlier process's chains when it can't put its own in force", async () => {
    const { kernel, manager } = make();
    manager.ipv4.filter.replaceRules("old", ["-s 10.0.0.1 -j ACCEPT"]);
    manager.ipv4.filter.addRule("FORWARD", "-s 10.0.0.9 -j ACCEPT", other);
    await manager.apply();
    const state = () =>
      [...kernel.table(4, "filter")].map(([chain, rules]) => [chain, rules.map(({ text }) => text)]).sort();
    const before = state();
    const next = make(kernel).manager;
    kernel.refuses = ([program = ""], input) => program === "ip6tables-restore" && input.includes("prog-");
    next.ipv4.filter.replaceRules("new", ["-j DROP"]);
    next.ipv6.filter.addChain("new");
    await expect(next.apply()).rejects.toThrow();
    expect(state()).toEqual(before);
  });

  it("collects changes while it is told to", async () => {
    const { kernel, manager } = make();
    manager.deferApplyOn();
    manager.deferApplyOn();
    manager.ipv4.filter.addChain("a");
    await manager.apply();
    await manager.deferApplyOff();
    expect(kernel.scripts).toEqual([]);
    await manager.deferApplyOff();
    await manager.deferApplyOff();
    expect(kernel.rules(4, "filter", "prog-a")).toEqual([]);
  });

  it("comes to what is wanted, and leaves all else, whatever is done in whatever order", async () => {
    const names = fc.constantFrom("a", "b", "c", "a1");
    const texts = fc.constantFrom("-j ACCEPT", "-s 10.0.0.1 -j DROP", "-p tcp -j $a", "-j $b -s 10.0.0.2", "-j $a1");
    const step = fc.oneof(
      fc.record({ op: fc.constant("chain" as const), name: names }),
      fc.record({ op: fc.constant("drop" as const), name: names }),
      fc.record({
        op: fc.constantFrom("add" as const, "remove" as const),
        name: names,
        text: texts,
        top: fc.boolean(),
      }),
      fc.record({ op: fc.constantFrom("foreign" as const), text: texts }),
      fc.record({ op: fc.constantFrom("apply" as const, "restart" as const, "theirs" as const, "flush" as const) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const kernel = new FakeIptables();
        let { manager } = make(kernel);
        let theirs = 0;
        for (const one of steps) {
          const { filter } = manager.ipv4;
          if (one.op === "chain") filter.addChain(one.name);
          else if (one.op === "drop") filter.removeChain(one.name);
          else if (one.op === "foreign") {
            if (!one.text.includes("$")) filter.addRule("FORWARD", one.text, other);
          } else if (one.op === "add" || one.op === "remove") {
            const { name, text, top } = one;
            const target = /\$(\S+)/.exec(text)?.[1];
            const isThere = filter.hasChain(name) && (target === undefined || filter.hasChain(target));
            if (isThere && one.op === "add" && name !== target) filter.addRule(name, text, { top });
            if (isThere && one.op === "remove") filter.removeRule(name, text, { top });
          } else if (one.op === "apply") await manager.apply();
          else if (one.op === "restart") ({ manager } = make(kernel));
          else if (one.op === "flush") kernel.tables.clear();
          else kernel.run4(`-I FORWARD 1 -s 192.0.2.${theirs++ % 250} -j ACCEPT`);
        }
        const before = (kernel.rules(4, "filter", "FORWARD") ?? []).filter((text) => text.includes("192.0.2."));
        await manager.reconcile();
        const { rules } = manager.ipv4.filter;
        for (const chain of new Set(rules.filter(({ wrap }) => wrap).map((rule) => rule.chain))) {
          const wanted = rules.filter((rule) => rule.chain === chain).map(({ text }) => canonical(text));
          if (manager.ipv4.filter.hasChain("local") && kernel.rules(4, "filter", "prog-local") !== undefined)
            expect(kernel.rules(4, "filter", chain)).toEqual(wanted);
        }
        const forward = kernel.rules(4, "filter", "FORWARD") ?? [];
        expect(forward.filter((text) => text.includes("192.0.2."))).toEqual(before);
        await manager.remove();
        expect([...kernel.table(4, "filter").keys()]).toEqual(["INPUT", "FORWARD", "OUTPUT"]);
      }),
      { numRuns: 150 },
    );
  });
});
