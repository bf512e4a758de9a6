/** TCP ports of the host for guests' serial consoles: handed out from a range, and held as long as the guest is defined, over the end of this process. */
import { createServer } from "node:net";
import { InvalidArgumentError, KeyedLock, check } from "../../../core/index.js";
import { NoCapacityError } from "../../../driver/index.js";
import type { GuestDefinition } from "../../../driver/index.js";
import { HostIoError, errnoName } from "../../../host/index.js";
import type { GuestState } from "../state/guest-state.js";
import type { ResourceHolder } from "../state/resource-holder.js";
import { serialPortsOf } from "./serial-console.js";
import type { SerialConsole } from "./serial-console.js";

/** Nova's `[serial_console]`. Anybody who reaches such a port has the guest's console: the address should be one that only a proxy reaches. */
export interface LibvirtSerialConsoleOptions {
  /** Where the consoles listen. Default 127.0.0.1. */
  readonly address?: string;
  /** The range of ports, both ends with it. Default 10000 to 20000. */
  readonly firstPort?: number;
  readonly lastPort?: number;
}

export type SerialPortRange = Required<LibvirtSerialConsoleOptions>;

const port = check.integer({ min: 1, max: 65_535 });
const shape = check.object({
  address: check.withDefault(check.ipAddress(), "127.0.0.1"),
  firstPort: check.withDefault(port, 10_000),
  lastPort: check.withDefault(port, 20_000),
});

/** @throws InvalidArgumentError */
export function resolveSerialPorts(options: LibvirtSerialConsoleOptions): SerialPortRange {
  const range = shape(options, "options.serialConsole");
  if (range.lastPort < range.firstPort)
    throw new InvalidArgumentError({
      field: "options.serialConsole.lastPort",
      value: range.lastPort,
      expected: `${range.firstPort} or more`,
    });
  return range;
}

/** All guests choose from the same ports. */
const TURN = "serial ports";

export class SerialPorts {
  readonly #range: SerialPortRange | undefined;
  readonly #turn = new KeyedLock();
  #states: () => readonly GuestState[] = () => [];

  /** @param range absent: consoles are pseudo terminals */
  constructor(range: SerialPortRange | undefined) {
    this.#range = range;
  }

  /** Whether there are any to give. */
  get offered(): boolean {
    return this.#range !== undefined;
  }

  /** @param states those of all guests: what they hold is not free */
  among(states: () => readonly GuestState[]): void {
    this.#states = states;
  }

  /** What a guest might get, for plans of guests that hold nothing yet. Pure. */
  example(definition: Pick<GuestDefinition, "hardware">): SerialConsole | undefined {
    if (this.#range === undefined) return undefined;
    const { address, firstPort } = this.#range;
    return { address, ports: Array.from({ length: serialPortsOf(definition) }, (_, index) => firstPort + index) };
  }

  /**
   * Sees to it that the guest holds as many ports as its definition has consoles; it keeps those that it has. Without a range it holds none. Repeatable.
   * @throws NoCapacityError when none is left; HostIoError
   */
  async claim(core: ResourceHolder, definition: GuestDefinition = core.definition): Promise<void> {
    const range = this.#range;
    if (range === undefined) return hold(core, undefined);
    await this.#turn.run(TURN, async () => {
      const { address, firstPort, lastPort } = range;
      const count = serialPortsOf(definition);
      const had = (core.state.serialConsole?.ports ?? []).filter((port) => port >= firstPort && port <= lastPort);
      await hold(core, { address, ports: await this.#fill(core, range, had.slice(0, count), count) });
    });
  }

  /** Gives a guest that is not in memory others for those that somebody else has taken. @returns whether it has others now. @throws NoCapacityError, HostIoError */
  async renew(core: ResourceHolder): Promise<boolean> {
    const range = this.#range;
    if (range === undefined || core.state.serialConsole === undefined) return false;
    return this.#turn.run(TURN, async () => {
      const { address = range.address, ports: held = [] } = core.state.serialConsole ?? {};
      const others = this.#heldByOthers(core);
      const free = await Promise.all(held.map(async (port) => !others.has(port) && (await isFree(address, port))));
      if (free.every(Boolean)) return false;
      const left = held.filter((_, index) => free[index] === true);
      await hold(core, { address: range.address, ports: await this.#fill(core, range, left, held.length) });
      return true;
    });
  }

  async #fill(
    core: ResourceHolder,
    { address, firstPort, lastPort }: SerialPortRange,
    had: readonly number[],
    count: number,
  ): Promise<readonly number[]> {
    const others = this.#heldByOthers(core);
    const ports = [...had];
    for (let port = firstPort; port <= lastPort && ports.length < count; port++) {
      if (others.has(port) || ports.includes(port)) continue;
      if (await isFree(address, port)) ports.push(port);
    }
    if (ports.length === count) return ports;
    throw new NoCapacityError(`no port of ${firstPort} to ${lastPort} is left for the guest's serial console`, {
      instance: core.instance,
    });
  }

  #heldByOthers({ definition: { uuid } }: ResourceHolder): ReadonlySet<number> {
    const others = this.#states().filter(({ definition }) => definition.uuid !== uuid);
    return new Set(others.flatMap(({ serialConsole }) => serialConsole?.ports ?? []));
  }
}

function hold(core: ResourceHolder, serialConsole: SerialConsole | undefined): Promise<void> {
  return core.update((state) => {
    if (JSON.stringify(state.serialConsole) === JSON.stringify(serialConsole)) return state;
    const { serialConsole: _, ...rest } = state;
    return serialConsole === undefined ? rest : { ...rest, serialConsole };
  });
}

/** Whether nobody listens there. What can't be seen from here, as with a daemon of another host, counts as free. */
function isFree(address: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error) => {
      const errno = errnoName(error);
      if (errno === "EADDRINUSE" || errno === "EACCES") resolve(false);
      else if (errno === "EADDRNOTAVAIL") resolve(true);
      else reject(new HostIoError({ operation: "looking for a free port", path: `${address} ${port}`, cause: error }));
    });
    server.listen({ host: address, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
