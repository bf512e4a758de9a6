// A LibvirtHypervisor on a libvirtd of its own, with everything that its guests say, below the choreography.
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../../../../src/core/index.js";
import type { GuestDefinition, HypervisorEvent } from "../../../../src/driver/index.js";
import { LibvirtHypervisor } from "../../../../src/libvirt/driver/index.js";
import type { LibvirtHypervisorOptions } from "../../../../src/libvirt/driver/index.js";
import { LibvirtClient, parseDomainXml } from "../../../../src/libvirt/index.js";
import type { DomainXml } from "../../../../src/libvirt/index.js";
import { MemorySecretStore } from "../../../../src/storage/index.js";
import { disk } from "../../../lab/definition-parts.js";
import { bootSector, run, temporaryDirectory, testGuest, waitFor } from "../../../lab/index.js";
import type { TemporaryDirectory } from "../../../lab/index.js";
import { startLibvirtd } from "../../../lab/libvirtd.js";
import type { LabLibvirtd, LabLibvirtdOptions } from "../../../lab/libvirtd.js";
import { commandInGuest } from "./command-in-guest.js";

export { disk, nic } from "../../../lab/definition-parts.js";

type Guest = Awaited<ReturnType<LibvirtHypervisor["define"]>>;

export class HypervisorLab implements AsyncDisposable {
  readonly daemon: LabLibvirtd;
  readonly directory: TemporaryDirectory;
  readonly events: HypervisorEvent[] = [];
  readonly secrets = new MemorySecretStore();
  readonly #options: Partial<LibvirtHypervisorOptions>;
  #client: LibvirtClient | undefined;
  hypervisor: LibvirtHypervisor;

  private constructor(daemon: LabLibvirtd, directory: TemporaryDirectory, options: Partial<LibvirtHypervisorOptions>) {
    this.daemon = daemon;
    this.directory = directory;
    this.#options = options;
    this.hypervisor = this.#make();
  }

  /** Needs root. On failure nothing is left. */
  static async open(
    options: Partial<LibvirtHypervisorOptions> = {},
    daemonOptions: LabLibvirtdOptions = {},
  ): Promise<HypervisorLab> {
    const directory = await temporaryDirectory("hl-");
    try {
      const daemon = await startLibvirtd(daemonOptions);
      const lab = new HypervisorLab(daemon, directory, options);
      try {
        await lab.openHypervisor();
        return lab;
      } catch (error) {
        await lab[Symbol.asyncDispose]();
        throw error;
      }
    } catch (error) {
      await directory.remove();
      throw error;
    }
  }

  openHypervisor(): Promise<void> {
    const { secrets } = this;
    return this.hypervisor.open({ clock: systemClock, onEvent: (event) => this.events.push(event), secrets });
  }

  /** As when the driver's process ends and a new one comes. */
  async reopen(options = this.#options): Promise<void> {
    await this.hypervisor.close();
    this.hypervisor = this.#make(options);
    await this.openHypervisor();
  }

  /** Somebody else on the host. */
  async client(): Promise<LibvirtClient> {
    this.#client ??= await LibvirtClient.open(this.daemon.uri("qemu"), { reconnect: { giveUpAfterMs: 60_000 } });
    return this.#client;
  }

  /** What libvirt has of a guest: in memory, and what it starts with. */
  async domain(uuid: string, where: "live" | "configured" = "live"): Promise<DomainXml> {
    const domain = await (await this.client()).lookupDomainByUuid(uuid);
    return parseDomainXml(await domain.getXmlDesc({ flags: where === "live" ? [] : ["inactive"] }));
  }

  /** Aliases of the devices that we have given a guest, but those that all have. */
  async devices(uuid: string, where: "live" | "configured" = "live"): Promise<string[]> {
    const { devices = {} } = await this.domain(uuid, where);
    const elements = [...(devices.disk ?? []), ...(devices.interface ?? []), ...(devices.input ?? [])];
    return elements
      .flatMap(({ alias }) => alias?.name ?? [])
      .filter((alias) => /^ua-(disk|nic|device)-/.test(alias))
      .sort();
  }

  define(overrides: Partial<GuestDefinition> = {}): Promise<Guest> {
    const uuid = randomUUID();
    const base = { uuid, name: `lab-${uuid.slice(0, 8)}`, vcpus: 1, memoryMiB: 32, firmware: "bios" } as const;
    const boots = disk("root", "vda", bootSector(), { readOnly: true, bootIndex: 0 });
    return this.hypervisor.define({ ...base, nics: [], guestAgent: true, disks: [boots], ...overrides });
  }

  async linux(overrides: Partial<GuestDefinition> = {}): Promise<Guest> {
    const { kernel, initrd, kernelArguments, memoryMiB } = await testGuest();
    const boots = { kernelPath: kernel, ramdiskPath: initrd, commandLine: kernelArguments };
    return this.define({ memoryMiB, disks: [], kernel: boots, ...overrides });
  }

  /** A raw disk image. */
  async image(name: string, sizeMiB = 8): Promise<string> {
    const path = this.directory.file(name);
    await run(["truncate", "-s", `${sizeMiB}M`, path]);
    return path;
  }

  async console(uuid: string): Promise<string> {
    const path = join(this.directory.path, "state", "guests", uuid, "console.log");
    return readFile(path, "utf8").catch(() => "");
  }

  async waitForConsole(uuid: string, text: string): Promise<void> {
    await waitFor(async () => (await this.console(uuid)).includes(text), {
      timeoutMs: 120_000,
      what: `${text} on the console`,
    });
  }

  /** Waits for an event; looks also at those that have been. */
  event(wanted: (event: HypervisorEvent) => boolean): Promise<HypervisorEvent> {
    const detail = (): string => this.events.map((event) => JSON.stringify(event)).join("\n");
    return waitFor(() => this.events.find(wanted), { timeoutMs: 60_000, what: "an event", detail });
  }

  /** Runs a command in a guest by its agent, and gives what it prints. */
  async inGuest(uuid: string, command: string): Promise<string> {
    return commandInGuest(await this.client(), uuid, command);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hypervisor.close();
    await this.#client?.close();
    await this.daemon.remove();
    await this.directory.remove();
  }

  #make(options = this.#options): LibvirtHypervisor {
    return new LibvirtHypervisor({
      virtType: "qemu",
      uri: this.daemon.uri(options.virtType === "lxc" ? "lxc" : "qemu"),
      ...options,
      stateDirectory: join(this.directory.path, "state"),
    });
  }
}
