/** The network devices of this process's network namespace, read and changed by `ip`. */
import { StateCorruptError } from "../core/index.js";
import { linkExists } from "../host/index.js";
import type { CommandRunner } from "../host/index.js";

export interface LinkState {
  readonly name: string;
  /** `bridge`, `tun`, `veth`, …; absent for devices of hardware. */
  readonly kind?: string;
  /** Present for TAPs. */
  readonly tap?: {
    readonly vnetHdr: boolean;
    readonly multiQueue: boolean;
    /** Some process has it open. A TAP of one queue that is down shows nothing of that, and counts as not in use. */
    readonly inUse: boolean;
  };
  /** The bridge (or other device) that it is a port of. */
  readonly master?: string;
  readonly mtu?: number;
  readonly macAddress?: string;
  readonly alias?: string;
  readonly up: boolean;
}

export interface LinkSettings {
  readonly mtu?: number;
  readonly master?: string;
  readonly macAddress?: string;
  readonly alias?: string;
  readonly up?: boolean;
  /** False: the kernel gives the device no IPv6 link-local address. */
  readonly linkLocal?: boolean;
}

export interface LinksOptions {
  readonly commands: CommandRunner;
  /** Longest time that one `ip` may take. */
  readonly timeoutMs: number;
  /** Whether there is a device of a name; default: in the network namespace of this process. */
  readonly exists?: (name: string) => Promise<boolean>;
}

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Callers check names before they come here. Failures are those of the command runner. */
export class Links {
  readonly #commands: CommandRunner;
  readonly #timeoutMs: number;
  readonly #exists: (name: string) => Promise<boolean>;

  constructor(options: LinksOptions) {
    this.#commands = options.commands;
    this.#timeoutMs = options.timeoutMs;
    this.#exists = options.exists ?? linkExists;
  }

  /** Undefined when there is no such device, also when it goes away while it is being read. */
  async show(name: string, options: CallOptions = {}): Promise<LinkState | undefined> {
    if (!(await this.#exists(name))) return undefined;
    try {
      return parseLink(await this.#ip(["-details", "-json", "link", "show", "dev", name], options));
    } catch (error) {
      if (await this.#exists(name)) throw error;
      return undefined;
    }
  }

  /** Makes a persistent TAP with virtio-net headers; `owner` is the uid that may open it without privileges. */
  async addTap(
    name: string,
    tap: { readonly multiQueue: boolean; readonly owner?: number | undefined },
    options: CallOptions = {},
  ): Promise<void> {
    const owner = tap.owner === undefined ? [] : ["user", String(tap.owner)];
    const mode = tap.multiQueue ? ["multi_queue", "vnet_hdr"] : ["vnet_hdr"];
    await this.#ip(["tuntap", "add", "dev", name, "mode", "tap", ...owner, ...mode], options);
  }

  /** Makes a macvtap device on a parent. */
  async addMacvtap(
    name: string,
    { parent, mode }: { readonly parent: string; readonly mode: string },
    options: CallOptions = {},
  ): Promise<void> {
    await this.#ip(["link", "add", "link", parent, "name", name, "type", "macvtap", "mode", mode], options);
  }

  /** All settings in one call. */
  async set(name: string, settings: LinkSettings, options: CallOptions = {}): Promise<void> {
    await this.#ip(["link", "set", "dev", name, ...settingWords(settings)], options);
  }

  /** Success when there is no such device. */
  async remove(name: string): Promise<void> {
    if (!(await this.#exists(name))) return;
    try {
      await this.#ip(["link", "delete", "dev", name], {});
    } catch (error) {
      if (await this.#exists(name)) throw error;
    }
  }

  async #ip(words: readonly string[], options: CallOptions): Promise<string> {
    const { stdout } = await this.#commands.run(["ip", ...words], {
      timeoutMs: this.#timeoutMs,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    return stdout;
  }
}

function settingWords(settings: LinkSettings): string[] {
  const { mtu, master, macAddress, alias, up, linkLocal } = settings;
  return [
    ...(mtu === undefined ? [] : ["mtu", String(mtu)]),
    ...(macAddress === undefined ? [] : ["address", macAddress]),
    ...(alias === undefined ? [] : ["alias", alias]),
    ...(linkLocal === undefined ? [] : ["addrgenmode", linkLocal ? "eui64" : "none"]),
    ...(master === undefined ? [] : ["master", master]),
    ...(up === undefined ? [] : [up ? "up" : "down"]),
  ];
}

/** Reads what `ip -details -json link show dev X` printed. */
export function parseLink(json: string): LinkState {
  const list = parseJson(json);
  const link = Array.isArray(list) ? asRecord(list[0]) : undefined;
  const name = text(link?.ifname);
  if (link === undefined || name === undefined)
    throw new StateCorruptError("ip printed something that is not a device");
  const info = asRecord(link.linkinfo);
  const kind = text(info?.info_kind);
  const data = asRecord(info?.info_data);
  const flags = Array.isArray(link.flags) ? (link.flags as unknown[]) : [];
  const tap = kind === "tun" && data?.type === "tap" ? tapOf(data, flags.includes("LOWER_UP")) : undefined;
  const master = text(link.master);
  const macAddress = text(link.address);
  const alias = text(link.ifalias);
  return {
    name,
    ...(kind === undefined ? {} : { kind }),
    ...(tap === undefined ? {} : { tap }),
    ...(master === undefined ? {} : { master }),
    ...(typeof link.mtu === "number" ? { mtu: link.mtu } : {}),
    ...(macAddress === undefined ? {} : { macAddress }),
    ...(alias === undefined ? {} : { alias }),
    up: flags.includes("UP"),
  };
}

function tapOf(data: Record<string, unknown>, carrier: boolean): NonNullable<LinkState["tap"]> {
  const { vnet_hdr: vnetHdr, multi_queue: multiQueue, numqueues, numdisabled } = data;
  const queues = [numqueues, numdisabled].some((count) => typeof count === "number" && count > 0);
  return { vnetHdr: vnetHdr === true, multiQueue: multiQueue === true, inUse: carrier || queues };
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch (error) {
    throw new StateCorruptError("ip printed something that is not JSON", { cause: error });
  }
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
