/** The link by which a guest that runs on its destination gets the rest of its memory: watched, and made anew when it has broken. */
import { asError, traceMessage } from "../../../core/index.js";
import { MigrationError } from "../../../driver/index.js";
import { LibvirtError } from "../../rpc/index.js";
import type { LibvirtClient } from "../../rpc/index.js";
import type { GuestCore } from "../guest-core.js";
import type { OutgoingRecord } from "../state/migration-record.js";
import { planResumption } from "./departure.js";
import { readFigures, tellWhile } from "./figures.js";
import { Nudge } from "./nudge.js";
import { progressOf } from "./progress.js";
import type { JobFigures } from "./progress.js";
import { MigrationSteps } from "./steps.js";
import { parseToken } from "./token.js";
import { hasArrived, lookAt, openDestination } from "./whereabouts.js";
import type { Whereabouts } from "./whereabouts.js";

/** `absent`: it has never run there. `lost`: it ran there, and the rest of its memory will not come. */
export type PostcopyEnd = "arrived" | "lost" | "absent";

export interface PostcopyOptions {
  readonly bandwidthMiBps?: number;
  readonly tell?: (figures: JobFigures) => void;
  readonly signal?: AbortSignal;
}

/** Of one migration. Times are of the monotonic clock. */
export class PostcopyLink {
  readonly #core: GuestCore;
  readonly #record: OutgoingRecord;
  readonly #options: PostcopyOptions;
  readonly #nudge = new Nudge();
  #sent = -1;
  #sentAt = 0;
  #brokenAt: number | undefined;

  constructor(core: GuestCore, record: OutgoingRecord, options: PostcopyOptions = {}) {
    this.#core = core;
    this.#record = record;
    this.#options = options;
  }

  /**
   * Waits for the destination's word that it has all, or that it lacks some.
   * @throws what `finishing` throws, MigrationError when the link has been broken for `recoveryMs`
   */
  async follow(finishing: Promise<void>): Promise<void> {
    await tellWhile(this.#core, finishing, this.#nudge, async (figures) => {
      this.#options.tell?.(figures);
      await this.#look(figures);
      if (this.#isLost) throw new MigrationError("the link of a post-copy stays broken");
    });
  }

  /** Resolves when it is certain what becomes of the guest; a link that has broken is made anew until `recoveryMs` have passed. @throws AbortedError when the signal ends it */
  async end(): Promise<PostcopyEnd> {
    const { clock, timeouts } = this.#core.host;
    let peer: LibvirtClient | undefined;
    try {
      for (;;) {
        let at: Whereabouts | undefined;
        try {
          peer ??= await this.#reach();
          at = await this.#whereabouts(peer);
        } catch (error) {
          this.#failed(asError(error));
          await peer?.close();
          peer = undefined;
        }
        if (at === "there") return "arrived";
        if (at === "absent") return "absent";
        if (at === "lost" && (await this.#resumed())) return "arrived";
        if (at === "arriving") await this.#look((await readFigures(this.#core)) ?? {});
        if (this.#isLost) return "lost";
        await clock.sleep(timeouts.progressMs, { signal: this.#options.signal });
      }
    } finally {
      await peer?.close();
    }
  }

  get #isLost(): boolean {
    const { clock, timeouts } = this.#core.host;
    return this.#brokenAt !== undefined && clock.monotonic() - this.#brokenAt > timeouts.recoveryMs;
  }

  #reach(): Promise<LibvirtClient> {
    const { timeouts } = this.#core.host;
    return openDestination(this.#core, this.#record.connectionUri, {
      signal: this.#options.signal,
      deadlineMs: timeouts.callMs,
    });
  }

  async #whereabouts(peer: LibvirtClient): Promise<Whereabouts> {
    const { host, definition } = this.#core;
    const domain = peer.handle("Domain", { name: definition.name, uuid: definition.uuid, id: -1 });
    const at = await lookAt(domain, { deadlineMs: host.timeouts.queryMs });
    if (at !== "waiting") return at;
    // It may be about to run.
    return (await hasArrived(this.#core, this.#record.connectionUri)) ? "arriving" : "absent";
  }

  /** A peer that has gone without a word is given up: QEMU would wait for it for a quarter of an hour. */
  async #look(figures: JobFigures): Promise<void> {
    const { domain, host } = this.#core;
    const { clock, timeouts } = host;
    const { memoryTransferredBytes: sent } = progressOf("postcopy", figures);
    const now = clock.monotonic();
    // Where libvirt did not answer, nobody knows.
    if (sent !== this.#sent || sent === 0) {
      if (sent > this.#sent && this.#sent >= 0) this.#brokenAt = undefined;
      this.#sent = sent;
      this.#sentAt = now;
    } else if (now - this.#sentAt >= timeouts.stallMs) {
      this.#brokenAt ??= this.#sentAt;
      this.#sentAt = now;
      await domain.abortJobFlags({ flags: ["postcopy"], deadlineMs: timeouts.queryMs }).catch(onlyRefused);
    }
  }

  /** One try with another link. False when it was in vain. */
  async #resumed(): Promise<boolean> {
    const core = this.#core;
    const { timeouts } = core.host;
    this.#brokenAt ??= core.host.clock.monotonic();
    const { token, wasRunning } = this.#record;
    if (token === undefined) return false;
    let peer: LibvirtClient | undefined;
    let steps: MigrationSteps | undefined;
    try {
      const given = parseToken(token, core.definition.uuid);
      const plan = await planResumption(core, given, this.#options.bandwidthMiBps ?? 0, wasRunning);
      // What is begun there and not finished ends with the connection by which it was.
      peer = await this.#reach();
      steps = new MigrationSteps(core, peer, plan);
      await steps.beginAndPrepare();
      await steps.perform(timeouts.migrationMs);
      await this.follow(steps.finish(timeouts.migrationMs));
      await steps.confirm().catch(() => undefined);
      return true;
    } catch (error) {
      this.#failed(asError(error));
      await steps?.cancel();
      return false;
    } finally {
      await peer?.close();
    }
  }

  #failed(error: Error): void {
    const { instance, host } = this.#core;
    this.#brokenAt ??= host.clock.monotonic();
    traceMessage("hypervise:libvirt:background-failure", () => ({ instance, error: error.message }));
  }
}

function onlyRefused(error: unknown): void {
  if (!(error instanceof LibvirtError)) throw error;
}
