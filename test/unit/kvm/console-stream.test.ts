import { once } from "node:events";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { connect } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ConsoleStream } from "../../../src/host/index.js";
import { temporaryDirectory } from "../../lab/temporary-directory.js";
import type { TemporaryDirectory } from "../../lab/temporary-directory.js";
import { waitFor } from "../../lab/wait-for.js";

let directory: TemporaryDirectory;
let server: Server;
let guest: Socket;
let stream: ConsoleStream;

beforeEach(async () => {
  directory = await temporaryDirectory();
  server = createServer().listen(directory.file("console"));
  await once(server, "listening");
  const arrived = once(server, "connection") as Promise<[Socket]>;
  const socket = connect({ path: directory.file("console") });
  [guest] = await arrived;
  stream = new ConsoleStream(socket);
});
afterEach(async () => {
  stream.destroy();
  guest.destroy();
  server.close();
  await directory.remove();
});

it("carries both directions of a console", async () => {
  guest.write("login: ");
  expect(String((await once(stream, "data"))[0])).toBe("login: ");
  stream.write("root\n");
  expect(String((await once(guest, "data"))[0])).toBe("root\n");
});

it("never holds the guest up: what nobody reads is dropped, the oldest first", async () => {
  const chunk = Buffer.alloc(65_536, "x");
  // A stopped reader would let the guest's writes wait for ever.
  for (let i = 0; i < 64; i++) await new Promise<void>((resolve) => guest.write(chunk, () => resolve()));
  await new Promise<void>((resolve) => guest.write("the end", () => resolve()));
  await waitFor(() => stream.droppedBytes > 0);
  guest.end();
  let text = "";
  for await (const part of stream) text += String(part);
  expect(text.endsWith("the end")).toBe(true);
  expect(text.length + stream.droppedBytes).toBe(64 * 65_536 + "the end".length);
});

it("ends with the guest", async () => {
  guest.write("bye");
  guest.end();
  let text = "";
  for await (const part of stream) text += String(part);
  expect(text).toBe("bye");
});

it("frees the console when it is closed", async () => {
  const gone = once(guest, "close");
  stream.destroy();
  await gone;
});

it("survives a connection that breaks", async () => {
  const ended = once(stream, "close");
  stream.resume();
  guest.destroy();
  await ended;
});
