// Loading and changing security groups of many instances: the nftables driver against the raw text of the same rules given to `nft -f` at once, and against
// a rule set of the shape that Nova's iptables driver makes, given to `iptables-restore`. Wants root; runs in namespaces of its own.
import { execFileSync, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { MemorySecurityGroupSource, NftablesFirewallDriver } from "../src/firewall/index.js";
import type { FilteredInstance, SecurityGroupRule } from "../src/firewall/index.js";
import { SystemCommandRunner } from "../src/host/index.js";
import type { CommandRunner } from "../src/host/index.js";

const SIZES = (process.env["HYPERVISE_BENCH_INSTANCES"] ?? "1000,5000").split(",").map(Number);
const RULES = 50;
const GROUPS = 20;
const ROUNDS = 5;

if (process.env["HYPERVISE_BENCH_INSIDE"] === undefined) {
  const self = fileURLToPath(import.meta.url);
  const argv = ["--net", "--mount", process.execPath, "--expose-gc", "--import", "tsx", self];
  const { status } = spawnSync("unshare", argv, {
    stdio: "inherit",
    env: { ...process.env, HYPERVISE_BENCH_INSIDE: "1" },
  });
  process.exit(status ?? 1);
}

const uuid = (index: number): string => `00000000-0000-4000-8000-${String(index).padStart(12, "0")}`;
const hex = (value: number): string => value.toString(16).padStart(2, "0");
const mac = (index: number): string => `52:54:00:${hex(index >> 16)}:${hex((index >> 8) & 255)}:${hex(index & 255)}`;
const address = (index: number): string => `10.${1 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;

function instance(index: number): FilteredInstance {
  return {
    uuid: uuid(index),
    name: `instance-${index}`,
    ports: [
      {
        id: uuid(index),
        macAddress: mac(index),
        deviceName: `tap${index}`,
        bridge: "br0",
        fixedIps: [{ address: address(index) }],
        securityGroups: [`group-${index % GROUPS}`],
      },
    ],
  };
}

function rules(group: number, extra = 0): SecurityGroupRule[] {
  return Array.from({ length: RULES + extra }, (_, index) => ({
    direction: "ingress",
    ipVersion: 4,
    protocol: "tcp",
    portFrom: 1_000 + index,
    remote: { cidr: `172.16.${group}.${index}/32` },
  }));
}

async function timed(work: () => unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
const ms = (value: number): number => Number(value.toFixed(1));

async function medianOf(work: (round: number) => Promise<unknown>, rounds = ROUNDS): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const took = await timed(() => work(round));
    if (round > 0) times.push(took);
  }
  return ms(median(times));
}

/** Runs commands, and keeps the last script that was given to nft. */
class ScriptKeeper implements CommandRunner {
  readonly #system = new SystemCommandRunner();
  script = "";

  run(...[argv, options]: Parameters<CommandRunner["run"]>): ReturnType<CommandRunner["run"]> {
    if (argv[0] === "nft" && argv.includes("-f")) this.script = String(options?.input ?? "");
    return this.#system.run(argv, options);
  }
}

/** A chain an instance with all of its rules, and a dispatch rule: what Nova's driver gives to iptables-restore. */
function novaRules(count: number): string {
  const lines = ["*filter", ":nova-local - [0:0]", ":nova-fallback - [0:0]"];
  for (let index = 0; index < count; index++) lines.push(`:nova-inst-${index} - [0:0]`);
  lines.push("-A FORWARD -j nova-local", "-A nova-fallback -j DROP");
  for (let index = 0; index < count; index++) lines.push(`-A nova-local -d ${address(index)}/32 -j nova-inst-${index}`);
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

function restore(command: string, text: string): void {
  execFileSync(command, ["--wait"], { input: text, stdio: ["pipe", "ignore", "ignore"], maxBuffer: 1 << 30 });
}

async function measure(count: number): Promise<unknown> {
  const source = new MemorySecurityGroupSource();
  for (let group = 0; group < GROUPS; group++) source.setGroup({ id: `group-${group}`, rules: rules(group) });
  source.setGroup({ id: "front", rules: [] });
  source.setGroup({
    id: "group-0",
    rules: [...rules(0), { direction: "ingress", ipVersion: 4, remote: { groupId: "front" } }],
  });
  const commands = new ScriptKeeper();
  const firewall = new NftablesFirewallDriver({ groups: source, commands });
  const all = Array.from({ length: count }, (_, index) => instance(index));
  const load = await timed(async () => {
    firewall.filterDeferApplyOn();
    for (const one of all) {
      await firewall.setupBasicFiltering(one);
      await firewall.prepareInstanceFilter(one);
      await firewall.applyInstanceFilter(one);
    }
    await firewall.filterDeferApplyOff();
  });
  const reload = await medianOf(() => firewall.reconcile());
  const text = commands.script;
  const rawReload = await medianOf(() => Promise.resolve(execFileSync("nft", ["-f", "-"], { input: text })));
  await firewall.reconcile();
  const one = instance(count + 1);
  const added: number[] = [];
  const removed: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    added.push(
      await timed(async () => {
        await firewall.setupBasicFiltering(one);
        await firewall.prepareInstanceFilter(one);
        await firewall.applyInstanceFilter(one);
      }),
    );
    removed.push(await timed(() => firewall.unfilterInstance(one)));
  }
  const ruleAdded = await medianOf((round) => {
    source.setGroup({ id: "group-1", rules: rules(1, round + 1) });
    return firewall.refreshSecurityGroupRules("group-1");
  });
  const memberAdded = await medianOf((round) => {
    source.setMember(`member-${round}`, { addresses: [`192.0.2.${round + 1}`] }, ["front"]);
    return firewall.refreshSecurityGroupMembers("front");
  });
  const noop = await medianOf(() => Promise.resolve(execFileSync("nft", ["-f", "-"], { input: "" })));
  await firewall.remove();

  const nova = novaRules(count);
  const legacy: Record<string, unknown> = {};
  for (const command of ["iptables-legacy-restore", "iptables-nft-restore"]) {
    try {
      const loadMs = await timed(() => restore(command, nova));
      const reloadMs = await timed(() => restore(command, nova));
      restore(command, "*filter\nCOMMIT\n");
      legacy[command] = { loadMs: ms(loadMs), reloadMs: ms(reloadMs), toOurs: Number((reloadMs / reload).toFixed(1)) };
    } catch (error) {
      legacy[command] = { absent: String(error).slice(0, 100) };
    }
  }
  return {
    instances: count,
    rulesEach: RULES,
    scriptBytes: text.length,
    ours: {
      loadMs: ms(load),
      reloadMs: reload,
      instanceAddedMs: ms(median(added.slice(1))),
      instanceRemovedMs: ms(median(removed.slice(1))),
      groupRuleAddedMs: ruleAdded,
      memberAddedMs: memberAdded,
    },
    rawNft: { reloadMs: rawReload, emptyScriptMs: noop, oursToRaw: Number((reload / rawReload).toFixed(2)) },
    novaShape: legacy,
  };
}

execFileSync("ip", ["link", "add", "br0", "type", "bridge"]);
const results: unknown[] = [];
for (const size of SIZES) results.push(await measure(size));
console.log(JSON.stringify(results));
