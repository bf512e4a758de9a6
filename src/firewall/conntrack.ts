/** The kernel's table of flows, through `conntrack` of conntrack-tools. */
import { CommandError } from "../host/index.js";
import type { CommandRunner } from "../host/index.js";
import { formatAddress, formatRange, rangeOf } from "./policy/address-range.js";
import type { AddressRange } from "./policy/address-range.js";
import type { DoomedFlows, TrackedFlows } from "./policy/flow-cutter.js";
import { flowDeletions } from "./flow-deletions.js";
import type { SelectableFlow } from "./flow-deletions.js";

/** For more addresses than this the whole table is read at once. */
const MAX_LOOKUPS = 8;
/** Each listing walks the whole table in the kernel, so one of all is cheaper than three of an address until there is this much to print. */
const LARGE_TABLE = 4_096;
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;
/** Deletions at once. Conntrack's own batches are still being worked off when they return. */
const LANES = 4;

export class ConntrackTable implements TrackedFlows<SelectableFlow> {
  readonly #commands: CommandRunner;
  /** Whether there were many flows when last looked. */
  #isLarge = false;

  constructor(commands: CommandRunner) {
    this.#commands = commands;
  }

  async list(addresses: readonly AddressRange[]): Promise<readonly SelectableFlow[]> {
    const lists = await Promise.all(
      ([4, 6] as const).map(async (version) => {
        const own = addresses.filter((range) => range.version === version && !isLinkLocal(range));
        return own.length === 0 ? [] : this.#listOf(version, own);
      }),
    );
    return [...new Map(lists.flat().map((flow) => [flow.selector.join(" "), flow])).values()];
  }

  async delete({ doomed, kept, addresses }: DoomedFlows<SelectableFlow>): Promise<void> {
    const queue = [...flowDeletions(doomed, kept, addresses)];
    const lane = async (): Promise<void> => {
      for (let words = queue.pop(); words !== undefined; words = queue.pop())
        await this.#commands
          .run(["conntrack", "-D", ...words], { maxOutputBytes: MAX_OUTPUT_BYTES })
          .catch((error: unknown) => {
            // So it ends too when there is no such flow any more.
            if (!(error instanceof CommandError)) throw error;
          });
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  }

  async #listOf(version: 4 | 6, own: readonly AddressRange[]): Promise<readonly SelectableFlow[]> {
    const areSingle = own.every(({ first, last }) => first === last);
    if (this.#isLarge && areSingle && own.length <= MAX_LOOKUPS) {
      this.#isLarge = (await this.#count()) > LARGE_TABLE;
      const found: SelectableFlow[] = [];
      for (const range of own) {
        const lists = await Promise.all(lookupsOf(formatRange(range)).map((lookup) => this.#read(version, lookup)));
        found.push(...lists.flat().flatMap((line) => parseFlow(version, line) ?? []));
      }
      return found;
    }
    const lines = await this.#read(version);
    this.#isLarge = lines.length > LARGE_TABLE;
    // Only lines that name an address are worth the work; of IPv6 there is more than one way to write one.
    const names = version === 4 && areSingle ? own.map((range) => `=${formatRange(range)} `) : undefined;
    const telling = names === undefined ? lines : lines.filter((line) => names.some((name) => line.includes(name)));
    return telling.flatMap((line) => parseFlow(version, line) ?? []);
  }

  async #read(version: 4 | 6, lookup: readonly string[] = []): Promise<readonly string[]> {
    const argv = ["conntrack", "-L", "-f", version === 4 ? "ipv4" : "ipv6", ...lookup];
    const { stdout } = await this.#commands.run(argv, { maxOutputBytes: MAX_OUTPUT_BYTES });
    return stdout.split("\n");
  }

  /** Flows in all. */
  async #count(): Promise<number> {
    const { stdout } = await this.#commands.run(["conntrack", "-C"]);
    return Number(stdout);
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
export function parseFlow(version: 4 | 6, line: string): SelectableFlow | undefined {
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
  const ends = { source, destination: reached ?? sentTo };
  return {
    version,
    protocol,
    source: rangeOf(ends.source).first,
    destination: rangeOf(ends.destination).first,
    ends,
    ...(sourcePort === undefined ? {} : { sourcePort: Number(sourcePort) }),
    ...(sentPort === undefined ? {} : { destinationPort: Number(reachedPort ?? sentPort) }),
    ...(sentPort === undefined ? {} : { sentPort: Number(sentPort) }),
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
