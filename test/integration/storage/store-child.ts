// A process that uses an image store, run by shared-store.test.ts as `node --import tsx store-child.ts REQUEST`.
import { createHash } from "node:crypto";
import { writeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { isHyperviseError } from "../../../src/core/index.js";
import { DirectoryImageStore } from "../../../src/storage/index.js";

export interface StoreRequest {
  readonly directory: string;
  readonly cacheDirectory?: string;
  /** `race`: fetches and ages so many times. `fetch`: once. `stuck-…`: says `started` when the first bytes have come, and stops there. `import-url`: says `imported`, or the code of what went wrong. */
  readonly what: "race" | "fetch" | "stuck-fetch" | "stuck-import" | "import-url";
  readonly rounds?: number;
  readonly path?: string;
}

export interface RaceResult {
  readonly whole: number;
  readonly aged: number;
}

const { directory, cacheDirectory, what, rounds = 1, path = "" } = JSON.parse(process.argv[2] ?? "{}") as StoreRequest;
const store = new DirectoryImageStore({ directory, ...(cacheDirectory === undefined ? {} : { cacheDirectory }) });
const onProgress = (): void => {
  writeSync(1, "started\n");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
};

if (what === "stuck-import") await store.import({ id: "image", format: "raw", path }, { onProgress });
else if (what === "stuck-fetch") await store.fetch("image", { onProgress });
else if (what === "fetch") await store.fetch("image");
else if (what === "import-url") {
  const http = { attempts: 2, stallMs: 60_000 };
  const said = await store.import({ id: "image", format: "raw", url: path, http }).then(
    () => "imported",
    (error: unknown) => (isHyperviseError(error) ? error.code : String(error)),
  );
  process.stdout.write(`${said}\n`);
} else {
  const { checksum } = await store.describe("image");
  const result = { whole: 0, aged: 0 };
  for (let round = 0; round < rounds; round++) {
    const { path: file } = await store.fetch("image");
    // The other process may have aged it already, but never is there half of it.
    const bytes = await readFile(file).catch(() => undefined);
    if (bytes !== undefined && `sha256:${createHash("sha256").update(bytes).digest("hex")}` !== checksum)
      throw new Error("the image is not whole");
    if (bytes !== undefined) result.whole++;
    if (round % 2 === 0) result.aged += (await store.ageCache(new Set(), 0)).length;
    if ((await store.ageCache(new Set(["image"]), 0)).length > 0) throw new Error("an image in use was aged");
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
