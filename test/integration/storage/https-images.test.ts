import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, readdir } from "node:fs/promises";
import { createServer } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleScript } from "../../lab/bundle-script.js";
import type { BundledScript } from "../../lab/bundle-script.js";
import { makeCertificates } from "../../lab/certificates.js";
import type { LabCertificates } from "../../lab/certificates.js";
import { requirePackages, temporaryDirectory } from "../../lab/index.js";
import type { TemporaryDirectory } from "../../lab/index.js";
import type { StoreRequest } from "./store-child.js";
import { MIB } from "./support.js";

const BYTES = Buffer.alloc(2 * MIB, "an image of a server that is trusted, ");

let child: BundledScript;
let pki: TemporaryDirectory;
let certificates: LabCertificates;
beforeAll(async () => {
  requirePackages("openssl", "qemu-img");
  child = await bundleScript(fileURLToPath(new URL("store-child.ts", import.meta.url)));
  pki = await temporaryDirectory();
  certificates = await makeCertificates(pki.path);
});
afterAll(async () => {
  await child[Symbol.asyncDispose]();
  await pki.remove();
});

/** Serves the bytes, breaking off in the middle of the first answer, at `/image`; `/away` leads to where nobody listens in. */
async function withServer(work: (url: string, ranges: readonly string[]) => Promise<void>): Promise<void> {
  const ranges: string[] = [];
  const answer = ({ url, headers }: IncomingMessage, response: ServerResponse): void => {
    if (url === "/away") return void response.writeHead(302, { location: "http://127.0.0.1:9/image" }).end();
    const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
    ranges.push(`from ${from > 0 ? "the middle" : "the beginning"}, if ${headers["if-range"] ?? "it is any"}`);
    const rest = { "content-range": `bytes ${from}-${BYTES.length - 1}/${BYTES.length}` };
    const length = { "content-length": BYTES.length - from, etag: '"1"' };
    response.writeHead(from > 0 ? 206 : 200, { ...length, ...(from > 0 ? rest : {}) });
    if (ranges.length > 1) response.end(BYTES.subarray(from));
    else response.write(BYTES.subarray(0, MIB), () => response.destroy());
  };
  const [cert, key] = await Promise.all([readFile(certificates.serverCertificate), readFile(certificates.serverKey)]);
  const server = createServer({ cert, key }, answer).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    await work(`https://127.0.0.1:${(server.address() as AddressInfo).port}`, ranges);
  } finally {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  }
}

/** Imports in a process that trusts the authority, or only those that all trust. Resolves with what it says of it. */
async function importFrom(url: string, directory: string, trusts: boolean): Promise<string> {
  const request: StoreRequest = { directory, what: "import-url", path: url };
  const importing = spawn(process.execPath, [child.path, JSON.stringify(request)], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...(trusts ? { NODE_EXTRA_CA_CERTS: certificates.ca } : {}) },
  });
  let said = "";
  importing.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
  expect((await once(importing, "close"))[0]).toBe(0);
  return said.trim();
}

describe("an image by HTTPS", () => {
  it("comes whole from a server that is trusted, though the connection breaks off", () =>
    withServer(async (url, ranges) => {
      await using directory = await temporaryDirectory();
      expect(await importFrom(`${url}/image`, directory.path, true)).toBe("imported");
      expect((await readFile(join(directory.path, "image", "image.raw"))).equals(BYTES)).toBe(true);
      expect(ranges).toEqual(["from the beginning, if it is any", 'from the middle, if "1"']);
    }));

  it.each([
    ["from a server that nobody vouches for", "/image", false],
    ["by a redirection to a connection that anybody can read", "/away", true],
  ] as const)("does not come %s, and nothing is left", (_where, path, trusts) =>
    withServer(async (url, ranges) => {
      await using directory = await temporaryDirectory();
      expect(await importFrom(`${url}${path}`, directory.path, trusts)).toBe("IMAGE_TRANSFER_FAILED");
      expect(ranges).toEqual([]);
      expect(await readdir(directory.path)).not.toContain("image");
    }),
  );
});
