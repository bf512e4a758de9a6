/** How the bytes of an image come into a store: from a file, a stream or a URL, as one kind of thing. */
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { isAbsolute } from "node:path";
import { InvalidArgumentError } from "../../core/index.js";
import type { Clock } from "../../core/index.js";
import { copyFile } from "../copy-file.js";
import type { ChecksumAlgorithm, CopyResult } from "../copy-file.js";
import { downloadImage } from "./download-image.js";
import { checkHttpSettings, checkImageUrl, checkStallMs } from "./image-source.js";
import type { ByteStream, HttpImportOptions, HttpSettings, ImageSource } from "./image-source.js";
import type { TransferOptions } from "./image-store.js";
import type { ImageMetadata } from "./image.js";
import type { PartialDownloads } from "./partial-downloads.js";
import { receiveStream } from "./receive-stream.js";
import { ReceivedFile } from "./received-file.js";
import { errnoOf } from "../storage-failure.js";

export interface IntakeOptions extends TransferOptions {
  readonly checksum: ChecksumAlgorithm;
  readonly maxBytes: number;
}

export interface Intake {
  /** @throws InvalidArgumentError when the source is not one. Touches nothing. */
  check(): Promise<void>;
  /** Writes all bytes to a file that is not there; what is left of it on failure is the caller's to remove. */
  write(path: string, wanted: ImageMetadata, options: IntakeOptions): Promise<Required<CopyResult>>;
}

/** Takes a request apart. @throws InvalidArgumentError unless it has exactly one source. */
export function intakeOf(
  request: ImageMetadata & ImageSource,
  partials: PartialDownloads,
  clock: Clock,
): { readonly metadata: ImageMetadata; readonly intake: Intake } {
  const { path, stream, stallMs, url, http, ...metadata } = request as ImageMetadata & {
    readonly path?: string;
    readonly stream?: ByteStream;
    readonly stallMs?: number;
    readonly url?: string | URL;
    readonly http?: HttpImportOptions;
  };
  const given = [path, stream, url].filter((source) => source !== undefined);
  if (given.length !== 1)
    throw new InvalidArgumentError({ field: "path", value: undefined, expected: "one of path, stream and url" });
  if (stream !== undefined) return { metadata, intake: streamIntake(stream, checkStallMs(stallMs), clock) };
  if (url !== undefined)
    return { metadata, intake: httpIntake(checkImageUrl(url), checkHttpSettings(http), partials, clock) };
  return { metadata, intake: fileIntake(path as string) };
}

function fileIntake(path: string): Intake {
  return {
    check: () => checkFile(path),
    write: async (to, _wanted, options) => {
      const { bytes, checksum = "" } = await copyFile(path, to, options);
      return { bytes, checksum };
    },
  };
}

function streamIntake(stream: ByteStream, stallMs: number, clock: Clock): Intake {
  return {
    check: () => Promise.resolve(),
    write: (to, wanted, options) =>
      withFile(to, options, async (file) => {
        await receiveStream(stream, file, { ...options, clock, stallMs, bytesTotal: wanted.sizeBytes });
        return file.finish();
      }),
  };
}

function httpIntake(url: URL, settings: HttpSettings, partials: PartialDownloads, clock: Clock): Intake {
  const download = async (
    file: ReceivedFile,
    wanted: ImageMetadata,
    options: IntakeOptions,
    kept: Pick<Parameters<typeof downloadImage>[2], "validator" | "onValidator"> = {},
  ): Promise<Required<CopyResult>> => {
    const { checksum, sizeBytes } = wanted;
    const isChecked = checksum !== undefined;
    await downloadImage(url, file, { ...options, ...kept, clock, settings, isChecked, sizeBytes });
    return file.finish();
  };
  return {
    check: () => Promise.resolve(),
    write: (to, wanted, options) => {
      if (settings.keepPartialMs === 0) return withFile(to, options, (file) => download(file, wanted, options));
      return partials.use(wanted.id, url, settings.keepPartialMs, async (partial) => {
        const kept = { validator: partial.validator, onValidator: partial.note };
        const result = await withFile(partial.path, { ...options, resume: true }, (file) =>
          download(file, wanted, options, kept).catch(async (error: unknown) => {
            // What has filled the disk is not kept.
            await (errnoOf(error) === undefined ? file.flush() : file.restart());
            throw error;
          }),
        );
        await partial.take(to);
        return result;
      });
    },
  };
}

async function withFile<T>(
  path: string,
  options: IntakeOptions & { readonly resume?: boolean },
  use: (file: ReceivedFile) => Promise<T>,
): Promise<T> {
  const file = await ReceivedFile.open(path, options);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

async function checkFile(path: string): Promise<void> {
  const expected = "the absolute path of a file that can be read";
  if (typeof path !== "string" || !isAbsolute(path))
    throw new InvalidArgumentError({ field: "path", value: path, expected });
  try {
    await access(path, constants.R_OK);
  } catch (cause) {
    throw new InvalidArgumentError({ field: "path", value: path, expected, cause });
  }
}
