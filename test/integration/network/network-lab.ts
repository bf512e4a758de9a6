// A host, guests and the outside as network namespaces: what a LinuxNetworkHost is tried on, packet by packet.
import { spawn } from "node:child_process";
import { chmod, writeFile } from "node:fs/promises";
import { once } from "node:events";
import type { DhcpHost, HostNetwork } from "../../../src/network/host/network-host.js";
import { LinuxNetworkHost } from "../../../src/network/host/linux-network-host.js";
import type { LinuxNetworkHostOptions } from "../../../src/network/host/linux-network-host-options.js";
import { createNetworkNamespace, sandboxKind, temporaryDirectory } from "../../lab/index.js";
import type { NetworkNamespace, TemporaryDirectory } from "../../lab/index.js";

/** Tells udhcpc's findings as JSON, and takes the address. */
const UDHCPC_SCRIPT = `#!/bin/sh
case "$1" in
bound|renew)
  ip address flush dev "$interface" scope global
  ip address add "$ip/$mask" dev "$interface"
  [ -n "$router" ] && ip route replace default via "\${router%% *}"
  [ -n "$mtu" ] && ip link set dev "$interface" mtu "$mtu"
  printf '{"action":"%s","address":"%s","router":"%s","dns":"%s","domain":"%s","hostname":"%s","mtu":"%s"}\\n' "$1" "$ip" "$router" "$dns" "$domain" "$hostname" "$mtu"
  ;;
esac
`;

export async function writeDhcpScript(path: string): Promise<void> {
  await writeFile(path, UDHCPC_SCRIPT, { mode: 0o755 });
}

export interface DhcpAnswer {
  readonly address: string;
  readonly router: string;
  readonly dns: string;
  readonly domain: string;
  readonly hostname: string;
  readonly mtu: string;
}

export class NetworkLab implements AsyncDisposable {
  readonly directory: TemporaryDirectory;
  readonly host: NetworkNamespace;
  readonly outside: NetworkNamespace;
  readonly #guests: GuestNamespace[] = [];
  #hosts: LinuxNetworkHost[] = [];

  private constructor(directory: TemporaryDirectory, host: NetworkNamespace, outside: NetworkNamespace) {
    this.directory = directory;
    this.host = host;
    this.outside = outside;
  }

  /** A host whose `eth0` (192.0.2.1) leads to a namespace outside (192.0.2.254), which knows no way to the guests. */
  static async create(): Promise<NetworkLab> {
    const directory = await temporaryDirectory();
    await chmod(directory.path, 0o755);
    await writeDhcpScript(directory.file("udhcpc"));
    const host = await createNetworkNamespace("hvh");
    const outside = await createNetworkNamespace("hvo");
    const lab = new NetworkLab(directory, host, outside);
    await host.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", outside.name]);
    for (const [namespace, address] of [
      [host, "192.0.2.1/24"],
      [outside, "192.0.2.254/24"],
    ] as const) {
      await namespace.run(["ip", "address", "add", address, "dev", "eth0"]);
      await namespace.run(["ip", "link", "set", "eth0", "up"]);
    }
    await outside.run(["ip", "address", "add", "203.0.113.1/32", "dev", "lo"]);
    await host.run(["ip", "route", "add", "default", "via", "192.0.2.254"]);
    return lab;
  }

  get hostDirectory(): string {
    return this.directory.file("host");
  }

  /** A network host that works in the namespace; a later one takes up what an earlier one left. */
  newHost(options: Partial<LinuxNetworkHostOptions> = {}): LinuxNetworkHost {
    const host = new LinuxNetworkHost({ ...this.hostOptions(), ...options });
    this.#hosts.push(host);
    return host;
  }

  hostOptions(): LinuxNetworkHostOptions {
    return {
      name: "host-1",
      directory: this.hostDirectory,
      netns: this.host.name,
      publicInterface: "eth0",
      gratuitousArps: 1,
      leaseSeconds: 120,
      // In a sandbox of a user without rights there is no other user.
      ...(sandboxKind() === "root" ? {} : { dnsmasqUser: "root" }),
    };
  }

  /** A namespace with a NIC of this MAC address on a bridge. */
  async addGuest(bridge: string, macAddress: string): Promise<GuestNamespace> {
    const guest = await GuestNamespace.create(this.host, bridge, macAddress, this.directory.file("udhcpc"));
    this.#guests.push(guest);
    return guest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of this.#hosts) await host.close();
    for (const guest of this.#guests) await guest.namespace.remove();
    await this.host.remove();
    await this.outside.remove();
    await this.directory.remove();
  }
}

export class GuestNamespace {
  readonly namespace: NetworkNamespace;
  readonly macAddress: string;
  /** The host's end of its cable. */
  readonly port: string;
  readonly #script: string;

  private constructor(namespace: NetworkNamespace, macAddress: string, port: string, script: string) {
    this.namespace = namespace;
    this.macAddress = macAddress;
    this.port = port;
    this.#script = script;
  }

