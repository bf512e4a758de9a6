/** The guest agent of one guest, as the driver wants it. One connection, made at the first use and kept while the guest is in memory. */
import { DeadlineExceededError, KeyedLock, abortErrorOf } from "../core/index.js";
import type { CommonOptions, Secret } from "../core/index.js";
import { AgentCommandError, AgentUnresponsiveError } from "../driver/index.js";
import type { GuestAgent } from "../driver/index.js";
import { GuestAgentClient, QmpCommandError, QmpError, exitCodeOf, guestInterfaces } from "../qmp/index.js";
import type { QmpWaitOptions } from "../qmp/index.js";
import type { GuestCore } from "./guest-core.js";

export class KvmGuestAgent implements GuestAgent {
  readonly #core: GuestCore;
  readonly #turns: KeyedLock;
  #client: GuestAgentClient | undefined;

  constructor(core: GuestCore) {
    this.#core = core;
    this.#turns = new KeyedLock({ clock: core.host.clock });
  }

  ping(options: CommonOptions = {}): Promise<void> {
    return this.#call(options, (client, limits) => client.ping(limits));
  }

  setPassword(user: string, password: Secret, options: CommonOptions = {}): Promise<void> {
    return this.#call(options, (client, limits) => client.setUserPassword(user, password, limits));
  }

  writeFile(path: string, contents: Uint8Array, options: CommonOptions = {}): Promise<void> {
    return this.#call(options, (client, limits) => client.writeFile(path, contents, limits));
  }

  readFile(path: string, options: CommonOptions & { readonly maxBytes: number }): Promise<Uint8Array> {
    return this.#call(options, (client, limits) => client.readFile(path, { ...limits, maxBytes: options.maxBytes }));
  }

  exec(
    argv: readonly string[],
    options: CommonOptions & { readonly input?: Uint8Array } = {},
  ): ReturnType<GuestAgent["exec"]> {
    const [path = "", ...args] = argv;
    const { input } = options;
    return this.#call(options, async (client, limits) => {
      const result = await client.exec(path, { ...limits, args, ...(input === undefined ? {} : { input }) });
      const { stdout, stderr } = result;
      return { exitCode: exitCodeOf(result), stdout, stderr };
    });
  }

  interfaces(options: CommonOptions = {}): ReturnType<GuestAgent["interfaces"]> {
    return this.#call(options, async (client, limits) => guestInterfaces(await client.networkInterfaces(limits)));
  }

  freeze(options: CommonOptions = {}): Promise<number> {
    return this.#call(options, async (client, limits) =>
      Number(await client.execute("guest-fsfreeze-freeze", {}, limits)),
    );
  }

  async thaw(options: CommonOptions = {}): Promise<void> {
    await this.#call(options, (client) => client.thaw());
  }

  async #call<T>(
    options: CommonOptions,
    use: (client: GuestAgentClient, limits: QmpWaitOptions) => Promise<T>,
  ): Promise<T> {
    const { signal, deadline } = options;
    const deadlineMs = deadline ?? this.#core.host.timeouts.agentMs;
    return this.#turns
      .run("agent", () => this.#use(use, { signal, deadlineMs }), { signal, deadline: deadlineMs })
      .catch((error: unknown) => {
        if (signal?.aborted === true) throw abortErrorOf(signal, "the call of the guest agent");
        throw this.#explain(error);
      });
  }

  async #use<T>(
    use: (client: GuestAgentClient, limits: QmpWaitOptions) => Promise<T>,
    limits: QmpWaitOptions,
  ): Promise<T> {
    this.#core.requireSession("guestAgent");
    if (this.#core.agentConnected === false) throw this.#unresponsive();
    const client = await this.#connected(limits);
    try {
      return await use(client, limits);
    } catch (error) {
      // Whether the agent is in step after this is for a new connection to find out.
      if (!(error instanceof QmpCommandError)) await this.#drop(client);
      throw error;
    }
  }

  async #connected(limits: QmpWaitOptions): Promise<GuestAgentClient> {
    if (this.#client?.state === "running") return this.#client;
    const { clock, timeouts } = this.#core.host;
    const { agentMs } = timeouts;
    const options = {
      clock,
      instance: this.#core.instance,
      unref: true,
      timeouts: { commandMs: agentMs, syncMs: agentMs },
    };
    const client = await GuestAgentClient.open({ path: this.#core.files.agent }, { ...options, ...limits });
    this.#client = client;
    this.#core.whileInMemory(() => void this.#drop(client));
    return client;
  }

  async #drop(client: GuestAgentClient): Promise<void> {
    if (this.#client === client) this.#client = undefined;
    await client.close();
  }

  #explain(error: unknown): unknown {
    if (error instanceof QmpCommandError) {
      return new AgentCommandError("the guest agent refused", {
        instance: this.#core.instance,
        cause: error,
        detail: error.desc,
      });
    }
    if (error instanceof QmpError || error instanceof DeadlineExceededError) return this.#unresponsive(error);
    return error;
  }

  #unresponsive(cause?: unknown): AgentUnresponsiveError {
    return new AgentUnresponsiveError("the guest agent does not answer", { instance: this.#core.instance, cause });
  }
}
