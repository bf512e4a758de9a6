import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { liveMigrate } from "../../../src/driver/index.js";
import type { InstanceRef, LiveMigrateData } from "../../../src/driver/index.js";
import type { KvmDriver } from "../../../src/kvm/index.js";
import { findByPidFile } from "../../../src/kvm/process.js";
import { DirectoryImageStore } from "../../../src/storage/index.js";
import { requirePackages, temporaryDirectory, waitFor } from "../../lab/index.js";
import type { TemporaryDirectory } from "../../lab/index.js";
import { isAlphabet, writeBusyGuest } from "./busy-guest.js";
import type { DyingPoint } from "./migrating-child.js";
import { openMigratingDriver } from "./migrating-driver.js";

const child = fileURLToPath(new URL("migrating-child.ts", import.meta.url));
const root = fileURLToPath(new URL("../../../", import.meta.url));

beforeAll(() => requirePackages("qemu-system-x86_64"));

/** Two hosts that share their disks, and an instance on the first that never rests. */
class Hosts implements AsyncDisposable {
  readonly instance: InstanceRef = { uuid: randomUUID(), name: "busy" };
  readonly #directory: TemporaryDirectory;
  readonly #drivers: { a: KvmDriver | undefined; b: KvmDriver | undefined } = { a: undefined, b: undefined };
  #said = "";

  private constructor(directory: TemporaryDirectory) {
    this.#directory = directory;
  }

