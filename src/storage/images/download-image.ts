/** Fetches an image by HTTP into a file, going on where a connection broke off. */
import { Deadline, isHyperviseError, joinSignals, withDeadline } from "../../core/index.js";
import { ImageTransferError, ImageUnacceptableError } from "../errors.js";
import { errnoOf } from "../storage-failure.js";
import { PassingFailure, placeOf, requestImage } from "./http-request.js";
import type { ImageAnswer } from "./http-request.js";
import type { HttpSettings, ReceiveOptions } from "./image-source.js";
import type { TransferOptions } from "./image-store.js";
import { receiveStream } from "./receive-stream.js";
import type { ReceivedFile } from "./received-file.js";

export interface DownloadOptions extends ReceiveOptions, TransferOptions {
  readonly settings: HttpSettings;
  /** What the bytes that the file has already stood for. */
  readonly validator?: string | undefined;
  /** The bytes are held against a checksum in the end: they may be put together without a validator. */
  readonly isChecked: boolean;
  /** As the image's record says. */
  readonly sizeBytes?: number | undefined;
  /** Told before bytes of something new come. */
  readonly onValidator?: (validator: string | undefined) => Promise<void>;
}

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/**
 * Rejects with `ImageTransferError`, `ImageUnacceptableError` when it is too large, `DeadlineExceededError` after
 * `settings.timeoutMs`, and what the file throws.
 */
export async function downloadImage(url: URL, file: ReceivedFile, options: DownloadOptions): Promise<void> {
  const { clock, signal, settings } = options;
  const deadline = Deadline.after(settings.timeoutMs, { operation: "fetching the image by HTTP", clock, signal });
  try {
    deadline.throwIfExpired();
    // Not raced: when this returns, nothing writes to the file any more.
    await new Download(url, file, options, deadline).run();
  } finally {
    deadline.dispose();
  }
}

class Download {
  readonly #url: URL;
  readonly #file: ReceivedFile;
  readonly #options: DownloadOptions;
  readonly #deadline: Deadline;
  #validator: string | undefined;
  #bytesTotal: number | undefined;
  #idle = 0;
  #restarts = 0;

  constructor(url: URL, file: ReceivedFile, options: DownloadOptions, deadline: Deadline) {
    this.#url = url;
    this.#file = file;
    this.#options = options;
    this.#deadline = deadline;
    this.#validator = options.validator;
  }

  async run(): Promise<void> {
    for (;;) {
      const before = this.#file.bytes;
      try {
        if (await this.#attempt()) return;
        continue;
      } catch (error) {
        this.#deadline.throwIfExpired();
        if (!isPassing(error)) throw error;
        this.#idle = this.#file.bytes > before ? 1 : this.#idle + 1;
        if (this.#idle >= this.#options.settings.attempts) throw this.#gaveUp(error);
        await this.#file.flush();
        await this.#pause(error);
      }
    }
  }

  /** False when it has to be asked anew from the first byte. */
  async #attempt(): Promise<boolean> {
    const { settings, clock, isChecked, onProgress } = this.#options;
    const connection = new AbortController();
    const { signal, release } = joinSignals([this.#deadline.signal, connection.signal]);
    try {
      if (this.#file.bytes > 0 && this.#validator === undefined && !isChecked) await this.#restart();
      const from = this.#file.bytes;
      const answer = await withDeadline(
        settings.stallMs,
        { operation: "waiting for the server's answer", clock, signal },
        () => requestImage(this.#url, { from, validator: this.#validator }, settings, signal),
      );
      if (answer.kind === "changed") {
        await this.#restart();
        return false;
      }
      if (answer.kind === "whole") await this.#startOver(answer);
      this.#checkTotal(answer);
      if (answer.body !== null)
        await receiveStream(answer.body as Parameters<typeof receiveStream>[0], this.#file, {
          clock,
          signal,
          stallMs: settings.stallMs,
          bytesTotal: this.#bytesTotal,
          onProgress,
        });
      if (this.#bytesTotal !== undefined && this.#file.bytes < this.#bytesTotal)
        throw new PassingFailure("the connection broke off");
      return true;
    } finally {
      connection.abort();
      release();
    }
  }

  async #startOver(answer: ImageAnswer): Promise<void> {
    if (this.#file.bytes > 0) await this.#restart();
    this.#validator = answer.validator;
    await this.#options.onValidator?.(answer.validator);
  }

  async #restart(): Promise<void> {
    if (++this.#restarts > this.#options.settings.attempts)
      throw new ImageTransferError("the image changes on the server while it is fetched", {
        detail: placeOf(this.#url),
      });
    this.#bytesTotal = undefined;
    this.#validator = undefined;
    await this.#file.restart();
  }

  #checkTotal({ bytesTotal }: ImageAnswer): void {
    const { sizeBytes } = this.#options;
    if (bytesTotal === undefined) return;
    this.#file.checkSize(bytesTotal);
    if (sizeBytes !== undefined && sizeBytes !== bytesTotal)
      throw new ImageUnacceptableError(`the image's sizeBytes is ${bytesTotal}, not ${sizeBytes}`);
    this.#bytesTotal = bytesTotal;
  }

  async #pause(error: unknown): Promise<void> {
    const asked = error instanceof PassingFailure ? error.waitMs : undefined;
    const ms = asked ?? Math.min(FIRST_PAUSE_MS * 2 ** (this.#idle - 1), LONGEST_PAUSE_MS);
    await this.#options.clock.sleep(ms, { signal: this.#deadline.signal });
  }

  #gaveUp(cause: unknown): ImageTransferError {
    const status = cause instanceof PassingFailure ? cause.status : undefined;
    return new ImageTransferError("the image did not come from its server", {
      cause,
      status,
      detail: placeOf(this.#url),
    });
  }
}

/** A connection that broke off or brings nothing may be followed by a better one; nothing else may. */
function isPassing(error: unknown): boolean {
  if (error instanceof PassingFailure) return true;
  if (errnoOf(error) !== undefined) return false;
  if (!isHyperviseError(error)) return false;
  return error.code === "DEADLINE_EXCEEDED" || (error.code === "IMAGE_TRANSFER_FAILED" && error.retryable);
}
