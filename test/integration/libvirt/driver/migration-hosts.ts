// Two private libvirtds, each with a driver, and an instance on the first that never rests and says so; their disks are on shared storage, or not.
import { randomUUID } from "node:crypto";
import { mkdir, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { DriverEvent, InstanceRef, InstanceSpec, LiveMigrateData } from "../../../../src/driver/index.js";
import { LibvirtDriver } from "../../../../src/libvirt/driver/index.js";
import type { LibvirtDriverOptions } from "../../../../src/libvirt/driver/index.js";
import { LibvirtClient } from "../../../../src/libvirt/index.js";
import { UserNetworkPlugger } from "../../../../src/network/index.js";
import { DirectoryImageStore, LocalDiskBackend } from "../../../../src/storage/index.js";
import { temporaryDirectory, waitFor } from "../../../lab/index.js";
import type { TemporaryDirectory } from "../../../lab/index.js";
import { startLibvirtd } from "../../../lab/libvirtd.js";
import type { LabLibvirtd } from "../../../lab/libvirtd.js";
import { writeBusyGuest, writeFullGuest } from "../../kvm/busy-guest.js";

export type Place = "a" | "b";

/** What a driver of one of the hosts is opened with, in this process or another. */
export interface HostSettings {
  readonly stateDirectory: string;
  readonly images: string;
  readonly disks: string;
  readonly uri: string;
}

export function openMigratingDriver(
  settings: HostSettings,
  options: Partial<LibvirtDriverOptions> = {},
): LibvirtDriver {
  const { stateDirectory, images, disks, uri } = settings;
  return new LibvirtDriver({
    stateDirectory,
    virtType: "qemu",
    uri,
    migration: { connectionUri: uri, address: "127.0.0.1", listenAddress: "127.0.0.1", copy: "running" },
    collaborators: {
      images: new DirectoryImageStore({ directory: images }),
      disks: new LocalDiskBackend({ directory: disks }),
      vifs: new UserNetworkPlugger(),
    },
    ...options,
  });
}

const HOSTS = {
  a: { uuid: "7f1d9a52-1111-4c7a-8a6e-00000000000a", port: 16_641, ports: [49_620, 49_629] },
  b: { uuid: "7f1d9a52-1111-4c7a-8a6e-00000000000b", port: 16_651, ports: [49_630, 49_639] },
} as const;

export class MigrationHosts implements AsyncDisposable {
  readonly daemons: { readonly [P in Place]: LabLibvirtd };
  readonly clients: { readonly [P in Place]: LibvirtClient };
  readonly #directory: TemporaryDirectory;
  readonly #drivers: { [P in Place]?: LibvirtDriver } = {};
  readonly #told: { readonly [P in Place]: string[] } = { a: [], b: [] };
  #shared = true;

  private constructor(
    directory: TemporaryDirectory,
    daemons: MigrationHosts["daemons"],
    clients: MigrationHosts["clients"],
  ) {
    this.#directory = directory;
    this.daemons = daemons;
    this.clients = clients;
  }

  static async open(): Promise<MigrationHosts> {
    const directory = await temporaryDirectory("lm-");
    const start = (place: Place): Promise<LabLibvirtd> => {
      const { uuid, port, ports } = HOSTS[place];
      return startLibvirtd({
        config: [`host_uuid = "${uuid}"`],
        qemuConfig: [`migration_port_min = ${ports[0]}`, `migration_port_max = ${ports[1]}`],
        cacheDirectory: directory.file("cache"),
        port,
      });
    };
    const images = new DirectoryImageStore({ directory: directory.file("images") });
    await images.import({ id: "busy", format: "raw", path: await writeBusyGuest(directory.file("busy.img")) });
    await images.import({ id: "full", format: "raw", path: await writeFullGuest(directory.file("full.img")) });
    const a = await start("a");
    const b = await start("b");
    const connect = ({ uri }: LabLibvirtd): Promise<LibvirtClient> =>
      LibvirtClient.open(uri("qemu"), { reconnect: true, timeouts: { callMs: 90_000 } });
    for (const place of ["a", "b"]) await mkdir(directory.file(place));
    return new MigrationHosts(directory, { a, b }, { a: await connect(a), b: await connect(b) });
  }

  settings(place: Place): HostSettings {
    return {
      stateDirectory: this.#directory.file(place),
      images: this.#directory.file("images"),
      disks: this.#directory.file(this.#shared ? "disks" : join(place, "disks")),
      uri: this.daemons[place].uri("qemu"),
    };
  }

  /** Opens both drivers, on shared storage or not. */
  async openBoth(
    shared = true,
    options: Partial<LibvirtDriverOptions> = {},
  ): Promise<readonly [LibvirtDriver, LibvirtDriver]> {
    await this.close("a");
    await this.close("b");
    this.#shared = shared;
    return [await this.reopen("a", options), await this.reopen("b", options)];
  }

  async reopen(place: Place, options: Partial<LibvirtDriverOptions> = {}): Promise<LibvirtDriver> {
    await this.close(place);
    const driver = openMigratingDriver(this.settings(place), options);
    this.#drivers[place] = driver;
    void this.#listen(place, driver.events());
    await driver.initHost();
    return driver;
  }

  async close(place: Place): Promise<void> {
    await this.#drivers[place]?.close();
    delete this.#drivers[place];
  }

  at(place: Place): LibvirtDriver {
    const driver = this.#drivers[place];
    if (driver === undefined) throw new Error(`the driver of ${place} is closed`);
    return driver;
  }

  /** An instance on the first host that speaks. */
  async spawn(overrides: Partial<InstanceSpec> = {}): Promise<InstanceRef> {
    const uuid = randomUUID();
    const instance = { uuid, name: `busy-${uuid.slice(0, 4)}` };
    const flavor = { vcpus: 1, memoryMiB: 32, rootGiB: 1 };
    for (const place of ["a", "b"] as const) this.#told[place].length = 0;
    await this.at("a").spawn({ ...instance, flavor, imageId: "busy", vifs: [], guestAgent: false, ...overrides });
    await this.speaks("a", instance);
    return instance;
  }

  async letters(place: Place, { uuid }: InstanceRef): Promise<string> {
    const log = join(this.settings(place).stateDirectory, "guests", uuid, "console.log");
    const text = await readFile(log, "latin1").catch(() => "");
    return text
      .slice(Math.max(0, text.lastIndexOf("Booting from")))
      .replace(/^Booting from[^\n]*\n?/, "")
      .replace(/[^a-z!]/g, "");
  }

  async speaks(place: Place, instance: InstanceRef): Promise<void> {
    const { length } = await this.letters(place, instance);
    const more = async (): Promise<boolean> => (await this.letters(place, instance)).length > length;
    await waitFor(more, { timeoutMs: 90_000, what: `another letter on ${place}` });
  }

  /** Lifecycle events of the driver since the instance was spawned. */
  told(place: Place): readonly string[] {
    return this.#told[place];
  }

  /** Names of the domains that libvirt has there. */
  async domains(place: Place): Promise<readonly string[]> {
    return (await this.clients[place].listAllDomains()).map(({ name }) => name);
  }

  /** As `liveMigrate` begins. */
  async prepare(instance: InstanceRef): Promise<LiveMigrateData> {
    const [a, b] = [this.at("a"), this.at("b")];
    const asked = await a.checkCanLiveMigrateSource(instance);
    const answered = await b.checkCanLiveMigrateDestination(instance, asked);
    const checked = await a.checkCanLiveMigrateSource(instance, answered);
    await b.cleanupLiveMigrationDestinationCheck(checked);
    return b.preLiveMigration(instance, checked);
  }

  /** The process of the instance that waits for it on the second host. */
  async waitingProcess({ uuid }: InstanceRef): Promise<number> {
    let found: number | undefined;
    await waitFor(
      async () => {
        for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
          const line = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
          if (line.includes(uuid) && line.includes("-incoming")) found = Number(pid);
        }
        return found !== undefined;
      },
      { timeoutMs: 60_000, what: "a waiting QEMU" },
    );
    return found as number;
  }

  /** As `liveMigrate` undoes it. */
  async takeBack(instance: InstanceRef, data: LiveMigrateData): Promise<void> {
    await this.at("b").rollbackLiveMigrationAtDestination(instance, data);
    await this.at("a").rollbackLiveMigrationAtSource(instance, data);
  }

  /** As `liveMigrate` ends. */
  async finish(instance: InstanceRef, data: LiveMigrateData): Promise<void> {
    await this.at("b").postLiveMigrationAtDestination(instance, data);
    await this.at("a").postLiveMigration(instance, data);
    await this.at("a").postLiveMigrationAtSource(instance, data);
  }

  async remove(): Promise<void> {
    for (const place of ["a", "b"] as const) {
      await this.close(place).catch(() => undefined);
      await this.clients[place].close();
      await this.daemons[place].remove();
    }
    await this.#directory.remove();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remove();
  }

  async #listen(place: Place, events: AsyncIterable<DriverEvent>): Promise<void> {
    for await (const event of events)
      if (event.type === "lifecycle") this.#told[place].push(`${event.transition} ${event.cause}`);
  }
}
