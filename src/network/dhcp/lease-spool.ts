/** The file that DHCP servers' scripts append a line to for each lease that begins or ends, followed by this process. */
import { watch } from "node:fs";
import type { FSWatcher } from "node:fs";
import { open, rename, stat, truncate, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { EventHub } from "../../core/index.js";
import { HostIoError, errnoName } from "../../host/index.js";
import type { DhcpLeaseEvent } from "../host/network-host.js";
import { macOfDuid } from "./lease-file.js";

const MAX_BYTES = 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;

export interface LeaseSpoolOptions {
  /** In a directory that exists. */
  readonly path: string;
  /** Whose NIC an address is, where the client named no MAC address. */
  readonly macOf: (networkId: string, address: string) => string | undefined;
}

/** Publishes events from `start()` on; what was written while nobody followed is not told, since the leases themselves tell it. */
export class LeaseSpool {
  readonly #path: string;
  readonly #macOf: LeaseSpoolOptions["macOf"];
  readonly #hub = new EventHub<DhcpLeaseEvent>({ overflow: (dropped) => ({ type: "overflow", dropped }) });
  #watcher: FSWatcher | undefined;
  readonly #places = new Map<string, Place>();
  #reading: Promise<void> | undefined;
  #again = false;

  constructor(options: LeaseSpoolOptions) {
    this.#path = options.path;
    this.#macOf = options.macOf;
  }

  get path(): string {
    return this.#path;
  }

  get events(): EventHub<DhcpLeaseEvent> {
    return this.#hub;
  }

  /** @throws HostIoError */
  async start(): Promise<void> {
    if (this.#watcher !== undefined) return;
    try {
      await (await open(this.#path, "a", 0o600)).close();
      await truncate(this.#path);
      await unlink(this.#old).catch(ignoreAbsent);
      this.#places.clear();
      this.#watcher = watch(dirname(this.#path), { persistent: false }, () => this.#look());
      // Its end shows when the next start fails.
      this.#watcher.on("error", () => undefined);
    } catch (error) {
      throw new HostIoError({ operation: "following the leases", path: this.#path, cause: error });
    }
  }

  async close(): Promise<void> {
    this.#watcher?.close();
    this.#watcher = undefined;
    await this.#reading;
    this.#hub.close();
  }

  get #old(): string {
    return `${this.#path}.old`;
  }

  #look(): void {
    this.#again = true;
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
    });
  }

  async #readAll(): Promise<void> {
    while (this.#again && this.#watcher !== undefined) {
      this.#again = false;
      try {
        // A script that had opened the file before it was renamed may still write to the old one.
        if (this.#places.has(this.#old)) await this.#read(this.#old);
        await this.#read(this.#path);
        if ((this.#places.get(this.#path)?.offset ?? 0) > MAX_BYTES) await this.#turnOver();
      } catch {
        // Gone or unreadable: the leases themselves still tell.
        this.#places.clear();
      }
    }
  }

  async #turnOver(): Promise<void> {
    await rename(this.#path, this.#old);
    this.#places.set(this.#old, this.#places.get(this.#path) ?? { offset: 0, rest: "" });
    this.#places.delete(this.#path);
    await (await open(this.#path, "a", 0o600)).close();
    this.#again = true;
  }

  async #read(path: string): Promise<void> {
    const { size } = await stat(path);
    const { offset, rest } = this.#places.get(path) ?? { offset: 0, rest: "" };
    const place: Place = size < offset ? { offset: 0, rest: "" } : { offset, rest };
    this.#places.set(path, place);
    if (size === place.offset) return;
    const file = await open(path, "r");
    try {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      for (;;) {
        const { bytesRead } = await file.read(chunk, 0, CHUNK_BYTES, place.offset);
        if (bytesRead === 0) return;
        place.offset += bytesRead;
        this.#take(place, chunk.toString("latin1", 0, bytesRead));
      }
    } finally {
      await file.close();
    }
  }

  #take(place: Place, text: string): void {
    const lines = (place.rest + text).split("\n");
    place.rest = (lines.pop() ?? "").slice(-4096);
    for (const line of lines) {
      const event = parseSpoolLine(line, this.#macOf);
      if (event !== undefined) this.#hub.publish(event);
    }
  }
}

/** How far a file has been read, and the line that is not at its end yet. */
interface Place {
  offset: number;
  rest: string;
}

/** `add NETWORK MAC-or-DUID ADDRESS EXPIRY NAME`; undefined for what is no such line. */
export function parseSpoolLine(line: string, macOf: LeaseSpoolOptions["macOf"]): DhcpLeaseEvent | undefined {
  const [action, networkId, client = "", address, expiry = "", name, ...rest] = line.split(" ");
  const type = action === "add" ? "leased" : action === "del" ? "released" : undefined;
  if (type === undefined || networkId === undefined || address === undefined || rest.length > 0) return undefined;
  const macAddress = /^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(client)
    ? client.toLowerCase()
    : (macOf(networkId, address) ?? macOfDuid(client));
  if (macAddress === undefined || !/^\d{1,12}$/.test(expiry)) return undefined;
  const lease = {
    macAddress,
    address,
    ...(expiry === "0" ? {} : { expiresAt: Number(expiry) * 1000 }),
    ...(name === undefined || name === "-" ? {} : { hostname: name }),
  };
  return { type, networkId, lease };
}

function ignoreAbsent(error: unknown): void {
  if (errnoName(error) !== "ENOENT") throw error;
}
