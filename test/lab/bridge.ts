// A bridge with a DHCP server on it, in the test's own network namespace or another: what a guest's TAP device is plugged into.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { NetworkNamespace } from "./network-namespace.js";
import { run } from "./run.js";
import { requireNetworkRights } from "./sandbox.js";
import { temporaryDirectory } from "./temporary-directory.js";
import { waitForFile } from "./wait-for.js";

export interface LabBridgeOptions {
  /** The first three bytes of a /24; the bridge itself is .1, and DHCP gives out .100 to .199. Default "10.77.0". */
  readonly subnet?: string;
  /** Addresses of known MAC addresses, given instead of the range's. */
  readonly hosts?: Readonly<Record<string, string>>;
  /** False: no DHCP server. */
  readonly dhcp?: boolean;
  readonly namespace?: NetworkNamespace;
}

export interface DhcpLease {
  readonly mac: string;
  readonly address: string;
  readonly hostname: string;
}

export interface LabBridge extends AsyncDisposable {
  /** At most 15 bytes, unlike any other's. */
  readonly name: string;
  readonly address: string;
  leases(): Promise<readonly DhcpLease[]>;
  /** Makes a TAP device for `-netdev tap,ifname=` and plugs it in; it goes with the bridge. */
  addTap(): Promise<string>;
  /** The interfaces that are plugged in now. */
  ports(): Promise<readonly string[]>;
  remove(): Promise<void>;
}

export async function createBridge(options: LabBridgeOptions = {}): Promise<LabBridge> {
  requireNetworkRights();
  const { subnet = "10.77.0", hosts = {}, dhcp = true, namespace } = options;
  const prefix = namespace?.prefix ?? [];
  const ip = (...args: readonly string[]) => run([...prefix, "ip", ...args]);
  const suffix = randomBytes(3).toString("hex");
  const name = `hvb${suffix}`;
  const directory = await temporaryDirectory();
  const taps: string[] = [];
  let stopDhcp: () => Promise<void> = async () => {};

  const exists = async (link: string) =>
    ip("-o", "link", "show", "dev", link).then(
      () => true,
      () => false,
    );
  const remove = async (): Promise<void> => {
    await stopDhcp();
    for (const link of [...taps, name]) if (await exists(link)) await ip("link", "del", "dev", link);
    await directory.remove();
  };

  try {
    await ip("link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0");
    await ip("address", "add", `${subnet}.1/24`, "dev", name);
    await ip("link", "set", name, "up");
    const leaseFile = directory.file("leases");
    if (dhcp) stopDhcp = await startDhcp({ prefix, name, subnet, hosts, directory: directory.path, leaseFile });
    return {
      name,
      address: `${subnet}.1`,
      leases: async () => parseLeases(await readFile(leaseFile, "utf8").catch(() => "")),
      async addTap() {
        const tap = `hvt${suffix}${taps.length}`;
        await ip("tuntap", "add", "dev", tap, "mode", "tap", "vnet_hdr");
        taps.push(tap);
        await ip("link", "set", tap, "master", name, "up");
        return tap;
      },
      async ports() {
        const links = JSON.parse(await ip("-j", "link", "show", "master", name)) as { readonly ifname?: string }[];
        return links.flatMap(({ ifname }) => (ifname === undefined ? [] : [ifname]));
      },
      remove,
      [Symbol.asyncDispose]: remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

interface DhcpServer {
  readonly prefix: readonly string[];
  readonly name: string;
  readonly subnet: string;
  readonly hosts: Readonly<Record<string, string>>;
  readonly directory: string;
  readonly leaseFile: string;
}

async function startDhcp({
  prefix,
  name,
  subnet,
  hosts,
  directory,
  leaseFile,
}: DhcpServer): Promise<() => Promise<void>> {
  const pidFile = `${directory}/dnsmasq.pid`;
  const [file = "", ...args] = [
    ...prefix,
    "dnsmasq",
    "--keep-in-foreground",
    "--conf-file=",
    "--port=0",
    "--no-hosts",
    "--bind-interfaces",
    "--except-interface=lo",
    `--interface=${name}`,
    `--dhcp-range=${subnet}.100,${subnet}.199,120s`,
    "--dhcp-authoritative",
    // The range is the test's own: no need to ask whether somebody has the address already.
    "--no-ping",
    ...Object.entries(hosts).map(([mac, address]) => `--dhcp-host=${mac},${address}`),
    `--dhcp-leasefile=${leaseFile}`,
    `--pid-file=${pidFile}`,
    "--log-facility=-",
    "--user=",
  ];
  const server = spawn(file, args, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  server.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-4096);
  });
  const exited = once(server, "exit");
  const stop = async (): Promise<void> => {
    if (server.exitCode === null && server.signalCode === null) server.kill("SIGKILL");
    await exited;
  };
  const failed = exited.then(() => {
    throw new Error(`dnsmasq ended at its start: ${said}`);
  });
  try {
    await Promise.race([waitForFile(pidFile, { what: "dnsmasq's pid file", detail: () => said }), failed]);
  } catch (error) {
    await stop();
    throw error;
  }
  failed.catch(() => {});
  return stop;
}

/** dnsmasq's lease file: expiry, MAC address, IP address, host name or `*`, client id. */
function parseLeases(text: string): DhcpLease[] {
  return text
    .split("\n")
    .map((line) => line.split(" "))
    .flatMap(([, mac, address, hostname]) =>
      mac !== undefined && address !== undefined ? [{ mac, address, hostname: hostname ?? "*" }] : [],
    );
}
