// Two private libvirtds, each with a driver, and an instance on the first that never rests and says so; their disks are on shared storage, or not.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { copyFile, mkdir, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { DriverEvent, InstanceRef, InstanceSpec, LiveMigrateData } from "../../../../src/driver/index.js";
import type { LibvirtDriver } from "../../../../src/libvirt/driver/index.js";
import type { LibvirtDriverOptions } from "../../../../src/libvirt/driver/index.js";
import { LibvirtClient } from "../../../../src/libvirt/index.js";
import { DirectoryImageStore } from "../../../../src/storage/index.js";
import { temporaryDirectory, waitFor } from "../../../lab/index.js";
import { makeCertificates } from "../../../lab/certificates.js";
import type { TemporaryDirectory } from "../../../lab/index.js";
import { startLibvirtd } from "../../../lab/libvirtd.js";
import type { LabLibvirtd } from "../../../lab/libvirtd.js";
import { isAlphabet, writeBusyGuest, writeFullGuest } from "../../kvm/busy-guest.js";
import type { DyingPoint } from "./migrating-child.js";
import { openMigratingDriver } from "./migrating-driver.js";
import type { HostSettings } from "./migrating-driver.js";

export type Place = "a" | "b";

const CHILD = fileURLToPath(new URL("migrating-child.ts", import.meta.url));
const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));

const HOSTS = {
  a: { uuid: "7f1d9a52-1111-4c7a-8a6e-00000000000a", port: 16_641, ports: [49_620, 49_629] },
  b: { uuid: "7f1d9a52-1111-4c7a-8a6e-00000000000b", port: 16_651, ports: [49_630, 49_639] },
} as const;

/** Those by which QEMU knows QEMU: both are `localhost`. */
async function writeCertificates(directory: string): Promise<void> {
  await mkdir(directory);
  await makeCertificates(directory);
  const names = { "cacert.pem": "ca-cert.pem", "servercert.pem": "server-cert.pem", "serverkey.pem": "server-key.pem" };
  const all = { ...names, "clientcert.pem": "client-cert.pem", "clientkey.pem": "client-key.pem" };
  for (const [from, to] of Object.entries(all)) await copyFile(join(directory, from), join(directory, to));
}

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
    await writeCertificates(directory.file("tls"));
    const start = (place: Place): Promise<LabLibvirtd> => {
      const { uuid, port, ports } = HOSTS[place];
      return startLibvirtd({
        config: [`host_uuid = "${uuid}"`, 'listen_addr = "::1"'],
        qemuConfig: [
          `migration_port_min = ${ports[0]}`,
          `migration_port_max = ${ports[1]}`,
          `migrate_tls_x509_cert_dir = "${directory.file("tls")}"`,
          "migrate_tls_x509_verify = 1",
        ],
        cacheDirectory: directory.file("cache"),
        listen: true,
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

  /** Goes over, all steps. @returns what it had said before */
  async move(instance: InstanceRef): Promise<string> {
    const data = await this.prepare(instance);
    await this.at("a").liveMigration(instance, data).result;
    const said = await this.letters("a", instance);
    await this.finish(instance, data);
    return said;
  }

  /** It runs on the host as if nothing had been, and the other has nothing of it. */
  async expectHere(place: Place, instance: InstanceRef, said = ""): Promise<void> {
    expect(await this.at(place).getInfo(instance)).toMatchObject({ state: "running", task: "none" });
    await this.speaks(place, instance);
    const all = said + (await this.letters(place, instance));
    expect(isAlphabet(all), all).toBe(true);
    expect(await this.domains(place === "a" ? "b" : "a")).toEqual([]);
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

  /** Has the instance leave the first host by a driver process that dies at the point. */
  async crash(instance: InstanceRef, data: LiveMigrateData, point: DyingPoint): Promise<void> {
    await this.close("a");
    const request = JSON.stringify({ settings: this.settings("a"), instance, data, point });
    const driver = spawn(process.execPath, ["--import", "tsx", CHILD, request], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    for (const stream of [driver.stdout, driver.stderr])
      stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const [, signal] = (await once(driver, "close")) as [number | null, string | null];
    expect(signal, said).toBe("SIGKILL");
  }

  /** Breaks the link of the guest that is on its way by post-copy from the first host. */
  async breakLink(): Promise<void> {
    const [domain] = await this.clients.a.listAllDomains();
    await domain?.abortJobFlags({ flags: ["postcopy"] });
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