  /** A guest with a NIC of this MAC address on a bridge of a host; `script` is what {@link writeDhcpScript} wrote. */
  static async create(
    host: NetworkNamespace,
    bridge: string,
    macAddress: string,
    script: string,
  ): Promise<GuestNamespace> {
    const namespace = await createNetworkNamespace("hvg");
    const port = `p${macAddress.replaceAll(":", "").slice(-8)}`;
    await host.run(["ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace.name]);
    await host.run(["ip", "link", "set", port, "master", bridge, "up"]);
    await namespace.run(["ip", "link", "set", "eth0", "address", macAddress]);
    // Its own address may be used at once: nobody else has it.
    await namespace.run(["sysctl", "-q", "-w", "net.ipv6.conf.eth0.accept_dad=0"]);
    await namespace.run(["ip", "link", "set", "eth0", "up"]);
    return new GuestNamespace(namespace, macAddress, port, script);
  }

  /** Asks for an address and takes it; undefined when nobody offers one. */
  async dhcp(options: readonly string[] = []): Promise<DhcpAnswer | undefined> {
    const retries = ["-n", "-q", "-f", "-t", "5", "-T", "1"];
    const argv = ["busybox", "udhcpc", "-i", "eth0", ...retries, "-s", this.#script, ...options];
    const said = await this.namespace.run([...argv, "-O", "mtu", "-O", "domain"]).catch(() => "");
    const line = said.split("\n").find((text) => text.startsWith("{"));
    return line === undefined ? undefined : (JSON.parse(line) as DhcpAnswer);
  }

  /** Begins to ask for an IPv6 address, to take it; `directory` is for the client's files. */
  async dhcp6(directory: string): Promise<void> {
    const script = `${directory}/dhclient6-${this.port}`;
    const take = '[ -z "$new_ip6_address" ] || ip address replace "$new_ip6_address/64" dev "$interface" nodad';
    await writeFile(script, `#!/bin/sh\nPATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin\n${take}\n`, { mode: 0o755 });
    const files = ["-lf", `${script}.leases`, "-pf", `${script}.pid`];
    await this.namespace.run(["dhclient", "-6", "-1", "-nw", "-sf", script, ...files, "eth0"]);
  }

  async setAddress(address: string, gateway?: string): Promise<void> {
    await this.namespace.run(["ip", "address", "add", address, "dev", "eth0"]);
    if (gateway !== undefined) await this.namespace.run(["ip", "route", "replace", "default", "via", gateway]);
  }

  async pings(address: string): Promise<boolean> {
    return pings(this.namespace, address);
  }

  /** Whether an address stays unreachable for a while. */
  async misses(address: string): Promise<boolean> {
    return !(await pings(this.namespace, address, 1));
  }
}

export async function pings(namespace: NetworkNamespace, address: string, seconds = 10): Promise<boolean> {
  return namespace.run(["busybox", "ping", "-c", "1", "-W", String(seconds), address]).then(
    () => true,
    () => false,
  );
}

const SERVER = `
const [protocol, port] = process.argv.slice(-2);
if (protocol === "tcp")
  require("node:net").createServer((s) => { s.on("error", () => {}); s.write(s.remoteAddress + " " + s.localAddress + "\\n"); s.on("data", (d) => s.write(d)); }).listen(+port, "::", () => console.log("ready"));
else {
  const s = require("node:dgram").createSocket("udp4");
  s.on("message", (d, from) => s.send(from.address + "\\n", from.port, from.address)).bind(+port, () => console.log("ready"));
}`;

/** A server in a namespace that tells who asks whom; it ends with the namespace. */
export async function serve(namespace: NetworkNamespace, protocol: "tcp" | "udp", port: number): Promise<void> {
  const [file = "", ...args] = [...namespace.prefix, process.execPath, "-e", SERVER, protocol, String(port)];
  const server = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
  await once(server.stdout, "data");
  server.stdout.destroy();
  server.unref();
}

const CLIENT = `
const [protocol, address, port, waitMs] = process.argv.slice(-4);
const end = (text) => { console.log(text); process.exit(0); };
setTimeout(() => end("nothing"), +waitMs);
if (protocol === "tcp") require("node:net").connect(+port, address).on("data", (d) => end(String(d).trim())).on("error", () => end("nothing"));
else { const s = require("node:dgram").createSocket("udp4"); s.on("message", (d) => end(String(d).trim())); s.send("x", +port, address); }`;

/** Whether what {@link serve} would answer stays away for a while. */
export async function isSilent(
  namespace: NetworkNamespace,
  protocol: "tcp" | "udp",
  address: string,
  port: number,
): Promise<boolean> {
  return (await ask(namespace, protocol, address, port, 1_000)) === undefined;
}

/** What {@link serve} answers; undefined when nothing comes back. */
export async function ask(
  namespace: NetworkNamespace,
  protocol: "tcp" | "udp",
  address: string,
  port: number,
  waitMs = 20_000,
): Promise<{ readonly source: string; readonly destination?: string } | undefined> {
  const said = (
    await namespace.run([process.execPath, "-e", CLIENT, protocol, address, String(port), String(waitMs)])
  ).trim();
  if (said === "nothing") return undefined;
  const [source = "", destination] = said.split(" ").map((text) => text.replace(/^::ffff:/, ""));
  return { source, ...(destination === undefined ? {} : { destination }) };
}

export const VIF_1 = "11111111-1111-4111-8111-111111111111";
export const VIF_2 = "22222222-2222-4222-8222-222222222222";

export function flatNetwork(more: Partial<HostNetwork> = {}): HostNetwork {
  return {
    id: "net-1",
    bridge: "br-one",
    routed: true,
    domain: "cloud.example",
    mtu: 1400,
    subnets: [
      {
        cidr: "10.1.0.0/24",
        gateway: "10.1.0.1",
        hostAddress: "10.1.0.1",
        dhcpStart: "10.1.0.2",
        dnsServers: ["10.1.0.1"],
      },
    ],
    ...more,
  };
}

export function dhcpHost(n: number, more: Partial<DhcpHost> = {}): DhcpHost {
  return {
    macAddress: `fa:16:3e:00:00:${String(n).padStart(2, "0")}`,
    addresses: [`10.1.0.${n}`],
    hostname: `web${n}`,
    vifId: n === 10 ? VIF_1 : VIF_2,
    ...more,
  };
}
