import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { ReadableStream } from "node:stream/web";
import { describe, expect, it } from "vitest";
import { Secret, systemClock } from "../../../src/core/index.js";
import type { Clock } from "../../../src/core/index.js";
import { DirectoryImageStore } from "../../../src/storage/index.js";
import type { HttpImportOptions } from "../../../src/storage/index.js";
import { FakeQemuImg } from "./support/fake-qemu-img.js";
import { cut, ImageServer, status } from "./support/image-server.js";
import { inDirectory, tree } from "./support/tree.js";

/** Does not wait between attempts; time can be put forward. */
class QuickClock implements Clock {
  readonly monotonic = systemClock.monotonic;
  readonly setTimeout = systemClock.setTimeout;
  ahead = 0;
  readonly slept: number[] = [];
  now = (): number => Date.now() + this.ahead;
  sleep = (ms: number): Promise<void> => {
    this.slept.push(ms);
    return Promise.resolve();
  };
}

const BYTES = Buffer.alloc(3 * 1024 * 1024, Buffer.from(Array.from({ length: 251 }, (_item, i) => i)));
BYTES.fill(0, 1024 * 1024, 2 * 1024 * 1024);
const CHECKSUM = `sha256:${createHash("sha256").update(BYTES).digest("hex")}`;

interface World {
  readonly directory: string;
  readonly store: DirectoryImageStore;
  readonly server: ImageServer;
  readonly clock: QuickClock;
  /** Imports from the server as the raw image `a`. */
  fetchIt(http?: HttpImportOptions, more?: { url?: string; checksum?: string; signal?: AbortSignal }): Promise<unknown>;
}

function inWorld(test: (world: World) => Promise<void>, options: { maxImageBytes?: number } = {}): Promise<void> {
  return inDirectory(async (root) => {
    await using server = await ImageServer.start(BYTES);
    const [directory, clock] = [join(root, "images"), new QuickClock()];
    const store = new DirectoryImageStore({ directory, commands: new FakeQemuImg(), clock, ...options });
    const fetchIt: World["fetchIt"] = (http, { url = server.url, checksum, signal } = {}) =>
      store.import(
        {
          id: "a",
          format: "raw",
          url,
          ...(http === undefined ? {} : { http }),
          ...(checksum === undefined ? {} : { checksum }),
        },
        { signal, onProgress: ({ bytesDone }) => server.arrived(bytesDone) },
      );
    await test({ directory, store, server, clock, fetchIt });
  });
}

async function bytesOf({ directory, store }: World): Promise<void> {
  const path = join(directory, "a", "image.raw");
  expect((await readFile(path)).equals(BYTES)).toBe(true);
  expect(await store.describe("a")).toMatchObject({ sizeBytes: BYTES.length, checksum: CHECKSUM });
}

async function nothingIsLeft({ directory }: World): Promise<void> {
  expect((await tree(directory).catch(() => [])).filter((line) => !line.endsWith("/"))).toEqual([]);
}

async function* chunks(size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < BYTES.length; at += size) {
    await Promise.resolve();
    yield BYTES.subarray(at, at + size);
  }
}

