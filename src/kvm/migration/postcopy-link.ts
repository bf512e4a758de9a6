/** The connection over which a guest that runs on the destination already gets the rest of its memory: watched, and made anew when it has broken. */
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { Deadline, asError, joinSignals } from "../../core/index.js";
import { GuestCrashedError, MigrationError } from "../../driver/index.js";
import { toNumber, QmpCommandError } from "../../qmp/index.js";
import type { Qapi } from "../../qmp/index.js";
import type { GuestCore } from "../guest-core.js";
import { GUEST_FILES } from "../plan/command-line.js";
import type { GuestSession } from "../session.js";
import type { GuestState } from "../state/guest-state.js";
import { withMigration } from "../state/state-changes.js";
import { pathInQemu } from "./addresses.js";
import { ShortPaths } from "./short-paths.js";
import { asJson } from "./token.js";
import type { MigrationToken } from "./token.js";
import { OutgoingTunnels, requireStream } from "./tunnel.js";

const BROKEN: ReadonlySet<string> = new Set(["postcopy-paused", "postcopy-recover", "postcopy-recover-setup"]);

/** So many times `progressMs` a connection has to last before QEMU is given it. */
const LASTING = 3;

/** Whether the guest has begun to run on the destination without all of its memory. */
export function isPostcopy({ status }: Qapi.MigrationInfo): boolean {
  return status === "postcopy-active" || BROKEN.has(status ?? "");
}

/** One try to go on over a new connection: this process joins it to QEMU's, for only so is there never more than one. */
interface Attempt {
  readonly begunAt: number;
  readonly stream: Duplex;
  readonly ends: OutgoingTunnels;
}

/** Of one migration. Times are of the monotonic clock. */
export class PostcopyLink {
  readonly #core: GuestCore;
  readonly #session: GuestSession;
  readonly #token: MigrationToken;
  readonly #paths = new ShortPaths();
  #sent = -1;
  #sentAt = 0;
  #brokenAt: number | undefined;
  #attempt: Attempt | undefined;
  #failure: Error | undefined;

  constructor(core: GuestCore, session: GuestSession, token: MigrationToken) {
    this.#core = core;
    this.#session = session;
    this.#token = token;
  }

