/** An HTTP server of one image that breaks off, changes, redirects and refuses as a test wants it. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type Behaviour = (request: IncomingMessage, response: ServerResponse, server: ImageServer) => void;

export class ImageServer implements AsyncDisposable {
  /** Of each request: path, range and the headers that matter. */
  readonly requests: {
    readonly url: string;
    readonly range?: string;
    readonly ifRange?: string;
    readonly authorization?: string;
  }[] = [];
  bytes: Buffer;
  etag: string | undefined = '"first"';
  #queue: Behaviour[] = [];
  #breaking: { readonly response: ServerResponse; readonly at: number } | undefined;
  #usual: Behaviour = (request, response, server) => server.serve(request, response);
  readonly #http = createServer((request, response) => {
    const { range, authorization } = request.headers;
    const ifRange = request.headers["if-range"];
    this.requests.push({
      url: request.url ?? "",
      ...(range === undefined ? {} : { range }),
      ...(typeof ifRange === "string" ? { ifRange } : {}),
      ...(authorization === undefined ? {} : { authorization }),
    });
    (this.#queue.shift() ?? this.#usual)(request, response, this);
  });

  private constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  static async start(bytes: Buffer): Promise<ImageServer> {
    const server = new ImageServer(bytes);
    server.#http.listen(0, "127.0.0.1");
    await once(server.#http, "listening");
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}/image`;
  }

  /** What the next requests meet, one each; later ones are answered as is usual. */
  next(...behaviours: Behaviour[]): void {
    this.#queue = behaviours;
  }

  always(behaviour: Behaviour): void {
    this.#usual = behaviour;
  }

  /** Answers in full, or the range that is asked for. */
  serve(request: IncomingMessage, response: ServerResponse, { cutAfter = Infinity } = {}): void {
    const [, start] = /^bytes=(\d+)-$/.exec(request.headers.range ?? "") ?? [];
    const stale = request.headers["if-range"] !== undefined && request.headers["if-range"] !== this.etag;
    const from = start === undefined || stale ? 0 : Number(start);
    const body = this.bytes.subarray(from);
    response.writeHead(from === 0 ? 200 : 206, {
      "content-length": body.length,
      ...(this.etag === undefined ? {} : { etag: this.etag }),
      ...(from === 0 ? {} : { "content-range": `bytes ${from}-${this.bytes.length - 1}/${this.bytes.length}` }),
    });
    if (cutAfter >= body.length) {
      response.end(body);
      return;
    }
    response.write(body.subarray(0, cutAfter));
    if (cutAfter === 0) response.flushHeaders();
    this.#breaking = { response, at: from + cutAfter };
    if (cutAfter === 0) setImmediate(() => this.arrived(from));
  }

  /** To be told of how much has come: an answer that breaks off does so when all that it brings is there. */
  arrived(bytes: number): void {
    if (this.#breaking === undefined || bytes < this.#breaking.at) return;
    this.#breaking.response.destroy();
    this.#breaking = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#http.closeAllConnections();
    this.#http.close();
    await once(this.#http, "close");
  }
}

/** Breaks off after so many bytes. */
export function cut(cutAfter: number): Behaviour {
  return (request, response, server) => server.serve(request, response, { cutAfter });
}

export function status(code: number, headers: Readonly<Record<string, string>> = {}): Behaviour {
  return (_request, response) => response.writeHead(code, headers).end("sorry");
}