describe("an image from a stream", () => {
  it.each([
    ["a Node stream", () => Readable.from(chunks(70_001))],
    ["a web stream", () => ReadableStream.from<Uint8Array>(chunks(65_536))],
    ["anything that yields bytes", () => chunks(1_048_577)],
  ] as const)("comes from %s, with its checksum, its progress, and its holes", (_what, open) =>
    inWorld(async (world) => {
      const progress: number[] = [];
      await world.store.import(
        { id: "a", format: "raw", stream: open(), checksum: CHECKSUM },
        { onProgress: ({ bytesDone }) => progress.push(bytesDone) },
      );
      await bytesOf(world);
      expect(progress.at(-1)).toBe(BYTES.length);
      const { blocks } = await stat(join(world.directory, "a", "image.raw"));
      expect(blocks * 512).toBeLessThan(BYTES.length);
    }),
  );

  it.each([
    ["breaks off", { code: "IMAGE_TRANSFER_FAILED" }, {}, () => brokenAfter(3)],
    ["is too long", { code: "IMAGE_UNACCEPTABLE" }, { maxImageBytes: 1_000_000 }, () => chunks(4096)],
    ["is no stream", { code: "INVALID_ARGUMENT", field: "stream" }, {}, () => 7 as never],
    ["is one of text", { code: "INVALID_ARGUMENT", field: "stream" }, {}, () => Readable.from(["text"])],
  ] as const)("that %s is not kept, and is let go of", (_what, error, limits, open) =>
    inWorld(async (world) => {
      const stream = open() as AsyncIterable<Uint8Array>;
      await expect(world.store.import({ id: "a", format: "raw", stream })).rejects.toMatchObject(error);
      await nothingIsLeft(world);
      if (stream instanceof Readable) expect(stream.destroyed).toBe(true);
    }, limits),
  );

  it("that stops is given up in time, and one that is aborted at once", () =>
    inWorld(async (world) => {
      const silent = (): Readable => new Readable({ read: () => undefined });
      for (const stream of [silent(), new ReadableStream<Uint8Array>(), neverEnding()]) {
        await expect(world.store.import({ id: "a", format: "raw", stream, stallMs: 20 })).rejects.toMatchObject({
          code: "DEADLINE_EXCEEDED",
        });
      }
      const controller = new AbortController();
      const stream = silent();
      const importing = world.store.import({ id: "a", format: "raw", stream }, { signal: controller.signal });
      setImmediate(() => controller.abort());
      await expect(importing).rejects.toMatchObject({ code: "ABORTED" });
      await nothingIsLeft(world);
    }));

  it("is one of three kinds of source, and only one", () =>
    inWorld(async ({ store, server }) => {
      const both = { id: "a", format: "raw", path: "/image", url: server.url } as const;
      await expect(store.import(both)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "path" });
      await expect(store.import({ id: "a", format: "raw" } as never)).rejects.toMatchObject({ field: "path" });
    }));
});

