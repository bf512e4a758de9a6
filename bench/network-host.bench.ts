// Setting up a host's networks: 100 bridges and 1,000 ports by plan and apply beside the same commands given to `ip -batch` at once, networks one by one with
// their rules, and what a change costs a DHCP server of 10,000 hosts beside reading everything again and starting anew. Wants root; runs in namespaces of its own.
import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemCommandRunner } from "../src/host/index.js";
import {
  LinuxNetworkHost,
  NetworkExecutor,
  NetworkPlan,
  planBridge,
  planGatewayAddresses,
  planTapPort,
} from "../src/network/index.js";
import type { DhcpHost, HostNetwork } from "../src/network/index.js";
import { enterOwnNetwork } from "./support/own-network.js";
import { median, ms, ratio, timed } from "./support/timing.js";

const NETWORKS = 100;
const PORTS = 1_000;
const HOSTS = 10_000;
const ROUNDS = 3;

enterOwnNetwork(import.meta.url);
// The host's own addresses are reached by it.
execFileSync("ip", ["link", "set", "lo", "up"]);

const hex = (number: number): string => number.toString(16).padStart(2, "0");
const macOf = (n: number): string => `fa:16:3e:${hex(n >> 16)}:${hex((n >> 8) & 255)}:${hex(n & 255)}`;
const bridgeOf = (n: number): string => `brb${n}`;

function fill(plan: NetworkPlan): void {
  for (let n = 0; n < NETWORKS; n++) {
    planBridge(plan, bridgeOf(n), { macAddress: macOf(n), mtu: 1450 });
    planGatewayAddresses(plan, bridgeOf(n), [{ version: 4, address: `10.${n}.0.1/24` }]);
  }
  for (let n = 0; n < PORTS; n++)
    planTapPort(plan, `tapb${n}`, { bridge: bridgeOf(n % NETWORKS), macAddress: macOf(70_000 + n), mtu: 1450 });
}

/** As one group, which the kernel takes away at once. */
function clear(): void {
  const lines = [
    ...Array.from({ length: PORTS }, (_, n) => `link set dev tapb${n} group 77`),
    ...Array.from({ length: NETWORKS }, (_, n) => `link set dev ${bridgeOf(n)} group 77`),
    "link delete group 77",
  ];
  execFileSync("ip", ["-batch", "-"], { input: lines.join("\n") });
}

async function devices(): Promise<unknown> {
  const executor = new NetworkExecutor({ commands: systemCommandRunner });
  const [ours, raw, again]: [number[], number[], number[]] = [[], [], []];
  let commands = 0;
  for (let round = 0; round < ROUNDS; round++) {
    let text = "";
    ours.push(
      await timed(async () => {
        const plan = new NetworkPlan(await executor.observe());
        fill(plan);
        text = plan.text.replaceAll(/^ip /gm, "");
        commands = plan.steps.length;
        await executor.apply(plan.steps);
      }),
    );
    again.push(
      await timed(async () => {
        const plan = new NetworkPlan(await executor.observe());
        fill(plan);
        if (plan.steps.some((step) => step.kind !== "setLink")) throw new Error("something was not there");
      }),
    );
    clear();
    raw.push(await timed(async () => void (await systemCommandRunner.run(["ip", "-batch", "-"], { input: text }))));
    clear();
  }
  return {
    networks: NETWORKS,
    ports: PORTS,
    commands,
    planAndApply: ms(median(ours)),
    ipBatch: ms(median(raw)),
    ratio: ratio(median(ours), median(raw)),
    nothingToDo: ms(median(again)),
  };
}

function networkOf(n: number, served: boolean): HostNetwork {
  const subnet = { cidr: `10.${n}.0.0/16`, gateway: `10.${n}.0.1`, hostAddress: `10.${n}.0.1` };
  return {
    id: `net-${n}`,
    bridge: bridgeOf(n),
    routed: true,
    domain: "cloud.example",
    subnets: [{ ...subnet, ...(served ? { dhcpStart: `10.${n}.0.2` } : {}) }],
  };
}