  static async open(): Promise<Hosts> {
    const hosts = new Hosts(await temporaryDirectory("hvm-"));
    const images = new DirectoryImageStore({ directory: hosts.#directory.file("images") });
    await images.import({ id: "busy", format: "raw", path: await writeBusyGuest(hosts.#directory.file("busy.img")) });
    for (const host of ["a", "b"] as const) {
      await mkdir(hosts.path(host));
      await hosts.reopen(host);
    }
    const flavor = { vcpus: 1, memoryMiB: 32, rootGiB: 1 };
    await hosts.at("a").spawn({ ...hosts.instance, flavor, imageId: "busy", vifs: [], guestAgent: false });
    await hosts.speaks("a");
    return hosts;
  }

  path(host: "a" | "b"): string {
    return this.#directory.file(host);
  }
  at(host: "a" | "b"): KvmDriver {
    const driver = this.#drivers[host];
    if (driver === undefined) throw new Error(`host ${host} is closed`);
    return driver;
  }
  async close(host: "a" | "b"): Promise<void> {
    await this.#drivers[host]?.close();
    this.#drivers[host] = undefined;
  }
  async reopen(host: "a" | "b"): Promise<void> {
    await this.close(host);
    this.#drivers[host] = await openMigratingDriver(this.path(host));
  }
  pid(host: "a" | "b"): Promise<number | undefined> {
    const file = `${this.path(host)}/guests/${this.instance.uuid}/qemu.pid`;
    return findByPidFile(new Set([file])).then((found) => found.get(file));
  }

  async letters(host: "a" | "b"): Promise<string> {
    const { bytes } = await this.at(host).getConsoleOutput(this.instance);
    return Buffer.from(bytes)
      .toString("latin1")
      .replace(/[^a-z]/g, "");
  }
  async speaks(host: "a" | "b"): Promise<void> {
    const { length } = await this.letters(host);
    const options = { timeoutMs: 60_000, what: "another letter" };
    await waitFor(async () => (await this.letters(host)).length > length, options);
  }
  /** Before a guest's files on the host are removed. */
  async keepLetters(host: "a" | "b"): Promise<void> {
    this.#said += await this.letters(host);
  }
  get said(): string {
    return this.#said;
  }

  async prepare(): Promise<LiveMigrateData> {
    const { instance } = this;
    const asked = await this.at("a").checkCanLiveMigrateSource(instance);
    const answered = await this.at("b").checkCanLiveMigrateDestination(instance, asked);
    const checked = await this.at("a").checkCanLiveMigrateSource(instance, answered);
    await this.at("b").cleanupLiveMigrationDestinationCheck(checked);
    return this.at("b").preLiveMigration(instance, checked);
  }

  /** Migrates by a driver process that dies at the point. */
  async crash(data: LiveMigrateData, point: DyingPoint): Promise<void> {
    await this.close("a");
    const request = JSON.stringify({ directory: this.path("a"), instance: this.instance, data, point });
    const driver = spawn(process.execPath, ["--import", "tsx", child, request], {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    for (const stream of [driver.stdout, driver.stderr])
      stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const [, signal] = (await once(driver, "close")) as [number | null, string | null];
    expect(signal, said).toBe("SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of ["a", "b"] as const) {
      await this.close(host);
      const pid = await this.pid(host);
      if (pid !== undefined) process.kill(pid, "SIGKILL");
    }
    await this.#directory.remove();
  }
}

/** What an embedder does that finds a migration half-done: where the instance is, it goes on. Says where that is. */
async function settle(hosts: Hosts, data: LiveMigrateData): Promise<"a" | "b"> {
  const { instance } = hosts;
  const [a, b] = [hosts.at("a"), hosts.at("b")];
  const { state, task } = await a.getInfo(instance);
  await hosts.keepLetters("a");
  if (task === "migratingOut") {
    expect(state).toBe("shutdown");
    await expect(a.powerOn(instance)).rejects.toMatchObject({ code: "INVALID_STATE" });
    await b.postLiveMigrationAtDestination(instance, data);
    await a.postLiveMigration(instance, data);
    await a.postLiveMigrationAtSource(instance, data);
    return "b";
  }
  expect({ state, task }).toEqual({ state: "running", task: "none" });
  await b.rollbackLiveMigrationAtDestination(instance, data);
  await a.rollbackLiveMigrationAtSource(instance, data);
  return "a";
}

/** It runs on one host, as if nothing had been, and the other has nothing of it. */
async function expectOne(hosts: Hosts, place: "a" | "b"): Promise<void> {
  const { instance } = hosts;
  const other = place === "a" ? "b" : "a";
  expect(await hosts.at(place).getInfo(instance)).toMatchObject({ state: "running", task: "none" });
  await hosts.speaks(place);
  const said = place === "a" ? await hosts.letters("a") : hosts.said + (await hosts.letters("b"));
  expect(isAlphabet(said), said).toBe(true);
  expect(await hosts.pid(other)).toBeUndefined();
  await expect(hosts.at(other).getInfo(instance)).rejects.toMatchObject({ code: "INSTANCE_NOT_FOUND" });
  await hosts.at(place).destroy(instance);
}

describe("an instance whose source's driver process dies", () => {
  const points: readonly (DyingPoint & { readonly place: "a" | "b" })[] = [
    { what: "memory", when: "after", place: "a" },
    { what: "migrate-continue", when: "before", place: "a" },
    { what: "migrate-continue", when: "after", place: "b" },
    { what: "gone", when: "after", place: "b" },
  ];
  it.each(points)("$when $what of its migration is on one host, and on one only", async ({ place, ...point }) => {
    await using hosts = await Hosts.open();
    const data = await hosts.prepare();
    await hosts.crash(data, point);
    // The destination's may die, too.
    await hosts.reopen("b");
    await hosts.reopen("a");
    expect(await settle(hosts, data)).toBe(place);
    await expectOne(hosts, place);
  });
});

describe("an instance whose destination dies", () => {
  it("goes back when it was handed over and has not run there", async () => {
    await using hosts = await Hosts.open();
    const { instance } = hosts;
    const destination = hosts.at("b");
    const finish = destination.postLiveMigrationAtDestination.bind(destination);
    destination.postLiveMigrationAtDestination = async (...args) => {
      process.kill((await hosts.pid("b"))!, "SIGKILL");
      return finish(...args);
    };
    await expect(liveMigrate(hosts.at("a"), destination, instance).result).rejects.toMatchObject({
      code: "MIGRATION_FAILED",
    });
    await expectOne(hosts, "a");
  });
});

describe("an instance whose source's QEMU dies", () => {
  it("is lost before the switch-over, and on the destination after it", async () => {
    await using hosts = await Hosts.open();
    const { instance } = hosts;
    const slow = { bandwidthMiBps: 1, downtimeMs: 1 };
    const kill = async (): Promise<void> => void process.kill((await hosts.pid("a"))!, "SIGKILL");
    let killed = false;
    const lost = liveMigrate(hosts.at("a"), hosts.at("b"), instance, {
      ...slow,
      onMigrationProgress: ({ iteration }) => {
        if (killed || iteration < 2) return;
        killed = true;
        void kill();
      },
    });
    await expect(lost.result).rejects.toMatchObject({ code: "GUEST_CRASHED" });
    expect(await hosts.at("a").getInfo(instance)).toMatchObject({ state: "crashed", task: "none" });
    await expect(hosts.at("b").getInfo(instance)).rejects.toMatchObject({ code: "INSTANCE_NOT_FOUND" });
    await hosts.at("a").powerOn(instance);
    await hosts.speaks("a");
    const data = await hosts.prepare();
    await hosts.at("a").liveMigration(instance, data).result;
    await kill();
    await hosts.reopen("a");
    expect(await hosts.at("a").getInfo(instance)).toMatchObject({ state: "shutdown", task: "migratingOut" });
    await hosts.at("b").postLiveMigrationAtDestination(instance, data);
    await hosts.at("a").postLiveMigrationAtSource(instance, data);
    expect(await hosts.at("b").getInfo(instance)).toMatchObject({ state: "running", task: "none" });
    await hosts.speaks("b");
    await hosts.at("b").destroy(instance);
  });
});
