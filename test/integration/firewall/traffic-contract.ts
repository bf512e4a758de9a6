// What every firewall must do with traffic that is not just one packet from one port of a bridge to another.
import { createSocket } from "node:dgram";
import type { Socket } from "node:dgram";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { describe, expect } from "vitest";
import { arpFrame, createBridge, createTapPort, ipFragments, ipFrame, neighbourPayload, run } from "../../lab/index.js";
import type { LabBridge, Payload, TapPort } from "../../lab/index.js";
import type { FirewallHarness, Tests } from "./contract.js";
import { withLab } from "./contract.js";

const ingress = { direction: "ingress" } as const;
const egress = { direction: "egress" } as const;
const udp = (portFrom: number) => ({ ipVersion: 4, protocol: "udp", portFrom }) as const;
const tcp = (portFrom: number) => ({ ipVersion: 4, protocol: "tcp", portFrom }) as const;
const macOf = async (link: string): Promise<string> =>
  (await readFile(`/sys/class/net/${link}/address`, "utf8")).trim();

export function trafficContract(harness: FirewallHarness, { detail, skip }: Tests): void {
  const beyondBridges = harness.onlyBridged === true ? skip : detail;

  describe("traffic", () => {
    beyondBridges("of the host itself is filtered like that of others", () =>
      withLab(harness, 2, async (lab, firewall) => {
        lab.group(
          "few",
          [
            { ...ingress, ...udp(53) },
            { ...egress, ...udp(123) },
          ],
          "rules",
        );
        await lab.filter(firewall, 1, { securityGroups: ["few"] });
        await neighbour(lab.bridge, lab.host(1).address[4], lab.host(1).mac);
        const bridgeMac = await macOf(lab.bridge.name);
        using sender = await udpSocket();
        const get = async (port: number): Promise<boolean> => {
          lab.host(1).port.receive();
          await sendTo(sender.socket, port, lab.host(1).address[4]);
          return udpPortsOf(lab.host(1).port).includes(port);
        };
        expect([await get(53), await get(54)]).toEqual([true, false]);

        using open = await udpSocket(lab.bridge.address);
        using shut = await udpSocket(lab.bridge.address);
        lab.group("few", [{ ...egress, ...udp(open.port) }], "rules");
        await firewall.refreshSecurityGroupRules("few");
        // What comes through comes in the order in which it was sent.
        const first = Promise.race([once(open.socket, "message"), once(shut.socket, "message")]);
        for (const { port } of [shut, open])
          lab.host(1).port.send(
            ipFrame(
              { sourceMac: lab.host(1).mac, destinationMac: bridgeMac },
              {
                source: lab.host(1).address[4],
                destination: lab.bridge.address,
                payload: { protocol: "udp", sourcePort: 9_000, destinationPort: port, data: Buffer.from(String(port)) },
              },
            ),
          );
        expect(String((await first)[0])).toBe(String(open.port));
        // The answer to what was permitted needs no rule.
        lab.host(1).port.receive();
        await sendTo(open.socket, 9_000, lab.host(1).address[4]);
        await sendTo(shut.socket, 9_000, lab.host(1).address[4]);
        expect(udpPortsOf(lab.host(1).port)).toEqual([9_000]);
      }),
    );

    beyondBridges("that is routed is filtered like that of neighbours", () =>
      withLab(harness, 1, async (lab, firewall) => {
        await using outside = await createBridge({ subnet: "10.88.0", dhcp: false });
        using far = await createTapPort(outside.name);
        const [own, stranger] = [lab.host(1), { mac: "52:54:00:00:00:f0", address: "10.88.0.50" }];
        await run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        await neighbour(lab.bridge, own.address[4], own.mac);
        await neighbour(outside, stranger.address, stranger.mac);
        const [insideMac, outsideMac] = await Promise.all([macOf(lab.bridge.name), macOf(outside.name)]);
        const sent = (from: "inside" | "outside", sourcePort: number, destinationPort: number): boolean => {
          const payload: Payload = { protocol: "udp", sourcePort, destinationPort };
          const [out, back] = [own.address[4], stranger.address];
          const [port, other] = from === "inside" ? [own.port, far] : [far, own.port];
          other.receive();
          port.send(
            from === "inside"
              ? ipFrame({ sourceMac: own.mac, destinationMac: insideMac }, { source: out, destination: back, payload })
              : ipFrame(
                  { sourceMac: stranger.mac, destinationMac: outsideMac },
                  { source: back, destination: out, payload },
                ),
          );
          return udpPortsOf(other).includes(destinationPort);
        };
        expect(sent("outside", 1_000, 54), "without filters").toBe(true);
        lab.group(
          "few",
          [
            { ...ingress, ...udp(53) },
            { ...egress, ...udp(123) },
          ],
          "rules",
        );
        await lab.filter(firewall, 1, { securityGroups: ["few"] });
        expect([53, 55].map((port) => sent("outside", 1_001, port))).toEqual([true, false]);
        expect(sent("inside", 53, 1_001), "the answer").toBe(true);
        expect([123, 124].map((port) => sent("inside", 1_002, port))).toEqual([true, false]);
        expect(sent("outside", 123, 1_002), "the answer").toBe(true);
        expect(sent("outside", 124, 1_002)).toBe(false);
      }),
    );

    detail("in pieces comes through where the whole would", () =>
      withLab(harness, 2, async (lab, firewall) => {
        lab.group("dns", [
          { ...ingress, ...udp(53) },
          { ...ingress, ipVersion: 6, protocol: "udp", portFrom: 53 },
        ]);
        await lab.filter(firewall, 1, { securityGroups: ["dns"] });
        const data = Buffer.concat([Buffer.from("the head"), Buffer.alloc(2_600, "."), Buffer.from("the tail")]);
        const pieces = (version: 4 | 6, destinationPort: number): Buffer[] =>
          ipFragments(
            { sourceMac: lab.host(2).mac, destinationMac: lab.host(1).mac },
            {
              source: lab.host(2).address[version],
              destination: lab.host(1).address[version],
              payload: { protocol: "udp", sourcePort: 5_353, destinationPort, data },
            },
            1_280,
          );
        const arrives = (frames: readonly Buffer[]): readonly boolean[] => {
          lab.host(1).port.receive();
          for (const frame of frames) lab.host(2).port.send(frame);
          const came = lab.host(1).port.receive();
          return ["the head", "the tail"].map((mark) => came.some((frame) => frame.includes(mark)));
        };
        for (const version of [4, 6] as const) {
          expect(arrives(pieces(version, 54)), `IPv${version}`).toEqual([false, false]);
          expect(arrives(pieces(version, 53)), `IPv${version}`).toEqual([true, true]);
          expect(arrives(pieces(version, 55).slice(1)), `IPv${version}`).toEqual([false, false]);
        }
      }),
    );

    detail("for all hosts of a bridge is decided for by groups where the driver can", () =>
      withLab(harness, 2, async (lab, firewall) => {
        lab.group("discovery", [{ ...ingress, ...udp(5_353) }]);
        await lab.filter(firewall, 1, { securityGroups: ["discovery"] });
        const comes = (destinationMac: string, destination: string, destinationPort: number): boolean =>
          lab
            .deliver(
              2,
              ipFrame(
                { sourceMac: lab.host(2).mac, destinationMac },
                {
                  source: lab.host(2).address[4],
                  destination,
                  payload: { protocol: "udp", sourcePort: 5_353, destinationPort },
                },
              ),
            )
            .includes(1);
        const isOpen = harness.decidesForBroadcasts !== true;
        expect(comes("ff:ff:ff:ff:ff:ff", "10.77.0.255", 137)).toBe(isOpen);
        expect(comes("01:00:5e:00:00:fb", "224.0.0.251", 137)).toBe(isOpen);
        expect(comes("01:00:5e:00:00:fb", "224.0.0.251", 5_353)).toBe(true);
      }),
    );

    detail("of DHCPv6 goes from a client to a server and back, where a subnet names one", () =>
      withLab(harness, 3, async (lab, firewall) => {
        lab.group("nothing", [], "rules");
        const subnets = [{ cidr: "fd77::/64", dhcpServer: lab.host(2).address[6] }];
        await lab.filter(firewall, 1, { securityGroups: ["nothing"], subnets });
        await lab.filter(firewall, 3, { securityGroups: ["nothing"], subnets: [{ cidr: "fd77::/64" }] });
        const says = (from: number, to: number, sourcePort: number, destinationPort: number): readonly number[] => {
          const toAll = destinationPort === 547;
          return lab.deliver(
            from,
            ipFrame(
              { sourceMac: lab.host(from).mac, destinationMac: toAll ? "33:33:00:01:00:02" : lab.host(to).mac },
              {
                source: lab.host(from).linkLocal,
                destination: toAll ? "ff02::1:2" : lab.host(to).linkLocal,
                payload: { protocol: "udp", sourcePort, destinationPort },
              },
            ),
          );
        };
        expect(says(1, 2, 546, 547)).toContain(2);
        expect([says(2, 1, 547, 546), says(2, 3, 547, 546)]).toEqual([[1], []]);
        // A guest is no server, and what is not DHCP needs a rule.
        expect([says(1, 2, 547, 546), says(1, 2, 546, 548), says(2, 1, 547, 548)]).toEqual([[], [], []]);
      }),
    );

    detail("that a provider comes to bar is cut while it flows", () =>
      withLab(harness, 3, async (lab, firewall) => {
        lab.group("any", [{ ...ingress, ipVersion: 4 }]);
        await lab.filter(firewall, 1, { securityGroups: ["any"] });
        const flow = (from: number) => {
          const there = { protocol: "tcp", sourcePort: 43_000, destinationPort: 80 } as const;
          const answer = { protocol: "tcp", sourcePort: 80, destinationPort: 43_000 } as const;
          expect(lab.reaches(from, 1, { ...there, sequence: 1 })).toBe(true);
          expect(lab.reaches(1, from, { ...answer, flags: 18, sequence: 9, acknowledgement: 2 })).toBe(true);
          return () => lab.reaches(from, 1, { ...there, flags: 16, sequence: 2, acknowledgement: 10 });
        };
        const [ofTwo, ofThree] = [flow(2), flow(3)];
        expect([ofTwo(), ofThree()]).toEqual([true, true]);
        lab.groups.setProviderRules([{ ipVersion: 4, cidr: `${lab.host(3).address[4]}/32` }]);
        await firewall.refreshProviderFirewallRules();
        expect([ofTwo(), ofThree()]).toEqual([true, false]);
      }),
    );
  });

  describe("allowed addresses", () => {
    detail("are spoken for in ARP and neighbour discovery too, each for its own MAC address", () =>
      withLab(harness, 3, async (lab, firewall) => {
        lab.group("any", [
          { ...ingress, ...tcp(80) },
          { ...ingress, ipVersion: 6, protocol: "tcp", portFrom: 80 },
        ]);
        const virtual = "00:00:5e:00:01:0a";
        const allowedAddressPairs = [
          { address: "10.77.0.200" },
          { address: "10.77.1.0/24", macAddress: virtual },
          { address: "fd77:0:0:1::/64" },
        ];
        await lab.filter(firewall, 1, { securityGroups: ["any"], allowedAddressPairs });
        const { mac, linkLocal } = lab.host(1);
        const announces = (sourceMac: string, senderAddress: string): boolean =>
          lab
            .deliver(
              1,
              arpFrame(
                { sourceMac, destinationMac: "ff:ff:ff:ff:ff:ff" },
                { operation: 1, senderMac: sourceMac, senderAddress, targetAddress: "10.77.0.102" },
              ),
            )
            .includes(2);
        expect([announces(mac, "10.77.0.200"), announces(virtual, "10.77.1.9")]).toEqual([true, true]);
        expect([announces(mac, "10.77.1.9"), announces(virtual, "10.77.0.200")]).toEqual([false, false]);
        const says = (source: string, payload: Payload): boolean =>
          lab
            .deliver(
              1,
              ipFrame(
                { sourceMac: mac, destinationMac: lab.host(2).mac },
                { source, destination: source === linkLocal ? lab.host(2).linkLocal : lab.host(2).address[6], payload },
              ),
            )
            .includes(2);
        const query: Payload = { protocol: "udp", sourcePort: 9, destinationPort: 9 };
        expect([says("fd77:0:0:1::5", query), says("fd77:0:0:2::5", query)]).toEqual([true, false]);
        expect(says(linkLocal, neighbourPayload(136, "fd77:0:0:1::5"))).toBe(true);
        if (harness.readsAdvertisements !== false)
          expect(says(linkLocal, neighbourPayload(136, "fd77:0:0:2::5"))).toBe(false);
        // What a port may send from it may be sent to, as far as its groups permit it.
        const comes = (destination: string, destinationPort: number): boolean => {
          const version = destination.includes(":") ? 6 : 4;
          const payload: Payload = { protocol: "tcp", sourcePort: 4_321, destinationPort };
          return lab
            .deliver(
              2,
              ipFrame(
                { sourceMac: lab.host(2).mac, destinationMac: mac },
                { source: lab.host(2).address[version], destination, payload },
              ),
            )
            .includes(1);
        };
        for (const address of ["10.77.0.200", "10.77.1.77", "fd77:0:0:1::5"])
          expect([comes(address, 80), comes(address, 81)], address).toEqual([true, false]);
      }),
    );

    detail("do not matter where port security is off, which can be switched on", () =>
      withLab(harness, 3, async (lab, firewall) => {
        lab.group("any", [{ ...ingress, ipVersion: 4 }]);
        await lab.filter(firewall, 1, { securityGroups: ["any"], portSecurityEnabled: false });
        const [one, two, three] = [lab.host(1), lab.host(2), lab.host(3)];
        const spoofs = (): readonly boolean[] => {
          const payload: Payload = { protocol: "udp", sourcePort: 7, destinationPort: 7 };
          const destination = two.address[4];
          return [
            ipFrame(
              { sourceMac: three.mac, destinationMac: two.mac },
              { source: one.address[4], destination, payload },
            ),
            ipFrame(
              { sourceMac: one.mac, destinationMac: two.mac },
              { source: three.address[4], destination, payload },
            ),
            ipFrame(
              { sourceMac: one.mac, destinationMac: two.mac },
              {
                source: one.linkLocal,
                destination: two.linkLocal,
                payload: { protocol: "icmpv6", type: 134, data: Buffer.alloc(12) },
              },
            ),
          ].map((frame) => lab.deliver(1, frame).length > 0);
        };
        expect(spoofs()).toEqual([true, true, true]);
        await lab.filter(firewall, 1, { securityGroups: ["any"] });
        expect(spoofs()).toEqual([false, false, false]);
        await lab.filter(firewall, 1, { securityGroups: ["any"], portSecurityEnabled: false });
        expect(spoofs()).toEqual([true, true, true]);
      }),
    );
  });
}

interface UdpSocket extends Disposable {
  readonly socket: Socket;
  readonly port: number;
}

async function udpSocket(address?: string): Promise<UdpSocket> {
  const socket = createSocket("udp4");
  socket.bind(0, address);
  await once(socket, "listening");
  return { socket, port: socket.address().port, [Symbol.dispose]: () => void socket.close() };
}

/** Resolves when the kernel has done with it, which is when it has come to a port of a bridge or was dropped. */
function sendTo(socket: Socket, port: number, address: string): Promise<void> {
  // A filter that drops what a socket of its own host sends may tell the socket so.
  return new Promise((resolve) => socket.send("x", port, address, () => resolve()));
}

async function neighbour(bridge: LabBridge, address: string, mac: string): Promise<void> {
  await run(["ip", "neigh", "replace", address, "lladdr", mac, "dev", bridge.name, "nud", "permanent"]);
}

/** To which ports UDP has come. */
function udpPortsOf(port: TapPort): number[] {
  return port
    .receive()
    .filter((frame) => frame.readUInt16BE(12) === 0x0800 && frame[23] === 17)
    .map((frame) => frame.readUInt16BE(14 + ((frame[14] ?? 0) & 15) * 4 + 2));
}
