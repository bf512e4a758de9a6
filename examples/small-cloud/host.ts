/**
 * One host of the small cloud, as a process in a network namespace of its own: guests by KVM, their networks by a manager over
 * the store that all hosts share, security groups by nftables. Others call it by its socket. Ends with its standard input.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MemorySecurityGroupSource, NftablesFirewallDriver } from "hypervise/firewall";
import type { SecurityGroup } from "hypervise/firewall";
import { KvmDriver } from "hypervise/kvm";
import { FileNetworkStore, FlatDhcpManager, LinuxNetworkHost } from "hypervise/network";
import type { MembersChange, NetworkPeer } from "hypervise/network";
import { DirectoryImageStore } from "hypervise/storage";
import { connect, serve } from "./remote.js";

export interface HostOptions {
  readonly name: string;
  /** What all hosts have: the store of networks, images, sockets. */
  readonly directory: string;
  readonly publicInterface: string;
  /** Names of all hosts. */
  readonly hosts: readonly string[];
  readonly groups: readonly SecurityGroup[];
}

/** A port and its groups, as hosts tell each other. */
export interface Member {
  readonly portId: string;
  readonly addresses: readonly string[];
  readonly groups: readonly string[];
}

export interface GuestRequest {
  readonly uuid: string;
  readonly name: string;
  readonly projectId: string;
  readonly securityGroups: readonly string[];
}

export const socketOf = (directory: string, host: string): string => join(directory, `${host}.sock`);

/** What a host does for whoever runs the cloud, and for its fellows. */
export class Host {
  readonly manager: FlatDhcpManager;
  readonly #network: LinuxNetworkHost;
  readonly #driver: KvmDriver;
  readonly #groups = new MemorySecurityGroupSource();
  readonly #ports = new Map<string, readonly string[]>();
  readonly #options: HostOptions;

  constructor(options: HostOptions) {
    const { name, directory, publicInterface, hosts, groups } = options;
    this.#options = options;
    for (const group of groups) this.#groups.setGroup(group);
    this.#network = new LinuxNetworkHost({ name, directory: join(directory, name, "network"), publicInterface });
    this.manager = new FlatDhcpManager({
      store: new FileNetworkStore({ dir: join(directory, "networks") }),
      host: this.#network,
      directory: {
        remoteHost: async (other) =>
          hosts.includes(other) ? connect<NetworkPeer>(socketOf(directory, other), "peer") : undefined,
      },
      teardownUnusedNetworks: true,
      onMembersChanged: (change) => this.#tellMembers(change),
    });
    this.#driver = new KvmDriver({
      stateDirectory: join(directory, name, "guests"),
      collaborators: {
        images: new DirectoryImageStore({ directory: join(directory, "images") }),
        firewall: new NftablesFirewallDriver({ groups: this.#groups }),
      },
    });
  }

  async open(): Promise<void> {
    await this.manager.initHost();
    await this.#driver.initHost();
  }

  async close(): Promise<void> {
    await this.#driver.close();
    await this.manager.close();
  }

  /** Addresses for a guest, then the guest on them. Resolves when it has taken them: returns the first. */
  async boot({ uuid, name, projectId, securityGroups }: GuestRequest): Promise<string> {
    const host = this.manager.hostName;
    const owner = { instanceUuid: uuid, projectId, host, hostname: name, securityGroups };
    const vifs = await this.manager.allocateForInstance(owner);
    await this.manager.setupNetworksOnHost(uuid);
    const flavor = { vcpus: 1, memoryMiB: 256, rootGiB: 0 };
    const { instance } = await this.#driver.spawn({ uuid, name, flavor, imageId: "guest", vifs });
    const address = vifs[0]?.fixedIps?.[0]?.address ?? "";
    const hasIt = async (): Promise<boolean> =>
      (await this.#driver.getGuestInterfaces(instance)).some(({ addresses }) =>
        addresses.some((one) => one.startsWith(`${address}/`)),
      );
    // Whether a guest has its address only its agent can tell, when asked.
    for (let tries = 240; !(await hasIt().catch(() => false)); tries--) {
      if (tries === 0) throw new Error(`${name} has not taken ${address}`);
      await sleep(500);
    }
    return address;
  }

  /** Has a guest run a command. */
  async run(uuid: string, command: string): Promise<string> {
    const { stdout } = await this.#driver.execInGuest({ uuid, name: uuid }, ["/bin/sh", "-c", command]);
    return Buffer.from(stdout).toString().trim();
  }

  async destroy(uuid: string): Promise<void> {
    await this.#driver.destroy({ uuid, name: uuid });
    await this.manager.deallocateForInstance(uuid);
  }

  /** What the host still has of guests and networks. */
  async leftovers(): Promise<readonly string[]> {
    const guests = await this.#driver.listInstances();
    return [...guests.map(({ name }) => name), ...(await this.#network.listNetworks())];
  }

  /** A fellow says what ports an instance has now; the filters of guests here that trust their groups follow. */
  async setMembers(instanceUuid: string, members: readonly Member[]): Promise<void> {
    const before = this.#ports.get(instanceUuid) ?? [];
    this.#ports.set(
      instanceUuid,
      members.map(({ portId }) => portId),
    );
    const gone = before.filter((portId) => !members.some((member) => member.portId === portId));
    const changed = new Set(gone.flatMap((portId) => this.#groups.deleteMember(portId)));
    for (const { portId, addresses, groups } of members)
      for (const id of this.#groups.setMember(portId, { addresses }, groups)) changed.add(id);
    for (const id of changed) await this.#driver.refreshSecurityGroupMembers(id);
  }

  async #tellMembers({ instanceUuid }: MembersChange): Promise<void> {
    const members = (await this.manager.getInstanceNwInfo(instanceUuid)).map(
      ({ id, fixedIps = [], securityGroups = [] }): Member => ({
        ...{ portId: id, groups: securityGroups },
        addresses: fixedIps.map(({ address }) => address),
      }),
    );
    for (const name of this.#options.hosts)
      await connect<Host>(socketOf(this.#options.directory, name), "host").setMembers(instanceUuid, members);
  }
}

const options = JSON.parse(process.argv[2] ?? "null") as HostOptions;
await mkdir(join(options.directory, options.name, "guests"), { recursive: true });
const host = new Host(options);
await host.open();
const { manager } = host;
const server = await serve({ host, manager, peer: manager.peer }, socketOf(options.directory, options.name));
console.log("ready");
for await (const _ of process.stdin);
server.close();
await host.close();
