/** Memory of a simulated guest, saved on the host's storage and brought back. */
import type { CommonOptions } from "../core/index.js";
import { GuestCrashedError } from "../driver/index.js";
import type { GuestSuspend } from "../driver/index.js";
import type { FaultPoint } from "./fault-points.js";
import { guestCall } from "./guest-call.js";
import type { GuestWork } from "./guest-call.js";
import { checkDevices } from "./guest-devices.js";
import { enterMemory, leaveMemory, notify, plan } from "./guest-power.js";
import { extrasOf, inMemory } from "./guest-record.js";
import type { GuestRecord } from "./guest-record.js";
import { requireState } from "./guest-state.js";
import type { FakeHost } from "./host.js";
import type { FakeProcess } from "./process.js";
import { EMPTY } from "./storage.js";

const MIB = 1024 ** 2;

export class FakeSuspend implements GuestSuspend {
  readonly #process: FakeProcess;
  readonly #uuid: string;

  constructor(process: FakeProcess, uuid: string) {
    this.#process = process;
    this.#uuid = uuid;
  }

  save(options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.save", options, async (record, host, halfway) => {
      requireState(record, "suspend", ["running", "paused"]);
      const path = savedMemoryPath(host, this.#uuid);
      const bytes = record.definition.memoryMiB * MIB;
      const file = {
        ...({ path, kind: "savedMemory", owner: this.#uuid, name: "memory", format: "raw" } as const),
        ...{ virtualSizeBytes: bytes, allocatedBytes: bytes, content: EMPTY, backing: undefined, complete: false },
      };
      host.storage.add(file);
      try {
        const { saveMs } = host.behaviourOf(this.#uuid);
        if (saveMs > 0) await this.#process.sleep(saveMs, options.signal);
        await halfway();
        if (!inMemory(record))
          throw new GuestCrashedError("The guest ended while its memory was saved", { instance: record.definition });
      } catch (error) {
        if (this.#process.alive) host.storage.remove(path);
        throw error;
      }
      file.complete = true;
      extrasOf(record).savedMemory = { path, paused: record.state === "paused", booted: record.booted };
      leaveMemory(host, record, "suspended");
      host.lifecycle(record, "suspended", "self");
      notify(record);
    });
  }

  restore(options: CommonOptions = {}): Promise<void> {
    return this.#call("guest.restore", options, async (record, host) => {
      requireState(record, "resume", ["suspended"]);
      checkDevices(host, record.definition);
      const { saveMs } = host.behaviourOf(this.#uuid);
      if (saveMs > 0) await this.#process.sleep(saveMs, options.signal);
      requireState(record, "resume", ["suspended"]);
      enterMemory(host, record, "running");
      record.booted = record.extras?.savedMemory?.booted ?? true;
      if (!record.booted) plan(host, record, host.behaviourOf(this.#uuid).bootMs, { type: "booted" });
      forgetSavedMemory(host, record);
      host.lifecycle(record, "resumed", "self", "from-saved-memory");
      notify(record);
    });
  }

  discard(): Promise<void> {
    return this.#call("guest.discard", {}, (record, host) => {
      forgetSavedMemory(host, record);
      if (record.state === "suspended") record.state = "shutdown";
      notify(record);
    });
  }

  #call<T>(point: FaultPoint, options: CommonOptions, work: GuestWork<T>): Promise<T> {
    return guestCall(this.#process, this.#uuid, point, options, work);
  }
}

/** Removes a guest's saved memory, also one that was never finished. */
export function forgetSavedMemory(host: FakeHost, record: GuestRecord): void {
  host.storage.remove(savedMemoryPath(host, record.definition.uuid));
  delete record.extras?.savedMemory;
}

function savedMemoryPath(host: FakeHost, uuid: string): string {
  return host.storage.pathOf("memory", uuid);
}
