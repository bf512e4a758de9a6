/** The guest agent of a simulated guest: files, passwords, programs, addresses, freezing. */
import { createHash } from "node:crypto";
import { throwIfAborted } from "../core/index.js";
import type { CommonOptions, Secret } from "../core/index.js";
import { AgentCommandError, AgentUnresponsiveError, InvalidStateError } from "../driver/index.js";
import type { GuestAgent } from "../driver/index.js";
import type { FaultPoint } from "./fault-points.js";
import { guestCall } from "./guest-call.js";
import type { GuestWork } from "./guest-call.js";
import { runProgram } from "./guest-programs.js";
import { nextChange, plan } from "./guest-power.js";
import { extrasOf, inMemory } from "./guest-record.js";
import type { GuestRecord } from "./guest-record.js";
import type { FakeHost } from "./host.js";
import type { FakeProcess } from "./process.js";

/** How long a silent agent is waited for when the caller says nothing. */
const AGENT_LIMIT_MS = 5_000;
/** The guest thaws by itself after this, should the driver that froze it be gone. */
const FREEZE_LIMIT_MS = 600_000;

interface GuestInterface {
  readonly name: string;
  readonly macAddress?: string;
  readonly addresses: readonly string[];
}

export class FakeAgent implements GuestAgent {
  readonly #process: FakeProcess;
  readonly #uuid: string;

  constructor(process: FakeProcess, uuid: string) {
    this.#process = process;
    this.#uuid = uuid;
  }

  ping(options: CommonOptions = {}): Promise<void> {
    return this.#ask("agent.ping", options, () => undefined, { evenFrozen: true });
  }

  setPassword(user: string, password: Secret, options: CommonOptions = {}): Promise<void> {
    return this.#ask("agent.setPassword", options, (record) => {
      extrasOf(record).passwordHashes[user] = passwordHash(this.#uuid, user, password);
    });
  }

  writeFile(path: string, contents: Uint8Array, options: CommonOptions = {}): Promise<void> {
    return this.#ask("agent.writeFile", options, async (record, _host, halfway) => {
      const { files } = extrasOf(record);
      const bytes = Buffer.from(contents);
      files[path] = bytes.subarray(0, bytes.length >> 1).toString("base64");
      await halfway();
      files[path] = bytes.toString("base64");
    });
  }

  readFile(path: string, options: CommonOptions & { readonly maxBytes: number }): Promise<Uint8Array> {
    return this.#ask("agent.readFile", options, (record) => {
      const stored = record.extras?.files[path];
      if (stored === undefined)
        throw new AgentCommandError("The guest has no such file", { instance: record.definition });
      return new Uint8Array(Buffer.from(stored, "base64").subarray(0, options.maxBytes));
    });
  }

  exec(
    argv: readonly string[],
    options: CommonOptions & { readonly input?: Uint8Array } = {},
  ): Promise<{ readonly exitCode: number; readonly stdout: Uint8Array; readonly stderr: Uint8Array }> {
    return this.#ask("agent.exec", options, (record) => runProgram(record, argv, options.input));
  }

  interfaces(options: CommonOptions = {}): Promise<readonly GuestInterface[]> {
    return this.#ask("agent.interfaces", options, (record, host) => [
      { name: "lo", macAddress: "00:00:00:00:00:00", addresses: ["127.0.0.1/8", "::1/128"] },
      ...record.definition.nics.map((nic, index) => ({
        name: `eth${index}`,
        macAddress: nic.macAddress,
        addresses: [...(host.ports.get(nic.id)?.addresses ?? []), linkLocal(nic.macAddress)],
      })),
    ]);
  }

  freeze(options: CommonOptions = {}): Promise<number> {
    return this.#ask(
      "agent.freeze",
      options,
      (record, host) => {
        const extras = extrasOf(record);
        if (!extras.frozen) plan(host, record, FREEZE_LIMIT_MS, { type: "thaw" });
        extras.frozen = true;
        return record.definition.disks.filter((disk) => !disk.readOnly).length;
      },
      { evenFrozen: true },
    );
  }

  thaw(options: CommonOptions = {}): Promise<void> {
    return this.#ask(
      "agent.thaw",
      options,
      (record) => {
        if (record.extras === undefined) return;
        record.extras.frozen = false;
        record.extras.agenda = record.extras.agenda.filter(({ action }) => action.type !== "thaw");
      },
      { evenFrozen: true },
    );
  }

  /** Asks the agent once the guest has booted, as a request in a virtual serial port waits for its reader. */
  #ask<T>(
    point: FaultPoint,
    options: CommonOptions,
    work: GuestWork<T>,
    rules: { readonly evenFrozen?: boolean } = {},
  ): Promise<T> {
    return guestCall(this.#process, this.#uuid, point, options, async (record, host, halfway) => {
      const limitMs = options.deadline ?? AGENT_LIMIT_MS;
      if (!inMemory(record)) {
        const { state, definition } = record;
        throw new InvalidStateError({ operation: "guest agent", state, expected: ["running"], instance: definition });
      }
      const { agent, agentMs } = host.behaviourOf(this.#uuid);
      if (!record.definition.guestAgent || agent === "absent")
        throw unresponsive(record, "it is not installed or has no channel");
      await this.#untilAnswering(record, host, limitMs, options.signal);
      if (agentMs > limitMs) {
        await this.#process.sleep(limitMs, options.signal);
        throw unresponsive(record, `no answer within ${limitMs} ms`);
      }
      if (agentMs > 0) await this.#process.sleep(agentMs, options.signal);
      if (record.extras?.frozen === true && rules.evenFrozen !== true) {
        throw new AgentCommandError("The guest's file systems are frozen", { instance: record.definition });
      }
      return work(record, host, halfway);
    });
  }

  async #untilAnswering(
    record: GuestRecord,
    host: FakeHost,
    limitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const answers = (): boolean =>
      record.state === "running" && record.booted && host.behaviourOf(this.#uuid).agent === "responding";
    if (answers()) return;
    const over = new AbortController();
    const timer = this.#process.clock.setTimeout(
      () => over.abort(unresponsive(record, `no answer within ${limitMs} ms`)),
      limitMs,
    );
    try {
      while (!answers()) {
        await this.#process.wait(this.#process.wait(nextChange(record), over.signal), signal);
        if (!inMemory(record)) throw unresponsive(record, "the guest has ended");
        throwIfAborted(over.signal);
      }
    } finally {
      timer.cancel();
    }
  }
}

/** What is kept of a password. */
export function passwordHash(uuid: string, user: string, password: Secret): string {
  return createHash("sha256")
    .update(JSON.stringify([uuid, user, password.reveal()]))
    .digest("hex");
}

function unresponsive(record: GuestRecord, detail: string): AgentUnresponsiveError {
  return new AgentUnresponsiveError("The guest agent does not answer", { instance: record.definition, detail });
}

/** The IPv6 address that a MAC address makes on its own link. */
function linkLocal(mac: string): string {
  const bytes = mac.split(":").map((part) => parseInt(part, 16));
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = bytes;
  const group = (high: number, low: number): string => ((high << 8) | low).toString(16);
  return `fe80::${group(a ^ 2, b)}:${group(c, 0xff)}:${group(0xfe, d)}:${group(e, f)}/64`;
}