describe("an image by HTTP", () => {
  it("comes whole, with progress of a known whole", () =>
    inWorld(async (world) => {
      const progress: unknown[] = [];
      await world.store.import(
        { id: "a", format: "raw", url: new URL(world.server.url), checksum: CHECKSUM },
        { onProgress: (one) => progress.push(one) },
      );
      await bytesOf(world);
      expect(progress.at(-1)).toEqual({ bytesDone: BYTES.length, bytesTotal: BYTES.length });
      expect(world.server.requests).toEqual([{ url: "/image" }]);
    }));

  it("goes on where a connection broke off, as long as the server has the same image", () =>
    inWorld(async (world) => {
      world.server.next(cut(1_000_000), cut(0), status(503, { "retry-after": "2" }), cut(500_000));
      await world.fetchIt();
      await bytesOf(world);
      const [first, second, , , last] = world.server.requests;
      expect(first).not.toHaveProperty("range");
      expect(second).toMatchObject({ ifRange: '"first"', range: expect.stringMatching(/^bytes=\d+-$/) as string });
      expect(Number(last?.range?.slice(6, -1))).toBeGreaterThan(Number(second?.range?.slice(6, -1)));
      expect(world.clock.slept).toContain(2000);
    }));

  it("starts anew when the image has changed meanwhile, and never mixes two", () =>
    inWorld(async (world) => {
      const old = Buffer.alloc(BYTES.length, 9);
      world.server.bytes = old;
      world.server.next(cut(700_000), (request, response, server) => {
        [server.bytes, server.etag] = [BYTES, '"second"'];
        server.serve(request, response);
      });
      await world.fetchIt();
      await bytesOf(world);
    }));

  it.each([
    [
      "ignores ranges",
      (server: ImageServer): void =>
        server.next(cut(500_000), (request, response) => {
          delete request.headers.range;
          server.serve(request, response);
        }),
    ],
    [
      "sends no validator",
      (server: ImageServer) => {
        server.etag = undefined;
        server.next(cut(500_000));
      },
    ],
    [
      "has only a weak one",
      (server: ImageServer) => {
        server.etag = 'W/"weak"';
        server.next(cut(500_000));
      },
    ],
    ["finds the range out of its image", (server: ImageServer): void => server.next(cut(500_000), status(416))],
  ] as const)("starts anew when the server %s", (_what, prepare) =>
    inWorld(async (world) => {
      prepare(world.server);
      await world.fetchIt();
      await bytesOf(world);
      expect(world.server.requests.length).toBeGreaterThan(1);
    }),
  );

  it("may be put together without a validator where a checksum holds it", () =>
    inWorld(async (world) => {
      world.server.etag = undefined;
      world.server.next(cut(500_000));
      await world.fetchIt({}, { checksum: CHECKSUM });
      await bytesOf(world);
      expect(world.server.requests[1]?.range).toBeDefined();
    }));

  it.each([
    ["refuses", status(404), { code: "IMAGE_TRANSFER_FAILED", status: 404, retryable: false }, 1],
    ["is not well", status(500), { code: "IMAGE_TRANSFER_FAILED", status: 500, retryable: true }, 3],
    ["brings nothing", cut(0), { code: "IMAGE_TRANSFER_FAILED", retryable: true }, 3],
    ["never answers", () => undefined, { code: "IMAGE_TRANSFER_FAILED" }, undefined],
    ["sends something compressed", status(200, { "content-encoding": "gzip" }), { code: "IMAGE_TRANSFER_FAILED" }, 1],
    ["redirects in circles", status(302, { location: "/image" }), { code: "IMAGE_TRANSFER_FAILED" }, 3],
    ["redirects to a file", status(302, { location: "file:///etc/passwd" }), { code: "IMAGE_TRANSFER_FAILED" }, 1],
    ["redirects to nowhere", status(302), { code: "IMAGE_TRANSFER_FAILED" }, 1],
    ["says that it is too large", status(200, { "content-length": "99999999" }), { code: "IMAGE_UNACCEPTABLE" }, 1],
  ] as const)("of a server that %s is given up, and nothing is left", (_what, behaviour, error, requests) =>
    inWorld(
      async (world) => {
        world.server.always(behaviour);
        const http = { attempts: 3, maxRedirects: 2, ...(requests === undefined ? { stallMs: 200 } : {}) };
        await expect(world.fetchIt(http)).rejects.toMatchObject(error);
        if (requests !== undefined) expect(world.server.requests).toHaveLength(requests);
        await nothingIsLeft(world);
      },
      { maxImageBytes: 10 * 1024 * 1024 },
    ),
  );

  it("that grows past the limit, has another checksum, another size, or changes each time is not kept", () =>
    inWorld(
      async (world) => {
        world.server.next((_request, response) => {
          response.writeHead(200);
          const more = (): void => {
            while (response.write(BYTES.subarray(0, 65_536)));
            response.once("drain", more);
          };
          more();
        });
        await expect(world.fetchIt()).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
        const other = `sha256:${"0".repeat(64)}`;
        await expect(world.fetchIt({}, { checksum: other })).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
        const sized = { id: "a", format: "raw", url: world.server.url, sizeBytes: 5 } as const;
        await expect(world.store.import(sized)).rejects.toMatchObject({ code: "IMAGE_UNACCEPTABLE" });
        let version = 0;
        world.server.always((request, response, server) => {
          server.etag = `"${++version}"`;
          server.serve(request, response, { cutAfter: 100_000 });
        });
        await expect(world.fetchIt({ attempts: 3 })).rejects.toMatchObject({ code: "IMAGE_TRANSFER_FAILED" });
        await nothingIsLeft(world);
      },
      { maxImageBytes: 5 * 1024 * 1024 },
    ));

  it("is aborted, and ends when its time is over", () =>
    inWorld(async (world) => {
      const controller = new AbortController();
      world.server.always((request, response, server) => {
        server.serve(request, response, { cutAfter: 100_000 });
        setImmediate(() => controller.abort());
      });
      await expect(world.fetchIt({}, { signal: controller.signal })).rejects.toMatchObject({ code: "ABORTED" });
      world.server.always(() => undefined);
      await expect(world.fetchIt({ timeoutMs: 50 })).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
      await nothingIsLeft(world);
    }));

  it("sends secrets to no other server, nor anything to one that is not allowed", () =>
    inWorld(async (world) => {
      await using other = await ImageServer.start(BYTES);
      world.server.always(status(307, { location: other.url }));
      const headers = { authorization: "Basic cm9vdA==", "x-token": Secret.of("geheim"), accept: "*/*" };
      const asked: string[] = [];
      await world.fetchIt({
        headers,
        allow: (url) => {
          asked.push(url.href);
          return true;
        },
      });
      await bytesOf(world);
      expect(world.server.requests[0]).toMatchObject({ authorization: "Basic cm9vdA==" });
      expect(other.requests[0]).not.toHaveProperty("authorization");
      expect(asked).toEqual([world.server.url, other.url]);
      await world.store.delete("a");
      const refused = world.fetchIt({ allow: (url) => url.href !== other.url });
      await expect(refused).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "url" });
      expect(other.requests).toHaveLength(1);
    }));

  it.each(["ftp://host/image", "file:///image", "http://user:pass@host/image", "not a url", "data:,x"])(
    "does not come from %s",
    (url) =>
      inWorld(async ({ fetchIt }) => {
        await expect(fetchIt({}, { url })).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "url" });
      }),
  );

  it.each([
    { attempts: 0 },
    { maxRedirects: 99 },
    { stallMs: 0 },
    { headers: { range: "bytes=0-1" } },
    { headers: { x: "a\nb" } },
  ])("is not asked for with %j", (http) =>
    inWorld(async ({ fetchIt, server }) => {
      await expect(fetchIt(http as HttpImportOptions)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      expect(server.requests).toEqual([]);
    }),
  );
});

