/** Where the bytes of an image that is imported come from. */
import type { ReadableStream } from "node:stream/web";
import { check, InvalidArgumentError } from "../../core/index.js";
import type { Clock, SecretLike } from "../../core/index.js";

/** A Node stream, a web stream, or anything else that yields chunks of bytes. */
export type ByteStream = AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>;

export interface FileImageSource {
  /** Absolute path of a regular file, which is copied. */
  readonly path: string;
}

export interface StreamImageSource {
  /** Read to its end, or cancelled when the import fails. */
  readonly stream: ByteStream;
  /** The longest wait for the next chunk, in milliseconds. Default 60000. */
  readonly stallMs?: number;
}

export interface HttpImageSource {
  /** `http:` or `https:`, without a user name or password: those belong into `headers`. */
  readonly url: string | URL;
  readonly http?: HttpImportOptions;
}

export type ImageSource = FileImageSource | StreamImageSource | HttpImageSource;

/** How an image is fetched by HTTP. */
export interface HttpImportOptions {
  /** Sent with each request, but to another origin than the URL's only what is named in no secret: `authorization` and `cookie` are left out there, and all values given as `Secret`. */
  readonly headers?: Readonly<Record<string, SecretLike>>;
  /** Redirects that are followed, 0 to 20. Never from `https:` to `http:`. Default 5. */
  readonly maxRedirects?: number;
  /** Asked for the URL and for each one that it redirects to; false refuses it. For embedders that take URLs from strangers. */
  readonly allow?: (url: URL) => boolean;
  /** Connections in a row that bring not a single byte before the import is given up, 1 to 100; as often it may start from the first byte. Default 5. */
  readonly attempts?: number;
  /** The longest wait for an answer or the next bytes, in milliseconds. Default 60000. */
  readonly stallMs?: number;
  /** All of the transfer, in milliseconds. Default 21600000, six hours. */
  readonly timeoutMs?: number;
  /**
   * When the import fails or is aborted, keep what has come for so many milliseconds: the next import of the same id from the
   * same URL goes on from there, in this process or another. Default 0: nothing is kept.
   */
  readonly keepPartialMs?: number;
  /** Default: the platform's `fetch`. */
  readonly fetch?: (url: URL, init: RequestInit) => Promise<Response>;
}

/** With every default filled in. */
export type HttpSettings = Required<Omit<HttpImportOptions, "headers" | "allow">> &
  Pick<HttpImportOptions, "allow"> & { readonly headers: Readonly<Record<string, SecretLike>> };

export interface ReceiveOptions {
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/** The longest wait for a chunk of a stream that names none, in milliseconds. */
export const DEFAULT_STALL_MS = 60_000;
const MAX_MS = 2 ** 31 - 1;

const checkMs = check.integer({ min: 1, max: MAX_MS });
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;
/** These are the transfer's own. */
const RESERVED = new Set(["range", "if-range", "accept-encoding", "host", "connection", "content-length"]);

/** @throws InvalidArgumentError */
export function checkHttpSettings(options: HttpImportOptions = {}): HttpSettings {
  const field = "http";
  const { allow, fetch = (url: URL, init: RequestInit) => globalThis.fetch(url, init) } = options;
  for (const [name, value] of Object.entries({ allow, fetch })) {
    if (value !== undefined && typeof value !== "function")
      throw new InvalidArgumentError({ field: `${field}.${name}`, value, expected: "a function" });
  }
  const headers = Object.entries(options.headers ?? {});
  for (const [name, value] of headers) {
    if (!HEADER_NAME.test(name) || RESERVED.has(name.toLowerCase()))
      throw new InvalidArgumentError({ field: `${field}.headers`, value: name, expected: "headers that may be set" });
    const text = typeof value === "string" ? value : value.reveal();
    if (!/^[\t\x20-\x7e\x80-\xff]{0,8192}$/.test(text))
      throw new InvalidArgumentError({ field: `${field}.headers.${name}`, value: "[header]", expected: "header text" });
  }
  return {
    headers: Object.fromEntries(headers),
    maxRedirects: check.integer({ min: 0, max: 20 })(options.maxRedirects ?? 5, `${field}.maxRedirects`),
    attempts: check.integer({ min: 1, max: 100 })(options.attempts ?? 5, `${field}.attempts`),
    stallMs: checkMs(options.stallMs ?? DEFAULT_STALL_MS, `${field}.stallMs`),
    timeoutMs: checkMs(options.timeoutMs ?? 6 * 3_600_000, `${field}.timeoutMs`),
    keepPartialMs: check.integer({ min: 0, max: 31 * 24 * 3_600_000 })(
      options.keepPartialMs ?? 0,
      `${field}.keepPartialMs`,
    ),
    fetch,
    ...(allow === undefined ? {} : { allow }),
  };
}

/** @throws InvalidArgumentError */
export function checkImageUrl(given: string | URL): URL {
  const expected = "an http: or https: URL without user name and password";
  let url: URL;
  try {
    url = new URL(given);
  } catch (cause) {
    throw new InvalidArgumentError({ field: "url", value: "[url]", expected, cause });
  }
  if (!isHttp(url) || url.username !== "" || url.password !== "" || url.href.length > 8192)
    throw new InvalidArgumentError({ field: "url", value: `${url.protocol}//${url.host}`, expected });
  return url;
}

export function isHttp({ protocol }: URL): boolean {
  return protocol === "http:" || protocol === "https:";
}

/** @throws InvalidArgumentError */
export function checkStallMs(stallMs: number | undefined): number {
  return checkMs(stallMs ?? DEFAULT_STALL_MS, "stallMs");
}
