// Ethernet frames as bytes, for sending what a guest would and would not send.
import ipaddr from "ipaddr.js";

export interface EthernetAddresses {
  readonly sourceMac: string;
  readonly destinationMac: string;
}

export interface IpAddresses {
  readonly source: string;
  readonly destination: string;
}

/** What an IP packet carries. */
export type Payload =
  | {
      readonly protocol: "udp";
      readonly sourcePort: number;
      readonly destinationPort: number;
      readonly data?: Uint8Array;
    }
  | {
      readonly protocol: "tcp";
      readonly sourcePort: number;
      readonly destinationPort: number;
      /** Of SYN 2, ACK 16, FIN 1, RST 4. Default SYN. */
      readonly flags?: number;
      readonly sequence?: number;
      readonly acknowledgement?: number;
      readonly data?: Uint8Array;
    }
  | { readonly protocol: "icmp" | "icmpv6"; readonly type: number; readonly code?: number; readonly data?: Uint8Array }
  | { readonly protocol: number; readonly data?: Uint8Array };

export interface IpPacket extends IpAddresses {
  readonly payload: Payload;
  readonly hopLimit?: number;
}

export function bytesOfMac(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(":", ""), "hex");
}

export function bytesOfAddress(address: string): Buffer {
  return Buffer.from(ipaddr.parse(address).toByteArray());
}

export function ethernet(
  { sourceMac, destinationMac }: EthernetAddresses,
  etherType: number,
  body: Uint8Array,
): Buffer {
  const type = Buffer.alloc(2);
  type.writeUInt16BE(etherType);
  const frame = Buffer.concat([bytesOfMac(destinationMac), bytesOfMac(sourceMac), type, body]);
  return frame.length >= 60 ? frame : Buffer.concat([frame, Buffer.alloc(60 - frame.length)]);
}

/** An IPv4 or IPv6 packet in its frame. */
export function ipFrame(addresses: EthernetAddresses, packet: IpPacket): Buffer {
  return packet.source.includes(":")
    ? ethernet(addresses, 0x86dd, ipv6(packet))
    : ethernet(addresses, 0x0800, ipv4(packet));
}

/** The same in pieces whose data are of `size` bytes, a multiple of 8; the last one has the rest. */
export function ipFragments(addresses: EthernetAddresses, packet: IpPacket, size: number): Buffer[] {
  const { source, destination, payload } = packet;
  const body = transport(source, destination, payload);
  const identification = 0x4242;
  const frames: Buffer[] = [];
  for (let at = 0; at < body.length; at += size) {
    const data = body.subarray(at, at + size);
    const more = at + size < body.length;
    if (source.includes(":")) {
      const head = Buffer.alloc(8);
      head[0] = protocolNumber(payload);
      head.writeUInt16BE(at | (more ? 1 : 0), 2);
      head.writeUInt32BE(identification, 4);
      frames.push(ipFrame(addresses, { ...packet, payload: { protocol: 44, data: Buffer.concat([head, data]) } }));
    } else {
      const whole = ipFrame(addresses, { ...packet, payload: { protocol: protocolNumber(payload), data } });
      const header = whole.subarray(14, 34);
      header.writeUInt16BE(identification, 4);
      header.writeUInt16BE((at >> 3) | (more ? 0x2000 : 0), 6);
      header.writeUInt16BE(0, 10);
      header.writeUInt16BE(checksum(header), 10);
      frames.push(whole);
    }
  }
  return frames;
}

export interface ArpPacket {
  readonly operation: 1 | 2;
  readonly senderMac: string;
  readonly senderAddress: string;
  readonly targetMac?: string;
  readonly targetAddress: string;
}

export function arpFrame(addresses: EthernetAddresses, arp: ArpPacket): Buffer {
  const head = Buffer.from([0, 1, 8, 0, 6, 4, 0, arp.operation]);
  return ethernet(
    addresses,
    0x0806,
    Buffer.concat([
      head,
      bytesOfMac(arp.senderMac),
      bytesOfAddress(arp.senderAddress),
      bytesOfMac(arp.targetMac ?? "00:00:00:00:00:00"),
      bytesOfAddress(arp.targetAddress),
    ]),
  );
}

