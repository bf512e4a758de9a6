// Loading and changing security groups of many instances: each driver beside what it can't be faster than, which is the same text given to `nft -f` or `iptables-restore` at once, and
// beside a rule set of the shape that Nova's iptables driver makes. Wants root; runs in namespaces of its own. HYPERVISE_BENCH_INSTANCES names other sizes.
import { execFileSync } from "node:child_process";
import { IptablesFirewallDriver, MemorySecurityGroupSource, NftablesFirewallDriver } from "../src/firewall/index.js";
import type { IptablesVariant } from "../src/firewall/index.js";
import { SystemCommandRunner } from "../src/host/index.js";
import type { CommandRunner } from "../src/host/index.js";
import { fillGroups, instanceOf, novaRules, RULES, rulesOf } from "./support/firewall-world.js";
import { enterOwnNetwork } from "./support/own-network.js";
import { median, medianOf, ms, ratio, timed } from "./support/timing.js";

const SIZES = (process.env["HYPERVISE_BENCH_INSTANCES"] ?? "1000,5000").split(",").map(Number);
const ROUNDS = 3;

enterOwnNetwork(import.meta.url);

/** Runs commands, and keeps those that change filters. */
class ChangeKeeper implements CommandRunner {
  readonly #system = new SystemCommandRunner();
  changes: { readonly argv: readonly string[]; readonly input: string }[] = [];

  run(...[argv, options]: Parameters<CommandRunner["run"]>): ReturnType<CommandRunner["run"]> {
    const [command = "", first] = argv;
    if ((command === "nft" && first === "-f") || command.includes("-restore") || command === "ipset")
      this.changes.push({ argv, input: String(options?.input ?? "") });
    return this.#system.run(argv, options);
  }

  /** What was kept since the last call. */
  take(): ChangeKeeper["changes"] {
    const { changes } = this;
    this.changes = [];
    return changes;
  }
}

function replay(changes: ChangeKeeper["changes"]): void {
  for (const { argv, input } of changes) {
    const [file = "", ...args] = argv;
    execFileSync(file, args, { input, stdio: ["pipe", "ignore", "ignore"], maxBuffer: 1 << 30 });
  }
}

type Kind = "nftables" | `iptables-${IptablesVariant}`;

