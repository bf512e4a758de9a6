// Two hosts as network namespaces with a cable between them and one each to the outside, and a manager on each over one store.
import { chmod } from "node:fs/promises";
import {
  FlatDhcpManager,
  LinuxNetworkHost,
  LocalHostDirectory,
  MemoryNetworkStore,
} from "../../../src/network/index.js";
import type { NetworkManagerOptions } from "../../../src/network/index.js";
import { createNetworkNamespace, sandboxKind, temporaryDirectory } from "../../lab/index.js";
import type { NetworkNamespace, TemporaryDirectory } from "../../lab/index.js";
import type { HostPlace } from "./host-snapshot.js";
import { GuestNamespace, writeDhcpScript } from "./network-lab.js";

/** A host: `fabric` leads to the other one, `ext` outside. */
export interface CloudHost extends HostPlace {
  readonly name: string;
  readonly manager: FlatDhcpManager;
}

export class CloudLab implements AsyncDisposable {
  readonly directory: TemporaryDirectory;
  readonly outside: NetworkNamespace;
  readonly hosts: readonly [CloudHost, CloudHost];
  readonly #guests: GuestNamespace[] = [];

  private constructor(
    directory: TemporaryDirectory,
    outside: NetworkNamespace,
    hosts: readonly [CloudHost, CloudHost],
  ) {
    this.directory = directory;
    this.outside = outside;
    this.hosts = hosts;
  }

  /** The outside is 192.0.2.254, the hosts 192.0.2.1 and 192.0.2.2. */
  static async create(options: Partial<NetworkManagerOptions> = {}): Promise<CloudLab> {
    const directory = await temporaryDirectory();
    await chmod(directory.path, 0o755);
    await writeDhcpScript(directory.file("udhcpc"));
    const [outside, one, two] = [
      await createNetworkNamespace("hvo"),
      await createNetworkNamespace("hvh"),
      await createNetworkNamespace("hvh"),
    ];
    await one.run(["ip", "link", "add", "fabric", "type", "veth", "peer", "name", "fabric", "netns", two.name]);
    await outside.run(["ip", "link", "add", "ext", "type", "bridge"]);
    await outside.run(["ip", "address", "add", "192.0.2.254/24", "dev", "ext"]);
    await outside.run(["ip", "link", "set", "ext", "up"]);
    const peers = new LocalHostDirectory();
    const store = new MemoryNetworkStore();
    const hosts: CloudHost[] = [];
    for (const [index, host] of [one, two].entries()) {
      const port = `ext${index}`;
      await host.run(["ip", "link", "add", "ext", "type", "veth", "peer", "name", port, "netns", outside.name]);
      await host.run(["ip", "address", "add", `192.0.2.${index + 1}/24`, "dev", "ext"]);
      for (const device of ["ext", "fabric"]) await host.run(["ip", "link", "set", device, "up"]);
      await outside.run(["ip", "link", "set", port, "master", "ext", "up"]);
      const [name, hostDirectory] = [`host-${index + 1}`, directory.file(`host-${index + 1}`)];
      const network = new LinuxNetworkHost({
        ...{ name, directory: hostDirectory, netns: host.name, publicInterface: "ext", leaseSeconds: 120 },
        ...(sandboxKind() === "root" ? {} : { dnsmasqUser: "root" }),
      });
      const manager = new FlatDhcpManager({ store, host: network, directory: peers, ...options });
      peers.add(manager.peer);
      hosts.push({ name, manager, host, hostDirectory });
    }
    for (const { manager } of hosts) await manager.initHost();
    const lab = new CloudLab(directory, outside, hosts as unknown as readonly [CloudHost, CloudHost]);
    return lab;
  }

  async addGuest({ host }: CloudHost, bridge: string, macAddress: string): Promise<GuestNamespace> {
    const guest = await GuestNamespace.create(host, bridge, macAddress, this.directory.file("udhcpc"));
    this.#guests.push(guest);
    return guest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { manager } of this.hosts) await manager.close();
    for (const { namespace } of this.#guests) await namespace.remove();
    for (const { host } of this.hosts) await host.remove();
    await this.outside.remove();
    await this.directory.remove();
  }
}
