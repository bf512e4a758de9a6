/** The kernel's table of flows, through `conntrack` of conntrack-tools. */
import { CommandError } from "../host/index.js";
import type { CommandRunner } from "../host/index.js";
import { formatAddress, formatRange, rangeOf } from "./policy/address-range.js";
import type { AddressRange } from "./policy/address-range.js";
import type { TrackedFlows } from "./policy/flow-cutter.js";
import type { Flow } from "./policy/permits.js";

/** A flow with the words that delete it. */
export interface ConntrackFlow extends Flow {
  readonly selector: readonly string[];
}

/** For more addresses than this the whole table is read at once. */
const MAX_LOOKUPS = 8;
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;
/** Deletions at once. Conntrack's own batches are still being worked off when they return. */
const LANES = 4;

export class ConntrackTable implements TrackedFlows<ConntrackFlow> {
  readonly #commands: CommandRunner;

  constructor(commands: CommandRunner) {
    this.#commands = commands;
  }

  async list(addresses: readonly AddressRange[]): Promise<readonly ConntrackFlow[]> {
    const found = new Map<string, ConntrackFlow>();
    for (const version of [4, 6] as const) {
      const own = addresses.filter((range) => range.version === version && !isLinkLocal(range));
      if (own.length === 0) continue;
      const isOne = own.length <= MAX_LOOKUPS && own.every(({ first, last }) => first === last);
      const lookups = isOne ? own.flatMap((range) => lookupsOf(formatRange(range))) : [[]];
      for (const lookup of lookups)
        for (const flow of await this.#read(version, lookup)) found.set(flow.selector.join(" "), flow);
    }
    return [...found.values()];
  }

  async delete(flows: readonly ConntrackFlow[]): Promise<void> {
    const queue = [...flows];
    const lane = async (): Promise<void> => {
      for (let flow = queue.pop(); flow !== undefined; flow = queue.pop())
        await this.#commands.run(["conntrack", "-D", ...flow.selector]).catch((error: unknown) => {
          // So it ends too when there is no such flow any more.
          if (!(error instanceof CommandError)) throw error;
        });
    };
    await Promise.all(Array.from({ length: Math.min(LANES, flows.length) }, lane));
  }

  async #read(version: 4 | 6, lookup: readonly string[]): Promise<readonly ConntrackFlow[]> {
    const argv = ["conntrack", "-L", "-f", version === 4 ? "ipv4" : "ipv6", ...lookup];
    const { stdout } = await this.#commands.run(argv, { maxOutputBytes: MAX_OUTPUT_BYTES });
    return stdout.split("\n").flatMap((line) => parseFlow(version, line) ?? []);
  }
}

/** As sender, as what was sent to, and as who answers, which another address may stand before. */
function lookupsOf(address: string): readonly (readonly string[])[] {
  return [
    ["--orig-src", address],
    ["--orig-dst", address],
    ["--reply-src", address],
  ];
}

/**
 * A line such as `tcp 6 431999 ESTABLISHED src=… dst=… sport=… dport=… src=… dst=… sport=… dport=… [ASSURED] mark=0 use=1`: the first of each pair is of the packet that
 * began the flow, the second of the answer, whose sender is who was reached in the end.
 */
export function parseFlow(version: 4 | 6, line: string): ConntrackFlow | undefined {
  const protocol = Number(/^\S+\s+(\d+)\s/.exec(line)?.[1]);
  const fields = [...line.matchAll(/\s(src|dst|sport|dport|type|code|id)=(\S+)/g)].map(([, name = "", value = ""]) => ({
    name,
    value,
  }));
  const values = (name: string): readonly string[] =>
    fields.filter((field) => field.name === name).map(({ value }) => value);
  const [source, reached] = values("src");
  const [sentTo] = values("dst");
  if (!Number.isInteger(protocol) || source === undefined || sentTo === undefined) return undefined;
  const [sourcePort] = values("sport");
  const [sentPort] = values("dport");
  const [, reachedPort] = values("sport");
  const [icmpType] = values("type");
  const [icmpCode] = values("code");
  const [icmpId] = values("id");
  const isIcmp = icmpType !== undefined;
  const destination = rangeOf(reached ?? sentTo).first;
  return {
    version,
    protocol,
    source: rangeOf(source).first,
    destination,
    ...(sourcePort === undefined ? {} : { sourcePort: Number(sourcePort) }),
    ...(sentPort === undefined ? {} : { destinationPort: Number(reachedPort ?? sentPort) }),
    ...(isIcmp ? { icmpType: Number(icmpType), icmpCode: Number(icmpCode ?? 0) } : {}),
    selector: [
      ...["-f", version === 4 ? "ipv4" : "ipv6", "-p", String(protocol)],
      ...["--orig-src", plain(version, source), "--orig-dst", plain(version, sentTo)],
      ...(sourcePort === undefined ? [] : ["--sport", sourcePort]),
      ...(sentPort === undefined ? [] : ["--dport", sentPort]),
      ...(isIcmp ? ["--icmp-type", icmpType, "--icmp-code", icmpCode ?? "0"] : []),
      ...(isIcmp && icmpId !== undefined ? ["--icmp-id", icmpId] : []),
    ],
  };
}

function plain(version: 4 | 6, address: string): string {
  return formatAddress(version, rangeOf(address).first);
}

/** What is said on one link only is not worth a look. */
function isLinkLocal({ version, first }: AddressRange): boolean {
  return version === 6 && first >> 118n === 0x3fan;
}
