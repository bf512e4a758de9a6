// A LibvirtDriver on a simulated daemon, with simulated collaborators: everything that it has on its host can be listed.
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryStateStore, systemClock } from "../../../../../src/core/index.js";
import type { Clock } from "../../../../../src/core/index.js";
import type { InstanceRef } from "../../../../../src/driver/index.js";
import { FakeProcess, FakeWorld, createFakeCollaborators } from "../../../../../src/fake/index.js";
import { LibvirtDriver } from "../../../../../src/libvirt/driver/index.js";
import type { LibvirtDriverOptions } from "../../../../../src/libvirt/driver/index.js";
import { MemorySecretStore } from "../../../../../src/storage/index.js";
import { LibvirtClient, parseDomainXml } from "../../../../../src/libvirt/index.js";
import { readDomain } from "../../../../../src/libvirt/driver/plan/index.js";
import { SimulatedLibvirtHost } from "../../../../../src/testing/libvirt/index.js";
import { smallSpec } from "../../../driver/support/specs.js";

export const instance: InstanceRef = { uuid: smallSpec().uuid, name: smallSpec().name };

/** Short waits: nobody in these tests is slow. */
const TIMEOUTS = { shutdownGraceMs: 300, shutdownResendMs: 100, softRebootMs: 1_000, undoMs: 30_000, detachMs: 20_000 };

export interface LibvirtStageOptions {
  readonly initHost?: boolean;
  readonly name?: string;
  /** The collaborators' and so the choreography's. */
  readonly clock?: Clock;
}

export class LibvirtStage {
  readonly host: SimulatedLibvirtHost;
  readonly world: FakeWorld;
  readonly stateDirectory: string;
  /** Keys of encrypted volumes. */
  readonly secrets = new MemorySecretStore();
  readonly #state = new MemoryStateStore();
  readonly #options: Partial<LibvirtDriverOptions>;
  driver: LibvirtDriver;

  private constructor(
    host: SimulatedLibvirtHost,
    world: FakeWorld,
    stateDirectory: string,
    options: Partial<LibvirtDriverOptions>,
  ) {
    this.host = host;
    this.world = world;
    this.stateDirectory = stateDirectory;
    this.#options = options;
    this.driver = this.#open();
  }

  /** Opens a driver. */
  static async open(
    options: Partial<LibvirtDriverOptions> = {},
    { initHost = true, name = "host", clock = systemClock }: LibvirtStageOptions = {},
  ): Promise<LibvirtStage> {
    const host = await SimulatedLibvirtHost.create({ name });
    const world = new FakeWorld({ clock });
    for (const volumeId of ["vol-1", "vol-2", "vol-3"]) world.volumes.create({ volumeId });
    const stage = new LibvirtStage(host, world, await mkdtemp(join(tmpdir(), "ls-")), options);
    if (initHost) await stage.driver.initHost();
    return stage;
  }

  /** Another process takes over. */
  async restart({ initHost = true } = {}): Promise<LibvirtDriver> {
    await this.driver.close();
    this.driver = this.#open();
    if (initHost) await this.driver.initHost();
    return this.driver;
  }

  /** A driver that only looks, beside this one, on the same state. It is the caller's to open and close. */
  openReader(): LibvirtDriver {
    return this.#open({ readOnly: true });
  }

  /** All that is on the host: libvirt's, the collaborators', the driver's. */
  async ledger(): Promise<readonly string[]> {
    await using client = await LibvirtClient.open("qemu:///system", { connect: this.host.connector });
    const domains = await Promise.all(
      (await client.listAllDomains()).map(async (domain) => {
        const { state } = await domain.getState();
        const configured = readDomain(parseDomainXml(await domain.getXmlDesc({ flags: ["inactive"] })));
        const live = readDomain(parseDomainXml(await domain.getXmlDesc()));
        const devices = ({ disks, nics, devices: others }: typeof live): string =>
          [
            ...disks.map(({ id, source }) => `${id}=${source}`),
            ...nics.map(({ id }) => id),
            ...others.map(({ id }) => id),
          ]
            .sort()
            .join(" ");
        return `domain ${domain.name} ${state} [${devices(configured)}] [${devices(live)}]`;
      }),
    );
    const keys = (await this.#state.list("")).filter((key) => !key.startsWith("instances/"));
    const records = await Promise.all(
      keys.map(async (key) => `state ${key} ${JSON.stringify(await this.#state.get(key))}`),
    );
    const files = await readdir(join(this.stateDirectory, "guests")).catch((): string[] => []);
    return [
      ...domains,
      ...this.host.contents.secrets.map((uuid) => `secret ${uuid}`),
      ...records.map((line) => line.replace(/,"startedAt":\d+/, "")),
      ...files.map((name) => `directory ${name}`),
      ...this.world.ledger().map((entry) => JSON.stringify(entry)),
    ].sort();
  }

  async close(): Promise<void> {
    await this.driver.close();
    await this.host.close();
    await rm(this.stateDirectory, { recursive: true, force: true });
  }

  #open(more: Partial<LibvirtDriverOptions> = {}): LibvirtDriver {
    const { state: _state, ...collaborators } = createFakeCollaborators(
      new FakeProcess([...this.world.hosts][0] ?? this.world.addHost()),
      this.#state,
    );
    return new LibvirtDriver({
      stateDirectory: this.stateDirectory,
      virtType: "qemu",
      connection: { connect: this.host.connector },
      state: this.#state,
      timeouts: TIMEOUTS,
      libvirtTimeouts: { queryMs: 1_000, killMs: 2_000, callMs: 10_000, letGoMs: 20_000 },
      ...this.#options,
      ...more,
      collaborators: { ...collaborators, secrets: this.secrets, ...this.#options.collaborators },
    });
  }
}