async function withHost<T>(work: (host: LinuxNetworkHost, directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "hvb-"));
  chmodSync(directory, 0o755);
  const host = new LinuxNetworkHost({ name: "bench", directory: join(directory, "host"), dnsmasqUser: "root" });
  try {
    await host.start();
    return await work(host, directory);
  } finally {
    for (const id of await host.listNetworks()) await host.tearDownNetwork(id);
    await host.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function oneByOne(): Promise<unknown> {
  return withHost(async (host) => {
    const each: number[] = [];
    for (let n = 0; n < 30; n++) each.push(await timed(() => host.setUpNetwork(networkOf(n, false), [])));
    const floating: number[] = [];
    for (let n = 0; n < 20; n++) {
      const forward = {
        ...{ floatingAddress: `192.0.2.${n + 1}`, fixedAddress: `10.1.0.${n + 2}`, networkId: "net-1" },
        publicInterface: bridgeOf(0),
      };
      floating.push(await timed(() => host.addFloating(forward)));
    }
    for (let n = 0; n < 20; n++) await host.removeFloating(`192.0.2.${n + 1}`);
    return { network: ms(median(each)), lastNetwork: ms(each.at(-1) ?? 0), floatingAddress: ms(median(floating)) };
  });
}

/** Resolves with the answer's time when the server has answered for a name. */
function ask(server: string, name: string): Promise<void> {
  const labels = name.split(".").flatMap((label) => [label.length, ...Buffer.from(label)]);
  const query = Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1]);
  return new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    const again = setInterval(() => socket.send(query, 53, server), 1_000);
    const tooLong = setTimeout(() => socket.emit("error", new Error("no answer in a minute")), 60_000);
    socket.on("error", reject);
    socket.on("message", (answer) => {
      // It is asked before it has read its files: once more.
      if (answer.readUInt16BE(6) === 0) return void setTimeout(() => socket.send(query, 53, server), 1);
      clearInterval(again);
      clearTimeout(tooLong);
      socket.close();
      resolve();
    });
    socket.send(query, 53, server);
  });
}

async function servers(): Promise<unknown> {
  const dhcpHost = (n: number): DhcpHost => ({
    ...{ macAddress: macOf(n), addresses: [`10.1.${n >> 8}.${n & 255}`], hostname: `guest${n}` },
    vifId: `11111111-1111-4111-8111-${n.toString().padStart(12, "0")}`,
  });
  const hosts = Array.from({ length: HOSTS }, (_, index) => dhcpHost(index + 2));
  return withHost(async (host, directory) => {
    const network = networkOf(1, true);
    const start = await timed(() => host.setUpNetwork(network, hosts));
    const server = "10.1.0.1";
    await ask(server, "guest2");
    const [one, reload, restart]: [number[], number[], number[]] = [[], [], []];
    for (let round = 0; round < ROUNDS; round++) {
      const added = dhcpHost(HOSTS + 2 + round);
      one.push(await timed(() => host.setDhcpHost("net-1", added)));
      await host.removeDhcpHost("net-1", added.macAddress);
      const pid = Number(readFileSync(join(directory, "host/dhcp/net-1/pid"), "utf8"));
      reload.push(
        await timed(async () => {
          process.kill(pid, "SIGHUP");
          await ask(server, "guest2");
        }),
      );
      restart.push(
        await timed(async () => {
          await host.setUpNetwork({ ...network, domain: round % 2 === 0 ? "other.example" : "cloud.example" }, hosts);
          await ask(server, "guest2");
        }),
      );
    }
    return {
      hosts: HOSTS,
      firstStart: ms(start),
      changeOfOneHost: ms(median(one)),
      readingEverythingAgain: ms(median(reload)),
      startingAnew: ms(median(restart)),
      timesReadingAgain: ratio(median(reload), median(one)),
    };
  });
}

process.stdout.write(
  `${JSON.stringify({ devices: await devices(), oneByOne: await oneByOne(), dhcpServer: await servers() }, undefined, 2)}\n`,
);