/** A neighbour advertisement (136) or solicitation (135) about a target. */
export function neighbourPayload(type: 135 | 136, target: string): Payload {
  return { protocol: "icmpv6", type, data: Buffer.concat([Buffer.alloc(4), bytesOfAddress(target)]) };
}

function ipv4({ source, destination, payload, hopLimit = 64 }: IpPacket): Buffer {
  const body = transport(source, destination, payload);
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + body.length, 2);
  header.writeUInt16BE(0x4000, 6);
  header[8] = hopLimit;
  header[9] = protocolNumber(payload);
  bytesOfAddress(source).copy(header, 12);
  bytesOfAddress(destination).copy(header, 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, body]);
}

function ipv6({ source, destination, payload, hopLimit = 255 }: IpPacket): Buffer {
  const body = transport(source, destination, payload);
  const header = Buffer.alloc(8);
  header[0] = 0x60;
  header.writeUInt16BE(body.length, 4);
  header[6] = protocolNumber(payload);
  header[7] = hopLimit;
  return Buffer.concat([header, bytesOfAddress(source), bytesOfAddress(destination), body]);
}

function protocolNumber({ protocol }: Payload): number {
  return typeof protocol === "number" ? protocol : { udp: 17, tcp: 6, icmp: 1, icmpv6: 58 }[protocol];
}

function transport(source: string, destination: string, payload: Payload): Buffer {
  const data = payload.data ?? Buffer.alloc(0);
  if (typeof payload.protocol === "number") return Buffer.from(data);
  switch (payload.protocol) {
    case "icmp":
    case "icmpv6": {
      const { type, code = 0 } = payload as { readonly type: number; readonly code?: number };
      const message = Buffer.concat([Buffer.from([type, code, 0, 0]), data.length === 0 ? Buffer.alloc(4) : data]);
      message.writeUInt16BE(
        payload.protocol === "icmp" ? checksum(message) : pseudoChecksum(source, destination, 58, message),
        2,
      );
      return message;
    }
    case "udp": {
      const { sourcePort, destinationPort } = payload as {
        readonly sourcePort: number;
        readonly destinationPort: number;
      };
      const message = Buffer.concat([Buffer.alloc(8), data]);
      message.writeUInt16BE(sourcePort, 0);
      message.writeUInt16BE(destinationPort, 2);
      message.writeUInt16BE(message.length, 4);
      message.writeUInt16BE(pseudoChecksum(source, destination, 17, message) || 0xffff, 6);
      return message;
    }
    case "tcp": {
      const tcp = payload;
      const message = Buffer.concat([Buffer.alloc(20), data]);
      message.writeUInt16BE(tcp.sourcePort, 0);
      message.writeUInt16BE(tcp.destinationPort, 2);
      message.writeUInt32BE(tcp.sequence ?? 1_000, 4);
      message.writeUInt32BE(tcp.acknowledgement ?? 0, 8);
      message[12] = 0x50;
      message[13] = tcp.flags ?? 2;
      message.writeUInt16BE(65_535, 14);
      message.writeUInt16BE(pseudoChecksum(source, destination, 6, message), 16);
      return message;
    }
  }
}

function pseudoChecksum(source: string, destination: string, protocol: number, message: Buffer): number {
  const [from, to] = [bytesOfAddress(source), bytesOfAddress(destination)];
  const tail = Buffer.alloc(from.length === 4 ? 4 : 8);
  if (from.length === 4) {
    tail[1] = protocol;
    tail.writeUInt16BE(message.length, 2);
  } else {
    tail.writeUInt32BE(message.length, 0);
    tail[7] = protocol;
  }
  return checksum(Buffer.concat([from, to, tail, message]));
}

/** RFC 1071. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
