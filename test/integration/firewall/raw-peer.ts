// A host on a bridge that speaks to a guest in packets of its own making, so that it knows just what was answered.
import { arpFrame, ipFrame, waitFor } from "../../lab/index.js";
import type { Payload, TapPort } from "../../lab/index.js";

export interface Endpoint {
  readonly mac: string;
  readonly address: string;
}

/** What the tests want to know of a frame. */
export interface SeenFrame {
  readonly sourceMac: string;
  /** The sender that it names: of an IPv4 packet or of ARP. */
  readonly source?: string;
  readonly protocol?: "arp" | "icmp" | "tcp" | "other";
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly flags?: number;
  readonly sequence?: number;
  readonly data: Buffer;
}

const [SYN, ACK, RST] = [2, 16, 4];
const ANSWER_MS = 60_000;

/** One TCP connection whose guest's end has answered. */
export interface RawFlow {
  /** Sends a text on it. */
  send(text: string): void;
  /** Whether the guest has sent this text back by now. */
  hasEcho(text: string): boolean;
}

export class RawPeer implements Endpoint {
  readonly mac: string;
  readonly address: string;
  readonly seen: SeenFrame[] = [];
  readonly #port: TapPort;
  readonly #guest: Endpoint;
  #nextPort = 30_000;

  constructor(port: TapPort, own: Endpoint, guest: Endpoint) {
    this.#port = port;
    this.mac = own.mac;
    this.address = own.address;
    this.#guest = guest;
  }

  /**
   * Which of the ports answer a new connection, be it with a refusal. A guest answers in the order in which it is asked, so the answer of the last port, which must be
   * open, ends the wait for the others.
   */
  async answering(ports: readonly number[], open: number): Promise<readonly number[]> {
    const asked = [...ports, open].map((port) => ({ port, own: this.#nextPort++ }));
    for (const { port, own } of asked) this.#sendTcp(own, port, { flags: SYN, sequence: 1 });
    const answered = ({ port, own }: (typeof asked)[number]): boolean =>
      this.seen.some(({ sourcePort, destinationPort }) => sourcePort === port && destinationPort === own);
    const last = asked[asked.length - 1] as (typeof asked)[number];
    await this.#until(() => answered(last), `an answer of port ${open}`);
    return ports.filter((_, index) => answered(asked[index] as (typeof asked)[number]));
  }

  async connect(port: number): Promise<RawFlow> {
    const own = this.#nextPort++;
    this.#sendTcp(own, port, { flags: SYN, sequence: 1 });
    const isAnswer = (frame: SeenFrame): boolean => frame.sourcePort === port && frame.destinationPort === own;
    const answer = await this.#until(() => this.seen.find(isAnswer), `an answer of port ${port}`);
    if (((answer.flags ?? 0) & RST) !== 0) throw new Error(`port ${port} refuses`);
    const acknowledgement = (answer.sequence ?? 0) + 1;
    let sequence = 2;
    this.#sendTcp(own, port, { flags: ACK, sequence, acknowledgement });
    return {
      send: (text) => {
        const data = Buffer.from(text);
        this.#sendTcp(own, port, { flags: ACK | 8, sequence, acknowledgement, data });
        sequence += data.length;
      },
      hasEcho: (text) => {
        this.look();
        return this.seen.some((frame) => isAnswer(frame) && frame.data.includes(text));
      },
    };
  }

  /** Waits until the guest has sent back what was sent on a flow. */
  async echo(flow: RawFlow, text: string): Promise<void> {
    flow.send(text);
    await this.#until(() => flow.hasEcho(text), `the echo of ${text}`);
  }

  /** Waits for a frame that came after this call or before. */
  waitForFrame(wanted: (frame: SeenFrame) => boolean): Promise<SeenFrame> {
    return this.#until(() => this.seen.find(wanted), "a frame of the guest");
  }

  /** Takes what has come in, and answers questions for our address. */
  look(): void {
    for (const frame of this.#port.receive()) {
      const parsed = parse(frame);
      this.seen.push(parsed);
      if (parsed.protocol === "arp") this.#answerArp(frame);
    }
  }

  #until<T>(condition: () => T | undefined | false, what: string): Promise<T> {
    const look = (): T | undefined | false => {
      this.look();
      return condition();
    };
    return waitFor(look, { timeoutMs: ANSWER_MS, what });
  }

  #sendTcp(
    sourcePort: number,
    destinationPort: number,
    rest: Omit<Extract<Payload, { protocol: "tcp" }>, "protocol" | "sourcePort" | "destinationPort">,
  ): void {
    const addresses = { sourceMac: this.mac, destinationMac: this.#guest.mac };
    const payload: Payload = { protocol: "tcp", sourcePort, destinationPort, ...rest };
    this.#port.send(ipFrame(addresses, { source: this.address, destination: this.#guest.address, payload }));
  }

  #answerArp(frame: Buffer): void {
    const [senderMac, senderAddress] = [macAt(frame, 22), addressAt(frame, 28)];
    if (frame.readUInt16BE(20) !== 1 || addressAt(frame, 38) !== this.address) return;
    const answer = { operation: 2, senderMac: this.mac, senderAddress: this.address } as const;
    const addresses = { sourceMac: this.mac, destinationMac: senderMac };
    this.#port.send(arpFrame(addresses, { ...answer, targetMac: senderMac, targetAddress: senderAddress }));
  }
}

function parse(frame: Buffer): SeenFrame {
  const sourceMac = macAt(frame, 6);
  const type = frame.readUInt16BE(12);
  if (type === 0x0806) return { sourceMac, source: addressAt(frame, 28), protocol: "arp", data: frame.subarray(14) };
  if (type !== 0x0800) return { sourceMac, protocol: "other", data: frame.subarray(14) };
  const start = 14 + ((frame[14] ?? 0) & 15) * 4;
  const end = 14 + frame.readUInt16BE(16);
  const common = { sourceMac, source: addressAt(frame, 26) };
  switch (frame[23]) {
    case 1:
      return { ...common, protocol: "icmp", data: frame.subarray(start + 8, end) };
    case 6: {
      const offset = ((frame[start + 12] ?? 0) >> 4) * 4;
      return {
        ...common,
        protocol: "tcp",
        sourcePort: frame.readUInt16BE(start),
        destinationPort: frame.readUInt16BE(start + 2),
        sequence: frame.readUInt32BE(start + 4),
        flags: frame[start + 13] ?? 0,
        data: frame.subarray(start + offset, end),
      };
    }
    default:
      return { ...common, protocol: "other", data: frame.subarray(start, end) };
  }
}

function macAt(frame: Buffer, at: number): string {
  return [...frame.subarray(at, at + 6)].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}

function addressAt(frame: Buffer, at: number): string {
  return [...frame.subarray(at, at + 4)].join(".");
}
