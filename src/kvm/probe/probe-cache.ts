/** What probes found, kept in the state directory until the binary, the kernel or the host is another. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { release } from "node:os";
import { StateCorruptError, check, isHyperviseError } from "../../core/index.js";
import type { Check, JsonValue, StateStore } from "../../core/index.js";
import type { Credentials } from "../access/credentials.js";
import type { QemuBinary } from "../binary.js";
import type { QemuCapabilities } from "../plan/capabilities.js";
import type { Accelerator } from "../plan/command-line.js";
import type { CpuCapabilities } from "../plan/cpu.js";
import type { AcceleratorVerdict } from "./accelerator-probe.js";

const VERSION = 3;
const name = check.string({ max: 255 });
const names = check.array(name, { max: 65_536 });
const count = check.integer({ min: 0 });

const capabilitiesCheck: Check<QemuCapabilities> = check.object({
  version: check.object({ major: count, minor: count, micro: count }),
  package: check.string({ min: 0, max: 255 }),
  target: name,
  machines: check.array(check.object({ name, alias: check.optional(name), cpuMax: count }), { max: 4096 }),
  commands: names,
  devices: names,
  objects: names,
  accelerators: names,
  screenshotFormats: names,
  deviceProperties: check.record(name, names, { max: 1024 }),
  migrationCapabilities: names,
});

const cpusCheck: Check<CpuCapabilities> = check.object({
  models: check.array(check.object({ name, runnable: check.boolean() }), { max: 4096 }),
  nearest: check.optional(name),
  features: names,
});

const verdictCheck: Check<AcceleratorVerdict> = check.object({
  usable: check.boolean(),
  reason: check.string({ max: 65_536, charset: "text" }),
  lasting: check.boolean(),
});

/** Probes are asked for by what they depend on; an entry that can't be read counts as absent. */
export class ProbeCache {
  readonly #store: StateStore;

  constructor(store: StateStore) {
    this.#store = store;
  }

  /** What the binary can do: as found earlier, else by `probe`, whose answer is kept. */
  capabilities(binary: QemuBinary, probe: () => Promise<QemuCapabilities>): Promise<QemuCapabilities> {
    return this.#lookUp(`capabilities/${digest([binary])}`, capabilitiesCheck, probe, () => true);
  }

  /**
   * Whether KVM works with a CPU model for a user, by the binary, the kernel and the boot of the host: a host that was too busy for the probe once must not be
   * without KVM for good.
   */
  async accelerator(
    binary: QemuBinary,
    cpuModel: string,
    probe: () => Promise<AcceleratorVerdict>,
    user?: Credentials,
  ): Promise<AcceleratorVerdict> {
    const key = `accelerator/${digest([binary, cpuModel, ...(user === undefined ? [] : [user]), release(), await hostCpu(), await bootId()])}`;
    return this.#lookUp(key, verdictCheck, probe, (verdict) => verdict.lasting);
  }

  /** Which CPUs guests can have under an accelerator, by the binary, the kernel and the boot of the host. */
  async cpus(
    binary: QemuBinary,
    accelerator: Accelerator,
    probe: () => Promise<CpuCapabilities>,
  ): Promise<CpuCapabilities> {
    const key = `cpus/${digest([binary, accelerator, release(), await hostCpu(), await bootId()])}`;
    return this.#lookUp(key, cpusCheck, probe, () => true);
  }

  async #lookUp<T>(key: string, read: Check<T>, probe: () => Promise<T>, keep: (value: T) => boolean): Promise<T> {
    const known = await this.#read(key, read);
    if (known !== undefined) return known;
    const found = await probe();
    if (keep(found)) await this.#store.put(key, { version: VERSION, value: found as unknown as JsonValue });
    return found;
  }

  async #read<T>(key: string, read: Check<T>): Promise<T | undefined> {
    try {
      const entry = await this.#store.get(key);
      return entry === undefined
        ? undefined
        : check.object({ version: check.oneOf([VERSION]), value: read })(entry, key).value;
    } catch (error) {
      if (error instanceof StateCorruptError || isHyperviseError(error, "INVALID_ARGUMENT")) return undefined;
      throw error;
    }
  }
}

/** Identifies the boot of the host: pids and start times mean something only within one. */
export async function bootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
}

async function hostCpu(): Promise<string> {
  const text = await readFile("/proc/cpuinfo", "utf8");
  return /^model name\s*:\s*(.*)$/m.exec(text)?.[1] ?? "";
}

function digest(parts: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
