// What filters cost a packet: the round trip of a small UDP packet between two hosts on a bridge, without filters and behind each driver, alone and beside 1,000 other instances. The
// answer of a known flow, and the first packet of a new one. Wants root and a C compiler; runs in namespaces of its own.
import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { IptablesFirewallDriver, MemorySecurityGroupSource, NftablesFirewallDriver } from "../src/firewall/index.js";
import type { FilteredInstance } from "../src/firewall/index.js";
import { addressOf, fillGroups, instanceOf, macOf, uuidOf } from "./support/firewall-world.js";
import { enterOwnNetwork } from "./support/own-network.js";
import { ratio } from "./support/timing.js";

const OTHERS = 1_000;
const PORT = 7_777;
/** Hosts have numbers beyond those of the other instances. */
const [ASKER, ANSWERER] = [20_001, 20_002] as const;

enterOwnNetwork(import.meta.url);

const run = (command: string, ...args: readonly string[]): void =>
  void execFileSync(command, args, { stdio: "ignore" });

/** A network namespace with one interface on the bridge. */
async function host(index: number): Promise<ChildProcess> {
  const holder = spawn("unshare", ["--net", "sh", "-c", "echo in; read line"], { stdio: ["pipe", "pipe", "inherit"] });
  await once(holder.stdout, "data");
  const tap = `tap${index}`;
  run("ip", "link", "add", tap, "type", "veth", "peer", "name", "eth0", "netns", String(holder.pid));
  run("ip", "link", "set", tap, "addrgenmode", "none");
  run("ip", "link", "set", tap, "master", "br0", "up");
  inside(holder, "ip", "link", "set", "eth0", "address", macOf(index), "up");
  inside(holder, "ip", "address", "add", `${addressOf(index)}/8`, "dev", "eth0");
  return holder;
}

function inside(holder: ChildProcess, ...argv: readonly string[]): string {
  return execFileSync("nsenter", ["--net", "--target", String(holder.pid), ...argv], { encoding: "utf8" });
}

function measured(index: number): FilteredInstance {
  const [port] = instanceOf(index).ports;
  if (port === undefined) throw new Error("an instance without a port");
  return { uuid: uuidOf(index), name: `host-${index}`, ports: [{ ...port, securityGroups: ["answers"] }] };
}

type Driver = NftablesFirewallDriver | IptablesFirewallDriver;

const directory = mkdtempSync(join(tmpdir(), "hv-"));
const program = join(directory, "udp-ping");
const hosts: ChildProcess[] = [];
let server: ChildProcess | undefined;
try {
  run("cc", "-O2", "-o", program, fileURLToPath(new URL("support/udp-ping.c", import.meta.url)));
  run("ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0");
  run("ip", "link", "set", "br0", "up");
  // So that without a driver a packet on the bridge is nobody's business.
  for (const name of ["iptables", "ip6tables", "arptables"])
    execFileSync("sysctl", ["-qw", `net.bridge.bridge-nf-call-${name}=0`]);
  hosts.push(await host(ASKER), await host(ANSWERER));
  const [asker, answerer] = hosts as [ChildProcess, ChildProcess];
  server = spawn("nsenter", ["--net", "--target", String(answerer.pid), program, "serve", String(PORT)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(server.stdout as NonNullable<typeof server.stdout>, "data");

  const ask = (kind: "known" | "new"): number => {
    const [batches, rounds] = kind === "known" ? ["20", "1000"] : ["10", "500"];
    const argv = [program, "ask", addressOf(ANSWERER), String(PORT), kind, batches, rounds];
    return Number(inside(asker, ...argv)) / 1_000;
  };
  const look = (): { readonly known: number; readonly new: number } => ({ known: ask("known"), new: ask("new") });

  const groups = new MemorySecurityGroupSource();
  fillGroups(groups);
  groups.setGroup({ id: "answers", rules: [{ direction: "ingress", ipVersion: 4, protocol: "udp", portFrom: PORT }] });
  const put = async (firewall: Driver, instances: readonly FilteredInstance[]): Promise<void> => {
    firewall.filterDeferApplyOn();
    for (const instance of instances) await firewall.refreshInstanceSecurityRules(instance);
    await firewall.filterDeferApplyOff();
  };
  const drivers: Readonly<Record<string, () => Driver>> = {
    nftables: () => new NftablesFirewallDriver({ groups }),
    "iptables-legacy": () => new IptablesFirewallDriver({ groups, variant: "legacy" }),
    "iptables-nft": () => new IptablesFirewallDriver({ groups, variant: "nft" }),
  };
  ask("known");
  const floors = [look()];
  const found: Record<string, Record<string, ReturnType<typeof look>>> = {};
  for (const [name, make] of Object.entries(drivers)) {
    const firewall = make();
    try {
      const own = [measured(ASKER), measured(ANSWERER)];
      await put(firewall, own);
      const alone = look();
      // Those that are looked for one after the other are looked at last.
      for (const instance of own) await firewall.unfilterInstance(instance);
      const others = Array.from({ length: OTHERS }, (_, index) => instanceOf(index));
      await put(firewall, others);
      await put(firewall, own);
      found[name] = { alone, [`beside${OTHERS}`]: look() };
    } finally {
      await firewall.remove();
    }
    floors.push(look());
  }
  const floor = (kind: "known" | "new"): number => Math.min(...floors.map((each) => each[kind]));
  const withRatio = (times: ReturnType<typeof look>) => ({
    knownUs: times.known,
    newUs: times.new,
    knownToNone: ratio(times.known, floor("known")),
    newToNone: ratio(times.new, floor("new")),
  });
  console.log(
    JSON.stringify({
      none: { knownUs: floor("known"), newUs: floor("new") },
      ...Object.fromEntries(
        Object.entries(found).map(([name, states]) => [
          name,
          Object.fromEntries(Object.entries(states).map(([state, times]) => [state, withRatio(times)])),
        ]),
      ),
    }),
  );
} finally {
  server?.kill("SIGKILL");
  for (const holder of hosts) holder.stdin?.end();
  rmSync(directory, { recursive: true, force: true });
}
