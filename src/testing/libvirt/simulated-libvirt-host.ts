/** A fake libvirt daemon with simulated domains, networks, storage and secrets behind it. */
import type { Duplex } from "node:stream";
import { systemClock } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import type { LibvirtConnector } from "../../libvirt/rpc/index.js";
import { FakeLibvirtServer } from "./fake-libvirt-server.js";
import type { FakeLibvirtServerOptions } from "./fake-libvirt-server.js";
import type { LibvirtFaults } from "./libvirt-faults.js";
import type { SimulatedGuestBehaviour } from "./simulation/behaviour.js";
import type { SimulationEngine } from "./simulation/engine.js";
import type { SimulatedLibvirtRelease } from "./simulation/release.js";
import type { ConsoleProgram } from "./simulation/domain-streams.js";
import type { AgentCommand } from "./simulation/guest-agent.js";

export interface SimulatedLibvirtHostOptions extends Omit<FakeLibvirtServerOptions, "handlers" | "onDisconnect"> {
  /** Its host name, under which others reach it. Default: `host`. */
  readonly name?: string | undefined;
  /** For everything that takes time, and for the times that it tells. Default: the system's clock. */
  readonly clock?: Clock | undefined;
  /** Which libvirt and QEMU it is where these differ: the events that they tell, versions, capabilities. Default: `9.0`. */
  readonly release?: SimulatedLibvirtRelease | undefined;
  /** Another version of its QEMU, as libvirt counts. Default: the release's. */
  readonly qemuVersion?: number | undefined;
  /** Default: 16 GiB and 8 processors. */
  readonly hardware?: { readonly memoryKiB?: bigint | undefined; readonly cpus?: number | undefined } | undefined;
  /** How all guests behave; see {@link SimulatedLibvirtHost.setBehaviour}. */
  readonly behaviour?: Partial<SimulatedGuestBehaviour> | undefined;
}

/** What is on a simulated host, by name. */
export interface SimulatedLibvirtContents {
  readonly domains: readonly { readonly name: string; readonly uuid: string; readonly active: boolean }[];
  readonly networks: readonly string[];
  readonly nwFilters: readonly string[];
  readonly nwFilterBindings: readonly string[];
  /** By uuid. */
  readonly secrets: readonly string[];
  /** As `pool/volume`. */
  readonly volumes: readonly string[];
}

/**
 * A QEMU host as libvirt shows it, without QEMU: domains go through the states, events and refusals of the real driver, with
 * its codes. It answers over the wire, so that clients, drivers and libvirt's own tools can't tell.
 *
 * ```ts
 * await using host = await SimulatedLibvirtHost.create();
 * await using libvirt = await LibvirtConnection.open("qemu:///system", { connect: host.connector });
 * ```
 */
export class SimulatedLibvirtHost implements AsyncDisposable {
  /** The daemon itself: for calls that came, replies that are held, events and frames of the test's own. */
  readonly server: FakeLibvirtServer;
  readonly #engine: SimulationEngine;

  private constructor(server: FakeLibvirtServer, engine: SimulationEngine) {
    this.server = server;
    this.#engine = engine;
    engine.host.listen(server);
  }

  /** Makes one, with a network and a storage pool called `default`; loads protocol tables and XML if they were not. */
  static async create(options: SimulatedLibvirtHostOptions = {}): Promise<SimulatedLibvirtHost> {
    const { SimulationEngine } = await import("./simulation/engine.js");
    const { RELEASE_TRAITS } = await import("./simulation/release.js");
    const { name = "host", clock = systemClock, hardware = {}, behaviour = {}, release = "9.0", qemuVersion } = options;
    const { memoryKiB = 16n * 1024n ** 2n, cpus = 8 } = hardware;
    const engine = new SimulationEngine({
      name,
      clock,
      behaviour,
      release,
      qemuVersion,
      hardware: { memoryKiB, cpus, mhz: 3000, cpuModel: "Skylake-Client" },
    });
    const server = await FakeLibvirtServer.create({
      version: RELEASE_TRAITS[release].version,
      ...options,
      handlers: engine.handlers(),
      onDisconnect: (client) => engine.clientLeft(client),
    });
    return new SimulatedLibvirtHost(server, engine);
  }

  get name(): string {
    return this.#engine.host.name;
  }

  /** For `LibvirtConnection.open`'s option `connect`: connects in memory. */
  get connector(): LibvirtConnector {
    return this.server.connector;
  }

  get faults(): LibvirtFaults {
    return this.server.faults;
  }

  /** What is on it now. */
  get contents(): SimulatedLibvirtContents {
    const { domains, networks, nwFilters, nwFilterBindings, secrets, pools } = this.#engine.host;
    return {
      domains: [...domains.values()].map(({ name, uuid, active }) => ({ name, uuid, active })),
      networks: [...networks.values()].map(({ name }) => name),
      nwFilters: [...nwFilters.keys()],
      nwFilterBindings: [...nwFilterBindings.keys()],
      secrets: [...secrets.keys()],
      volumes: [...pools.values()].flatMap(({ name, volumes }) => [...volumes.keys()].map((each) => `${name}/${each}`)),
    };
  }

  /** Connects a client in memory and returns the client's end. */
  connect(): Duplex {
    return this.server.connect();
  }

  /** Makes another host reachable for migrations from here, under its name; the other way is another call. */
  reach(other: SimulatedLibvirtHost): void {
    this.#engine.host.peers.set(other.name, other.#engine.host);
  }

  /** Changes how guests behave: all, or the one of this name or uuid. */
  setBehaviour(behaviour: Partial<SimulatedGuestBehaviour>, domain?: string): void {
    this.#engine.host.setBehaviour(behaviour, domain);
  }

  /** Answers commands of the guest agent that the simulation does not know, or in another way. */
  onAgentCommand(command: AgentCommand): void {
    this.#engine.agentCommand = command;
  }

  /** Says what guests answer at their consoles. At first they echo. */
  onConsoleInput(program: ConsoleProgram): void {
    this.#engine.consoleProgram = program;
  }

  /** Lets a guest write to its console. */
  writeConsole(domain: string, text: string | Uint8Array): Promise<void> {
    return this.#engine.writeConsole(domain, Buffer.from(text));
  }

  /** Lets the QEMU of a running domain die. @throws TypeError when no domain of the name or uuid runs */
  crashGuest(domain: string): void {
    this.#engine.crash(domain);
  }

  /** Lets a guest power itself off. @throws TypeError when no domain of the name or uuid runs */
  powerOffGuest(domain: string): void {
    this.#engine.powerOff(domain);
  }

  /** Says how large a file is that a domain has as a disk and that is in no pool. */
  setFileSize(path: string, bytes: bigint): void {
    this.#engine.host.fileSizes.set(path, bytes);
  }

  /** Hangs up on everybody as a daemon that is restarted: guests run on, what clients registered is forgotten. */
  restartDaemon(): void {
    this.server.hangUp();
  }

  /** Ends the daemon, and all that was under way. */
  async close(): Promise<void> {
    this.#engine.host.close();
    await this.server.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