  /**
   * One look at what QEMU says while it is at it.
   * @throws GuestCrashedError when the connection has been broken for `recoveryMs`: the guest is lost; AbortedError, DeadlineExceededError
   */
  async look(info: Qapi.MigrationInfo, signal?: AbortSignal): Promise<void> {
    const now = this.#core.host.clock.monotonic();
    if (info.status === "postcopy-active") await this.#noticeStall(info, now);
    else if (BROKEN.has(info.status ?? "")) {
      this.#sent = -1;
      this.#brokenAt ??= now;
      await this.#mend(info.status === "postcopy-paused", now, signal);
    }
    if (this.#brokenAt !== undefined && now - this.#brokenAt > this.#core.host.timeouts.recoveryMs) throw this.#lost();
  }

  /** Ends the connection that was made here, if there is one. */
  async close(): Promise<void> {
    await this.#drop();
    this.#paths.close();
  }

  /**
   * A peer that has gone without a word is given up: QEMU would wait for it for a quarter of an hour. One before 8.2 that has sent everything and waits for the last word alone
   * can't be made to send again.
   */
  async #noticeStall({ ram }: Qapi.MigrationInfo, now: number): Promise<void> {
    const sent = ram === undefined ? 0 : toNumber(ram.transferred);
    if (sent !== this.#sent) {
      this.#sent = sent;
      this.#sentAt = now;
      this.#brokenAt = undefined;
      return;
    }
    if (now - this.#sentAt < this.#core.host.timeouts.stallMs) return;
    this.#brokenAt ??= this.#sentAt;
    this.#sentAt = now;
    // It may have ended in this moment.
    await ignoringRefusal(this.#session.execute("migrate-pause", {}, { oob: true }));
  }

  async #mend(mayBegin: boolean, now: number, signal: AbortSignal | undefined): Promise<void> {
    const { progressMs, stallMs } = this.#core.host.timeouts;
    const last = this.#attempt;
    if (last === undefined && !mayBegin) return;
    if (last !== undefined) {
      const age = now - last.begunAt;
      if (age < progressMs || (last.ends.busy && age < stallMs)) return;
      this.#failure = last.ends.failure ?? this.#failure;
      await this.#drop();
    }
    if (!mayBegin) {
      // From 8.2 on QEMU lets itself be brought out of a try that has failed.
      await ignoringRefusal(this.#session.execute("migrate-pause", {}, { oob: true }));
      return;
    }
    try {
      this.#attempt = await this.#begin(signal);
    } catch (error) {
      if (signal?.aborted === true || this.#session.process.over) throw error;
      this.#failure = asError(error);
    }
  }

  async #begin(signal: AbortSignal | undefined): Promise<Attempt> {
    const { files, definition } = this.#core;
    const place = this.#nextPlace();
    const stream = await this.#reach(place, signal);
    const request = { uuid: definition.uuid, destination: asJson(this.#token) };
    const ends = new OutgoingTunnels(() => Promise.resolve(stream), request);
    try {
      await ends.listen("memory", this.#paths.of(files.outgoing));
      await this.#lasting(stream, signal);
      const uri = `unix:${pathInQemu(GUEST_FILES.outgoing)}`;
      await this.#core.update((state) => withPlace(state, place));
      await this.#session.execute("migrate", { uri, resume: true }, { signal });
    } catch (error) {
      stream.destroy();
      await ends.close();
      throw error;
    }
    return { begunAt: this.#core.host.clock.monotonic(), stream, ends };
  }

  #nextPlace(): Place {
    const { migration } = this.#core.state;
    const last = migration?.role === "source" ? (migration.reachedAt ?? "memory") : "memory";
    return last === "memory" && this.#token.recovery !== undefined ? "recovery" : "memory";
  }

  /** A stream to the destination's QEMU. */
  async #reach(place: Place, signal: AbortSignal | undefined): Promise<Duplex> {
    const { clock, timeouts, migration } = this.#core.host;
    const address = this.#token[place] ?? this.#token.memory;
    const deadline = Deadline.after(timeouts.stallMs, { operation: "reaching the destination", clock, signal });
    try {
      if (address.type !== "tunnel")
        return await connected(
          address.type === "unix" ? { path: this.#paths.of(address.path) } : { host: address.host, port: address.port },
          deadline,
        );
      const { openTunnel } = migration;
      if (openTunnel === undefined) throw new MigrationError("the destination is behind a tunnel");
      const { uuid } = this.#core.definition;
      const request = { uuid, destination: asJson(this.#token), channel: "memory", takesDescriptor: false } as const;
      return requireStream(await deadline.race(openTunnel({ ...request, signal: deadline.signal })));
    } finally {
      deadline.dispose();
    }
  }

  /**
   * A stream that somebody else than QEMU has taken, on the way to it, ends when QEMU is not there. QEMU before 8.2 never gets over a try that fails, so that none is to be begun in vain.
   * @throws MigrationError
   */
  async #lasting(stream: Duplex, signal: AbortSignal | undefined): Promise<void> {
    const { clock, timeouts } = this.#core.host;
    const ended = new AbortController();
    const end = (): void => ended.abort();
    // It may have come already; and who reads nothing is not told of it.
    if (stream.readableEnded) end();
    stream.once("end", end).once("close", end).resume();
    const either = joinSignals([signal, ended.signal]);
    try {
      // Longer than a QEMU needs that has to try twice to wait.
      await clock.sleep(LASTING * timeouts.progressMs, { signal: either.signal });
    } catch (error) {
      if (!ended.signal.aborted) throw error;
    } finally {
      either.release();
      stream.pause().off("end", end).off("close", end);
    }
    if (ended.signal.aborted || stream.destroyed)
      throw new MigrationError("the destination does not wait for the guest any more");
  }

  async #drop(): Promise<void> {
    const attempt = this.#attempt;
    this.#attempt = undefined;
    // Also where QEMU has never come for it.
    attempt?.stream.destroy();
    await attempt?.ends.close();
  }

  #lost(): GuestCrashedError {
    return new GuestCrashedError(
      "the guest was lost in the middle of its migration: the connection broke after it had begun to run on the destination",
      { instance: this.#core.instance, ...(this.#failure === undefined ? {} : { cause: this.#failure }) },
    );
  }
}

type Place = "memory" | "recovery";

function withPlace(state: GuestState, reachedAt: Place): GuestState {
  const { migration } = state;
  return migration?.role === "source" ? withMigration(state, { ...migration, reachedAt }) : state;
}

async function connected(to: { path: string } | { host: string; port: number }, deadline: Deadline): Promise<Duplex> {
  const socket = connect({ ...to, allowHalfOpen: true });
  try {
    await deadline.race(
      new Promise<void>((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("error", reject);
      }),
    );
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

async function ignoringRefusal(asked: Promise<unknown>): Promise<void> {
  await asked.catch((error: unknown) => {
    if (!(error instanceof QmpCommandError)) throw error;
  });
}
