/** `ip` on a host that consists of a map of devices. */
import { CommandError } from "../../../../src/host/index.js";
import type { CommandOptions, CommandResult, CommandRunner } from "../../../../src/host/index.js";

export interface FakeLink {
  kind?: "bridge" | "tun" | "veth";
  multiQueue?: boolean;
  owner?: string;
  master?: string;
  mtu: number;
  address: string;
  alias?: string;
  up: boolean;
  /** Some process has it open. */
  inUse?: boolean;
  linkLocal: boolean;
}

export class FakeIp implements CommandRunner {
  readonly links = new Map<string, FakeLink>();
  readonly calls: string[] = [];
  /** Called before a command does anything; throws to make it fail. */
  before: (call: string) => void = () => undefined;

  readonly exists = (name: string): Promise<boolean> => Promise.resolve(this.links.has(name));

  add(name: string, link: Partial<FakeLink> = {}): FakeLink {
    const made: FakeLink = { mtu: 1500, address: "02:00:00:00:00:01", up: true, linkLocal: true, ...link };
    this.links.set(name, made);
    return made;
  }

  async run(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    options.signal?.throwIfAborted();
    const [program, ...words] = argv;
    if (program !== "ip") throw new Error(`not ip: ${program}`);
    const call = words.join(" ");
    this.calls.push(call);
    this.before(call);
    options.signal?.throwIfAborted();
    const stdout = this.#act(words, argv);
    return Promise.resolve({ stdout, stderr: "", exitCode: 0 });
  }

  #act(words: readonly string[], argv: readonly string[]): string {
    const fail = (): never => {
      throw new CommandError({ argv, exitCode: 1, stderr: "RTNETLINK answers: no" });
    };
    const name = words[words.indexOf("dev") + 1] ?? "";
    if (words[0] === "tuntap") {
      if (this.links.has(name)) fail();
      const owner = words.includes("user") ? { owner: words[words.indexOf("user") + 1] ?? "" } : {};
      this.add(name, { kind: "tun", multiQueue: words.includes("multi_queue"), up: false, ...owner });
      return "";
    }
    const link = this.links.get(name) ?? fail();
    if (words.includes("show")) return JSON.stringify([describe(name, link)]);
    if (words.includes("delete")) this.links.delete(name);
    else this.#set(link, words.slice(words.indexOf("dev") + 2), fail);
    return "";
  }

  #set(link: FakeLink, settings: readonly string[], fail: () => never): void {
    for (let i = 0; i < settings.length; i++) {
      const value = settings[i + 1] ?? "";
      switch (settings[i]) {
        case "up":
          link.up = true;
          continue;
        case "mtu":
          link.mtu = Number(value);
          break;
        case "address":
          link.address = value;
          break;
        case "alias":
          link.alias = value;
          break;
        case "addrgenmode":
          link.linkLocal = value !== "none";
          break;
        case "master":
          if (this.links.get(value)?.kind !== "bridge") fail();
          link.master = value;
          break;
        default:
          fail();
      }
      i++;
    }
  }
}

function describe(name: string, link: FakeLink): object {
  const queues = link.inUse === true ? 1 : 0;
  const data = {
    type: "tap",
    vnet_hdr: true,
    multi_queue: link.multiQueue === true,
    ...(link.multiQueue === true ? { numqueues: queues } : {}),
  };
  return {
    ifname: name,
    flags: ["BROADCAST", ...(link.up ? ["UP"] : []), ...(link.inUse === true ? ["LOWER_UP"] : ["NO-CARRIER"])],
    mtu: link.mtu,
    address: link.address,
    ...(link.master === undefined ? {} : { master: link.master }),
    ...(link.alias === undefined ? {} : { ifalias: link.alias }),
    ...(link.kind === undefined
      ? {}
      : { linkinfo: { info_kind: link.kind, ...(link.kind === "tun" ? { info_data: data } : {}) } }),
  };
}