describe("what has come of an image", () => {
  it("is kept where that is asked for, and the next import goes on from there", () =>
    inWorld(async (world) => {
      world.server.next(cut(1_500_000), ...Array.from({ length: 4 }, () => status(503)));
      const keep = { keepPartialMs: 60_000, attempts: 3 };
      await expect(world.fetchIt(keep)).rejects.toMatchObject({ code: "IMAGE_TRANSFER_FAILED" });
      expect((await tree(world.directory)).some((line) => /^\.partial\/\w+\/bytes [1-9]/.test(line))).toBe(true);
      await world.fetchIt(keep);
      await bytesOf(world);
      expect(Number(world.server.requests.at(-1)?.range?.slice(6, -1))).toBeGreaterThan(0);
      expect((await tree(world.directory)).filter((line) => line.startsWith(".partial/"))).toEqual([".partial/"]);
    }));

  it("is dropped when its time is over, and is of no use when the image has changed", () =>
    inWorld(async (world) => {
      const keep = { keepPartialMs: 60_000, attempts: 1 };
      world.server.next(cut(1_500_000));
      await expect(world.fetchIt(keep)).rejects.toMatchObject({ code: "IMAGE_TRANSFER_FAILED" });
      world.clock.ahead = 61_000;
      await world.store.import({ id: "b", format: "raw", stream: chunks(65_536) });
      expect((await tree(world.directory)).filter((line) => line.startsWith(".partial/"))).toEqual([".partial/"]);

      world.server.bytes = Buffer.alloc(BYTES.length, 9);
      world.server.next(cut(1_500_000));
      await expect(world.fetchIt(keep)).rejects.toMatchObject({ code: "IMAGE_TRANSFER_FAILED" });
      [world.server.bytes, world.server.etag] = [BYTES, '"second"'];
      await world.fetchIt(keep);
      await bytesOf(world);
    }));

  it("belongs to one import at a time", () =>
    inWorld(async (world) => {
      const keep = { keepPartialMs: 60_000 };
      const second = new Promise((resolve) => {
        world.server.next((request, response, server) => {
          resolve(world.fetchIt(keep).catch((error: unknown) => error));
          void Promise.resolve()
            .then(() => second)
            .then(() => server.serve(request, response));
        });
      });
      await world.fetchIt(keep);
      expect(await second).toMatchObject({ code: "LOCKED" });
      await bytesOf(world);
    }));
});

async function* brokenAfter(count: number): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks(4096)) {
    if (count-- === 0) throw new Error("torn");
    yield chunk;
  }
}

// eslint-disable-next-line require-yield
async function* neverEnding(): AsyncGenerator<Uint8Array> {
  await new Promise(() => undefined);
}
