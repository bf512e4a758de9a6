/** One request for an image's bytes: redirects followed within limits, the answer held against what was asked. */
import { InvalidArgumentError, Secret } from "../../core/index.js";
import { ImageTransferError } from "../errors.js";
import { isHttp } from "./image-source.js";
import type { HttpSettings } from "./image-source.js";

export interface RangeRequest {
  /** Bytes from here on are wanted. */
  readonly from: number;
  /** An `ETag` or `Last-Modified`: the rest is wanted only of what this stood for. */
  readonly validator?: string | undefined;
}

export interface ImageAnswer {
  /** `whole`: the bytes are all, from the first. `rest`: those from where was asked. `changed`: it is not what was asked for any more. */
  readonly kind: "whole" | "rest" | "changed";
  readonly body: Response["body"];
  /** Of the whole image. */
  readonly bytesTotal?: number;
  readonly validator?: string;
}

/** A failure after which the same request may succeed. */
export class PassingFailure extends Error {
  override readonly name = "PassingFailure";
  /** As the server asks for it, in milliseconds. */
  readonly waitMs: number | undefined;
  readonly status: number | undefined;

  constructor(message: string, details: { cause?: unknown; waitMs?: number | undefined; status?: number } = {}) {
    super(message, { cause: details.cause });
    this.waitMs = details.waitMs;
    this.status = details.status;
  }
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);
const MAX_WAIT_MS = 60_000;

/**
 * Asks for the bytes of the URL; the signal ends the request and the reading of the answer.
 * @throws ImageTransferError for what asking again will not change, `PassingFailure` for the rest, InvalidArgumentError when `allow` refuses.
 */
export async function requestImage(
  start: URL,
  range: RangeRequest,
  settings: HttpSettings,
  signal: AbortSignal,
): Promise<ImageAnswer> {
  let url = start;
  for (let hop = 0; ; hop++) {
    if (settings.allow?.(url) === false)
      throw new InvalidArgumentError({ field: "url", value: placeOf(url), expected: "a URL that is allowed" });
    const response = await ask(url, start, range, settings, signal);
    if (!REDIRECTS.has(response.status)) return read(response, range, url);
    discard(response);
    if (hop === settings.maxRedirects)
      throw final(`the image's URL was redirected more than ${settings.maxRedirects} times`, url, response.status);
    url = targetOf(response, url);
  }
}

async function ask(
  url: URL,
  start: URL,
  { from, validator }: RangeRequest,
  settings: HttpSettings,
  signal: AbortSignal,
): Promise<Response> {
  const headers = new Headers({ "accept-encoding": "identity" });
  for (const [name, value] of Object.entries(settings.headers)) {
    const isSecret = value instanceof Secret || /^(?:authorization|cookie)$/i.test(name);
    if (isSecret && url.origin !== start.origin) continue;
    headers.set(name, value instanceof Secret ? value.reveal() : value);
  }
  if (from > 0) headers.set("range", `bytes=${from}-`);
  if (from > 0 && validator !== undefined) headers.set("if-range", validator);
  try {
    return await settings.fetch(url, { headers, redirect: "manual", signal });
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw new PassingFailure(`no answer from ${placeOf(url)}`, { cause });
  }
}

function read(response: Response, { from, validator: wanted }: RangeRequest, url: URL): ImageAnswer {
  const { status, headers } = response;
  const encoding = headers.get("content-encoding");
  if ((status === 200 || status === 206) && encoding !== null && encoding.toLowerCase() !== "identity") {
    discard(response);
    throw final("the server sends the image in an encoding that was not asked for", url, status);
  }
  const validator = validatorOf(headers);
  if (status === 200) {
    const length = integerOf(headers.get("content-length"));
    return {
      kind: "whole",
      body: response.body,
      ...(length === undefined ? {} : { bytesTotal: length }),
      ...(validator === undefined ? {} : { validator }),
    };
  }
  if (status === 206 && from > 0) {
    const [, first, , total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(headers.get("content-range") ?? "") ?? [];
    const isOther = wanted !== undefined && validator !== undefined && validator !== wanted;
    if (integerOf(first) === from && !isOther) {
      const bytesTotal = integerOf(total);
      return { kind: "rest", body: response.body, ...(bytesTotal === undefined ? {} : { bytesTotal }) };
    }
    discard(response);
    if (isOther) return { kind: "changed", body: null };
    throw final("the server sends another part of the image than was asked for", url, status);
  }
  discard(response);
  if (status === 416 && from > 0) return { kind: "changed", body: null };
  if (PASSING.has(status))
    throw new PassingFailure(`${placeOf(url)} answered ${status}`, {
      status,
      waitMs: waitOf(headers.get("retry-after")),
    });
  throw final(`the server answered ${status}`, url, status);
}

function targetOf(response: Response, from: URL): URL {
  let target: URL | undefined;
  try {
    target = new URL(response.headers.get("location") ?? "", from);
  } catch {
    // Said below.
  }
  const usable =
    target !== undefined &&
    response.headers.get("location") !== null &&
    isHttp(target) &&
    !(from.protocol === "https:" && target.protocol === "http:");
  if (!usable) throw final("the image's URL was redirected to where it can't be followed", from, response.status);
  // A redirect never says who we are.
  const next = new URL(target as URL);
  next.username = next.password = "";
  return next;
}

/** A strong tag, else the time of the last change. */
function validatorOf(headers: Headers): string | undefined {
  const tag = headers.get("etag");
  if (tag !== null && tag.length <= 1024 && tag.startsWith('"')) return tag;
  const date = headers.get("last-modified");
  return date !== null && !Number.isNaN(Date.parse(date)) && date.length <= 64 ? date : undefined;
}

function integerOf(text: string | null | undefined): number | undefined {
  return text !== null && text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function waitOf(header: string | null): number | undefined {
  const seconds = integerOf(header);
  return seconds === undefined ? undefined : Math.min(seconds * 1000, MAX_WAIT_MS);
}

function discard(response: Response): void {
  response.body?.cancel().catch(() => undefined);
}

/** Without the query, which may hold a signature. */
export function placeOf({ protocol, host, pathname }: URL): string {
  return `${protocol}//${host}${pathname}`.slice(0, 1024);
}

function final(message: string, url: URL, status: number): ImageTransferError {
  return new ImageTransferError(message, { status, retryable: false, detail: placeOf(url) });
}