async function measure(kind: Kind, count: number): Promise<unknown> {
  const groups = new MemorySecurityGroupSource();
  fillGroups(groups);
  const commands = new ChangeKeeper();
  const options = { groups, commands };
  const firewall =
    kind === "nftables"
      ? new NftablesFirewallDriver(options)
      : new IptablesFirewallDriver({ ...options, variant: kind === "iptables-nft" ? "nft" : "legacy" });
  const load = await timed(async () => {
    firewall.filterDeferApplyOn();
    for (let index = 0; index < count; index++) {
      const one = instanceOf(index);
      await firewall.setupBasicFiltering(one);
      await firewall.prepareInstanceFilter(one);
      await firewall.applyInstanceFilter(one);
    }
    await firewall.filterDeferApplyOff();
  });
  commands.take();
  const reload = await medianOf(3, () => firewall.reconcile());
  const whole = commands.take();
  // Only nft's text begins with taking away what is there, and so can be given to it again.
  const rawReload = kind === "nftables" ? await medianOf(3, () => Promise.resolve(replay(whole.slice(-1)))) : undefined;
  await firewall.reconcile();
  commands.take();

  const one = instanceOf(count + 1);
  const many = Array.from({ length: 50 }, (_, index) => instanceOf(count + 100 + index));
  // As when an instance is spawned: interfaces that nothing has come from yet.
  const devices = [one, ...many].flatMap(({ ports }) =>
    ports.map(({ deviceName }) => `tuntap add ${deviceName} mode tap\n`),
  );
  execFileSync("ip", ["-batch", "-"], { input: devices.join("") });
  const [inThree, inOne, removed]: [number[], number[], number[]] = [[], [], []];
  const [rawAdded, rawRemoved]: [number[], number[]] = [[], []];
  for (let round = 0; round <= ROUNDS; round++) {
    inThree.push(
      await timed(async () => {
        await firewall.setupBasicFiltering(one);
        await firewall.prepareInstanceFilter(one);
        await firewall.applyInstanceFilter(one);
      }),
    );
    removed.push(await timed(() => firewall.unfilterInstance(one)));
    commands.take();
    inOne.push(await timed(() => firewall.refreshInstanceSecurityRules(one)));
    const addition = commands.take();
    await firewall.unfilterInstance(one);
    const removal = commands.take();
    if (kind !== "nftables") continue;
    rawAdded.push(await timed(() => replay(addition)));
    rawRemoved.push(await timed(() => replay(removal)));
  }
  const together = await medianOf(ROUNDS, async () => {
    await Promise.all(many.map((each) => firewall.refreshInstanceSecurityRules(each)));
    await Promise.all(many.map((each) => firewall.unfilterInstance(each)));
  });
  const ruleAdded = await medianOf(ROUNDS, (round) => {
    groups.setGroup({ id: "group-1", rules: rulesOf(1, round + 1) });
    return firewall.refreshSecurityGroupRules("group-1");
  });
  const memberAdded = await medianOf(ROUNDS, (round) => {
    groups.setMember(`member-${round}`, { addresses: [`192.0.2.${round + 1}`] }, ["front"]);
    return firewall.refreshSecurityGroupMembers("front");
  });
  await firewall.remove();
  execFileSync("ip", ["-batch", "-"], { input: devices.join("").replaceAll(" add ", " del ") });
  const [added, gone] = [median(inOne.slice(1)), median(removed.slice(1))];
  return {
    loadMs: ms(load),
    reloadMs: reload,
    instanceAddedMs: ms(added),
    instanceAddedInThreeCallsMs: ms(median(inThree.slice(1))),
    instanceRemovedMs: ms(gone),
    fiftyAddedAndRemovedTogetherMs: together,
    groupRuleAddedMs: ruleAdded,
    memberAddedMs: memberAdded,
    ...(rawReload === undefined
      ? {}
      : {
          raw: {
            reloadMs: rawReload,
            instanceAddedMs: ms(median(rawAdded.slice(1))),
            instanceRemovedMs: ms(median(rawRemoved.slice(1))),
            reloadToRaw: ratio(reload, rawReload),
            addedToRaw: ratio(added, median(rawAdded.slice(1))),
            removedToRaw: ratio(gone, median(rawRemoved.slice(1))),
          },
        }),
  };
}

function novaShape(variant: IptablesVariant, count: number): Promise<unknown> {
  const nova = novaRules(count);
  const restore = (text: string): Promise<number> =>
    timed(() =>
      execFileSync(`iptables-${variant}-restore`, ["--wait"], {
        input: text,
        stdio: ["pipe", "ignore", "ignore"],
        maxBuffer: 1 << 30,
      }),
    );
  return (async () => {
    const [loadMs, reloadMs] = [await restore(nova), await restore(nova)];
    await restore("*filter\nCOMMIT\n");
    return { loadMs: ms(loadMs), reloadMs: ms(reloadMs) };
  })();
}

async function orAbsent(work: () => Promise<unknown>): Promise<unknown> {
  try {
    return await work();
  } catch (error) {
    return { absent: String(error).slice(0, 200) };
  }
}

execFileSync("ip", ["link", "add", "br0", "type", "bridge"]);
const empty = await medianOf(ROUNDS, () => Promise.resolve(execFileSync("nft", ["-f", "-"], { input: "" })));
const results: unknown[] = [];
for (const instances of SIZES) {
  const drivers: Record<string, unknown> = { nftables: await measure("nftables", instances) };
  for (const variant of ["legacy", "nft"] as const) {
    drivers[`iptables-${variant}`] = await orAbsent(() => measure(`iptables-${variant}`, instances));
    drivers[`novaShape-iptables-${variant}`] = await orAbsent(() => novaShape(variant, instances));
  }
  results.push({ instances, rulesEach: RULES, emptyNftMs: empty, ...drivers });
}
console.log(JSON.stringify(results));
