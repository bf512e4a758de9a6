// Hosts on one bridge, each a TAP that the test holds, and a firewall for them.
import type { FilteredInstance, FilteredPort, FirewallDriver, SecurityGroupRule } from "../../../src/firewall/index.js";
import { MemorySecurityGroupSource } from "../../../src/firewall/index.js";
import { createBridge, createTapPort, ipFrame, run } from "../../lab/index.js";
import type { LabBridge, Payload, TapPort } from "../../lab/index.js";

export interface LabHost {
  readonly number: number;
  readonly port: TapPort;
  readonly mac: string;
  readonly address: { readonly 4: string; readonly 6: string };
  readonly linkLocal: string;
}

export class FirewallLab implements AsyncDisposable {
  readonly groups = new MemorySecurityGroupSource();
  readonly hosts: LabHost[] = [];
  readonly #filtered = new Map<number, FilteredInstance>();
  #nextPort = 20_000;

  private constructor(
    readonly bridge: LabBridge,
    readonly inOneStep: boolean,
  ) {}

  /** With `inOneStep` hosts are filtered by one call: for drivers whose every change takes seconds. */
  static async create(hosts: number, { inOneStep = false } = {}): Promise<FirewallLab> {
    const bridge = await createBridge({ dhcp: false });
    await run(["ip", "address", "add", "fd77::1/64", "dev", bridge.name, "nodad"]);
    const lab = new FirewallLab(bridge, inOneStep);
    lab.hosts.push(...(await Promise.all(Array.from({ length: hosts }, (_, index) => lab.#makeHost(index + 1)))));
    return lab;
  }

  host(number: number): LabHost {
    const found = this.hosts.find((host) => host.number === number);
    if (found === undefined) throw new Error(`no host ${number}`);
    return found;
  }

  async #makeHost(number: number): Promise<LabHost> {
    const hex = number.toString(16).padStart(2, "0");
    return {
      number,
      port: await createTapPort(this.bridge.name),
      mac: `52:54:00:00:00:${hex}`,
      address: { 4: `10.77.0.${100 + number}`, 6: `fd77::${100 + number}` },
      linkLocal: `fe80::5054:ff:fe00:${number.toString(16)}`,
    };
  }

  /** An instance whose only port is this host. */
  instance(number: number, port: Partial<FilteredPort> = {}): FilteredInstance {
    const { mac, address, port: tap } = this.host(number);
    return {
      uuid: `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`,
      name: `host-${number}`,
      ports: [
        {
          id: `port-${number}`,
          macAddress: mac,
          deviceName: tap.name,
          bridge: this.bridge.name,
          fixedIps: [{ address: address[4] }, { address: address[6] }],
          subnets: [
            { cidr: "10.77.0.0/24", gateway: "10.77.0.1", dhcpServer: "10.77.0.1" },
            { cidr: "fd77::/64", gateway: "fd77::1" },
          ],
          securityGroups: [],
          ...port,
        },
      ],
    };
  }

  group(id: string, rules: readonly SecurityGroupRule[], egress?: "any" | "rules"): void {
    this.groups.setGroup({ id, rules, ...(egress === undefined ? {} : { egress }) });
  }

  /** Filters a host, in the order in which a driver does, and makes it a member of its groups. */
  async filter(firewall: FirewallDriver, number: number, port: Partial<FilteredPort> = {}): Promise<FilteredInstance> {
    const instance = this.instance(number, port);
    const { address } = this.host(number);
    const changed = this.groups.setMember(
      `port-${number}`,
      { addresses: [address[4], address[6]] },
      port.securityGroups ?? [],
    );
    if (this.inOneStep) await firewall.refreshInstanceSecurityRules(instance);
    else {
      await firewall.setupBasicFiltering(instance);
      await firewall.prepareInstanceFilter(instance);
      await firewall.applyInstanceFilter(instance);
    }
    for (const id of changed) await firewall.refreshSecurityGroupMembers(id);
    this.#filtered.set(number, instance);
    return instance;
  }

  /** Sends a frame from one host; the hosts that it has come to. */
  deliver(from: number, frame: Buffer): readonly number[] {
    for (const { port } of this.hosts) port.receive();
    this.host(from).port.send(frame);
    return this.hosts
      .filter(({ number, port }) => number !== from && port.receive().some((came) => isSame(came, frame)))
      .map(({ number }) => number);
  }

  /** Whether a packet from one host reaches the other. */
  reaches(from: number, to: number, payload: Payload, version: 4 | 6 = 4): boolean {
    const [source, destination] = [this.host(from), this.host(to)];
    const frame = ipFrame(
      { sourceMac: source.mac, destinationMac: destination.mac },
      { source: source.address[version], destination: destination.address[version], payload },
    );
    return this.deliver(from, frame).includes(to);
  }

  /** Whether the first packet of a new flow comes through: each call is another flow. */
  connects(from: number, to: number, protocol: "tcp" | "udp", destinationPort: number, version: 4 | 6 = 4): boolean {
    this.#nextPort = this.#nextPort >= 60_000 ? 20_000 : this.#nextPort + 1;
    return this.reaches(from, to, { protocol, sourcePort: this.#nextPort, destinationPort }, version);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { port } of this.hosts) port.close();
    await this.bridge.remove();
  }
}

/** A filter that looks into a packet takes off what fills its frame up. */
function isSame(came: Buffer, sent: Buffer): boolean {
  return came.length >= 28 && came.equals(sent.subarray(0, came.length));
}
