// A KVM hypervisor in a directory of its own, with everything that its guests say, and the end of all that it has started.
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../../../src/core/index.js";
import type { GuestDefinition, HypervisorEvent } from "../../../src/driver/index.js";
import { KvmHypervisor } from "../../../src/kvm/index.js";
import type { KvmHypervisorOptions } from "../../../src/kvm/index.js";
import { MemorySecretStore } from "../../../src/storage/index.js";
import { findByPidFile } from "../../../src/kvm/process.js";
import { disk } from "../../lab/definition-parts.js";
import { bootSector, run, temporaryDirectory, testGuest, waitFor } from "../../lab/index.js";
import type { TemporaryDirectory } from "../../lab/index.js";

export { disk, nic } from "../../lab/definition-parts.js";

export const BOOT_MS = 120_000;

type KvmGuest = Awaited<ReturnType<KvmHypervisor["define"]>>;

export class KvmLab implements AsyncDisposable {
  readonly directory: TemporaryDirectory;
  readonly stateDirectory: string;
  readonly events: HypervisorEvent[] = [];
  readonly secrets = new MemorySecretStore();
  readonly #options: Partial<KvmHypervisorOptions>;
  readonly #uuids = new Set<string>();
  hypervisor: KvmHypervisor;

  private constructor(directory: TemporaryDirectory, options: Partial<KvmHypervisorOptions>) {
    this.directory = directory;
    this.stateDirectory = options.stateDirectory ?? join(directory.path, "state");
    this.#options = options;
    this.hypervisor = this.#make();
  }

  static async open(options: Partial<KvmHypervisorOptions> = {}): Promise<KvmLab> {
    const lab = new KvmLab(await temporaryDirectory("hvk-"), options);
    try {
      await lab.open();
      return lab;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  open(): Promise<void> {
    const { secrets } = this;
    return this.hypervisor.open({ clock: systemClock, onEvent: (event) => this.events.push(event), secrets });
  }

  /** As when the driver's process ends in order and a new one comes. */
  async reopen(options: Partial<KvmHypervisorOptions> = {}): Promise<void> {
    await this.hypervisor.close();
    this.hypervisor = this.#make(options);
    await this.open();
  }

  async define(overrides: Partial<GuestDefinition> = {}): Promise<KvmGuest> {
    const definition = await this.definition(overrides);
    this.#uuids.add(definition.uuid);
    return this.hypervisor.define(definition);
  }

  /** A guest of 512 bytes that needs no time to boot; `linux()` has one with everything. */
  async definition(overrides: Partial<GuestDefinition> = {}): Promise<GuestDefinition> {
    const uuid = randomUUID();
    const base = {
      uuid,
      name: `lab-${uuid.slice(0, 8)}`,
      vcpus: 1,
      memoryMiB: 32,
      firmware: "bios",
      nics: [],
      guestAgent: true,
    } as const;
    return { ...base, disks: [disk("root", "vda", bootSector(), { readOnly: true, bootIndex: 0 })], ...overrides };
  }

  async linux(overrides: Partial<GuestDefinition> = {}): Promise<KvmGuest> {
    const { kernel, initrd, kernelArguments, memoryMiB } = await testGuest();
    return this.define({
      memoryMiB,
      disks: [],
      kernel: { kernelPath: kernel, ramdiskPath: initrd, commandLine: kernelArguments },
      ...overrides,
    });
  }

  /** A raw disk image. */
  async image(name: string, sizeMiB = 8): Promise<string> {
    const path = this.directory.file(name);
    await run(["truncate", "-s", `${sizeMiB}M`, path]);
    return path;
  }

  /** The lifecycle of a guest so far, as `transition cause`. */
  lifecycle(uuid?: string): string[] {
    return this.events.flatMap((event) =>
      event.type === "lifecycle" && (uuid === undefined || event.uuid === uuid)
        ? [`${event.transition} ${event.cause}`]
        : [],
    );
  }

  /** Waits for an event; looks also at those that have been. */
  event(wanted: (event: HypervisorEvent) => boolean, timeoutMs = 30_000): Promise<HypervisorEvent> {
    const said = (): string => this.events.map((event) => JSON.stringify(event)).join("\n");
    return waitFor(() => this.events.find(wanted), { timeoutMs, what: "an event", detail: said });
  }

  /** Pid of a guest's QEMU, whoever started it; undefined when there is none. */
  async pid(uuid: string): Promise<number | undefined> {
    const pidFile = this.file(uuid, "qemu.pid");
    return (await findByPidFile(new Set([pidFile]))).get(pidFile);
  }

  file(uuid: string, name: string): string {
    return join(this.stateDirectory, "guests", uuid, name);
  }

  note(uuid: string): void {
    this.#uuids.add(uuid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hypervisor.close();
    for (const uuid of this.#uuids) {
      const pid = await this.pid(uuid);
      if (pid !== undefined) process.kill(pid, "SIGKILL");
    }
    await this.directory.remove();
  }

  #make(options: Partial<KvmHypervisorOptions> = {}): KvmHypervisor {
    return new KvmHypervisor({ accelerator: "tcg", ...this.#options, ...options, stateDirectory: this.stateDirectory });
  }
}

/** What a guest has written to its console. */
export async function consoleOf(guest: KvmGuest): Promise<string> {
  return Buffer.from((await guest.consoleLog({ maxBytes: 1_000_000 })).bytes).toString("utf8");
}

/** Waits until the console says it. */
export async function waitForConsole(guest: KvmGuest, text: string | RegExp, timeoutMs = BOOT_MS): Promise<string> {
  let said = "";
  const found = async (): Promise<boolean> => {
    said = await consoleOf(guest);
    return typeof text === "string" ? said.includes(text) : text.test(said);
  };
  await waitFor(found, { timeoutMs, what: `${String(text)} on the console`, detail: () => said.slice(-2_000) });
  return said;
}

/** Waits until the guest is up with its agent. */
export async function waitReady(guest: KvmGuest): Promise<void> {
  await waitForConsole(guest, "HV-READY");
  await waitFor(
    () =>
      guest.agent.ping({ deadline: 2_000 }).then(
        () => true,
        () => false,
      ),
    { timeoutMs: BOOT_MS, what: "the agent" },
  );
}

/** What a command in the guest says. */
export async function inGuest(guest: KvmGuest, command: string): Promise<string> {
  const { stdout } = await guest.agent.exec(["/bin/sh", "-c", command], { deadline: 20_000 });
  return Buffer.from(stdout).toString("utf8").trim();
}

/** State of a process as `ps` shows it; `Z` and undefined mean that it is dead. */
export async function processState(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[0];
}

export async function isDead(pid: number): Promise<boolean> {
  const state = await processState(pid);
  return state === undefined || state === "Z";
}
