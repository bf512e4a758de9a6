/** Streams of a real daemon: volumes up and down, consoles, screenshots, descriptors, and a daemon that dies in the middle. */
import { createHash, randomBytes } from "node:crypto";
import { closeSync, createReadStream, openSync } from "node:fs";
import { mkdir, open, readFile, stat } from "node:fs/promises";
import { once } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { DomainMigrateFlags, LibvirtConnection } from "../../../src/libvirt/rpc/index.js";
import type { LibvirtConnectionOptions, LibvirtStream, StreamPart } from "../../../src/libvirt/rpc/index.js";
import { testGuest } from "../../lab/index.js";
import { startLibvirtd } from "../../lab/libvirtd.js";
import type { LabLibvirtd } from "../../lab/libvirtd.js";
import { transcript } from "./support/transcript.js";

const MIB = 1024 * 1024;
const START_PAUSED = 1;
const cleanups: (() => Promise<unknown>)[] = [];
let daemon: LabLibvirtd;
let keeper: LibvirtConnection;
let pool: { readonly name: string; readonly uuid: string };

beforeAll(async () => {
  daemon = await startLibvirtd({ port: 16_809 });
  await mkdir(daemon.file("pool"));
  keeper = await LibvirtConnection.open(daemon.uri("qemu"), { reconnect: { minDelayMs: 10, maxDelayMs: 100 } });
  const xml = `<pool type='dir'><name>lab</name><target><path>${daemon.file("pool")}</path></target></pool>`;
  ({ pool } = await keeper.call("storagePoolCreateXml", { xml, flags: 0 }));
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

afterAll(async () => {
  await keeper?.close();
  await daemon.remove();
});

async function connected(options: LibvirtConnectionOptions = {}, uri = daemon.uri("qemu")): Promise<LibvirtConnection> {
  const connection = await LibvirtConnection.open(uri, options);
  cleanups.push(() => connection.close());
  return connection;
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error("resolved"),
    (error: unknown) => error as Error,
  );
}

/** A raw volume; each has its own name. */
async function volume(name: string, bytes: number) {
  const xml = `<volume><name>${name}</name><capacity unit='bytes'>${bytes}</capacity><allocation>0</allocation><target><format type='raw'/></target></volume>`;
  return (await keeper.call("storageVolCreateXml", { pool, xml, flags: 0 })).vol;
}

function digest(data: Buffer | readonly Buffer[]): string {
  const hash = createHash("sha256");
  for (const part of Buffer.isBuffer(data) ? [data] : data) hash.update(part);
  return hash.digest("hex");
}

async function collect(stream: LibvirtStream): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

async function upload(
  connection: LibvirtConnection,
  vol: Awaited<ReturnType<typeof volume>>,
  data: Buffer,
  dedicated = false,
) {
  const args = { vol, offset: 0n, length: BigInt(data.length), flags: 0 };
  const stream = await connection.openStream("storageVolUpload", args, { dedicated });
  await pipeline(Readable.from(chunks(data)), stream);
}

function* chunks(data: Buffer): Generator<Buffer> {
  for (let i = 0; i < data.length; i += 300_001) yield data.subarray(i, i + 300_001);
}

describe("a volume", () => {
  it.each([false, true])("goes up and comes down as it was (on a connection of its own: %s)", async (dedicated) => {
    const connection = await connected();
    const data = randomBytes(20 * MIB + 13);
    const vol = await volume(`whole-${dedicated}`, data.length);
    await upload(connection, vol, data, dedicated);
    expect(digest(await readFile(daemon.file(`pool/whole-${dedicated}`)))).toBe(digest(data));

    const args = { vol, offset: 13n, length: BigInt(10 * MIB), flags: 0 };
    const down = await collect(await connection.openStream("storageVolDownload", args, { dedicated }));
    expect(digest(down)).toBe(digest(data.subarray(13, 13 + 10 * MIB)));
    expect(await connection.call("connectGetType")).toEqual({ type: "QEMU" });
  });

  it("keeps its holes both ways", async () => {
    const connection = await connected();
    const data = randomBytes(MIB);
    const size = 256 * MIB;
    const vol = await volume("sparse", size);
    const up = await connection.openStream(
      "storageVolUpload",
      { vol, offset: 0n, length: BigInt(size), flags: 0 },
      { sparse: true },
    );
    const parts: StreamPart[] = [data, { hole: BigInt(size - 2 * MIB) }, data];
    await pipeline(Readable.from(parts), up);
    const file = await stat(daemon.file("pool/sparse"));
    expect(file.size).toBe(size);
    expect(file.blocks * 512).toBeLessThan(8 * MIB);

    const args = { vol, offset: 0n, length: 0n, flags: 1 };
    const seen: StreamPart[] = [];
    for await (const part of await connection.openStream("storageVolDownload", args)) seen.push(part as StreamPart);
    const buffers = seen.filter((part) => Buffer.isBuffer(part));
    expect(digest(buffers)).toBe(digest(Buffer.concat([data, data])));
    const holes = seen.filter((part) => !Buffer.isBuffer(part));
    expect(holes).toEqual([{ hole: BigInt(size - 2 * MIB) }]);
    const refused = connection.openStream("domainScreenshot", {} as never, { sparse: true });
    expect(await rejection(refused)).toMatchObject({ code: "INVALID_ARGUMENT", field: "sparse" });
  });

  it("is not read: it waits at the daemon, memory stays bounded, and other calls go on", async () => {
    const connection = await connected({ keepalive: { intervalMs: 500, count: 3 } });
    const size = 128 * MIB;
    const vol = await volume("slow", size);
    const handle = await open(daemon.file("pool/slow"), "r+");
    await handle.write(randomBytes(MIB), 0, MIB, size - MIB);
    await handle.close();
    const before = process.memoryUsage().rss;
    const stream = await connection.openStream(
      "storageVolDownload",
      { vol, offset: 0n, length: 0n, flags: 0 },
      { bufferBytes: MIB },
    );
    for (let i = 0; i < 50; i++) await connection.call("connectGetHostname");
    expect(process.memoryUsage().rss - before).toBeLessThan(90 * MIB);
    expect((await collect(stream)).length).toBe(size);
    expect(connection.state).toBe("open");
  });

  it("is sent no more than was announced, and the connection goes on", async () => {
    const connection = await connected();
    const vol = await volume("small", MIB);
    const args = { vol, offset: 0n, length: BigInt(MIB), flags: 0 };
    const stream = await connection.openStream("storageVolUpload", args);
    const error = await rejection(pipeline(Readable.from(chunks(randomBytes(4 * MIB))), stream));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", field: "length" });
    const absent = { vol: { ...vol, name: "absent", key: "absent" }, offset: 0n, length: 0n, flags: 0 };
    expect(await rejection(connection.openStream("storageVolDownload", absent))).toMatchObject({
      kind: "storageVolumeNotFound",
    });
    expect(await connection.call("connectGetType")).toEqual({ type: "QEMU" });
  });

  it("is broken off by abort and by a signal, and the connection goes on", async () => {
    const connection = await connected();
    const vol = await volume("broken", 64 * MIB);
    const args = { vol, offset: 0n, length: 0n, flags: 0 };
    for (let i = 0; i < 5; i++) {
      const stream = await connection.openStream("storageVolDownload", args);
      await once(stream, "readable");
      await stream.abort();
      expect(stream.destroyed).toBe(true);
    }
    const abort = new AbortController();
    const stream = await connection.openStream("storageVolDownload", args, { signal: abort.signal });
    const reading = rejection(collect(stream));
    abort.abort();
    expect(await reading).toMatchObject({ code: "ABORTED" });
    const up = await connection.openStream("storageVolUpload", args);
    up.write(randomBytes(MIB));
    await up.abort();
    expect(await connection.call("connectGetType")).toEqual({ type: "QEMU" });
  });

  it("is on its way when the daemon dies: the stream fails and says so", async () => {
    const connection = await connected();
    const vol = await volume("dying", 512 * MIB);
    const down = await connection.openStream("storageVolDownload", { vol, offset: 0n, length: 0n, flags: 0 });
    const up = await connection.openStream(
      "storageVolUpload",
      { vol, offset: 0n, length: 0n, flags: 0 },
      { dedicated: true },
    );
    await once(down, "readable");
    const failures = [rejection(collect(down)), rejection(pipeline(Readable.from(endless()), up))];
    await daemon.kill("SIGKILL");
    for (const error of await Promise.all(failures))
      expect(error).toMatchObject({ code: "LIBVIRT_DISCONNECTED", maybeExecuted: true });
    await daemon.start();
  });
});

describe("a guest", () => {
  it("has a console that is read and typed into, and that one at a time may have", async () => {
    const guest = await testGuest();
    const connection = await connected();
    const xml = `<domain type='qemu'><name>talker</name><memory unit='MiB'>${guest.memoryMiB}</memory><vcpu>1</vcpu>
      <os><type arch='x86_64' machine='q35'>hvm</type><kernel>${guest.kernel}</kernel><initrd>${guest.initrd}</initrd><cmdline>${guest.kernelArguments} hv.nowait</cmdline></os>
      <devices><controller type='usb' model='none'/><serial type='pty'/><video><model type='vga'/></video><memballoon model='none'/></devices></domain>`;
    const { dom } = await connection.call("domainCreateXml", { xmlDesc: xml, flags: START_PAUSED });
    cleanups.push(() => rejection(keeper.call("domainDestroy", { dom })));
    const screen = await connection.openStream("domainScreenshot", { dom, screen: 0, flags: 0 });
    expect(screen.result).toMatchObject({ mime: expect.stringContaining("image/") as unknown });
    expect((await collect(screen)).length).toBeGreaterThan(100);

    const first = await connection.openStream("domainOpenConsole", { dom, flags: 0 });
    expect(await rejection(connection.openStream("domainOpenConsole", { dom, flags: 2 }))).toMatchObject({
      code: "LIBVIRT",
    });
    await first.abort();
    const console = await connection.openStream("domainOpenConsole", { dom, flags: 2 });
    const said = transcript(console);
    await connection.call("domainResume", { dom });
    await said.until(/HV-READY/);
    console.write("echo answer $((6 * 7))\n");
    await said.until(/answer 42/);

    const fd = openSync("/dev/null", "r");
    try {
      const cmd = JSON.stringify({ execute: "add-fd", arguments: { "fdset-id": 7 } });
      const added = await connection.callQemu(
        "domainQemuMonitorCommandWithFiles",
        { dom, cmd, flags: 0 },
        { fds: [fd] },
      );
      expect(JSON.parse(added.result)).toMatchObject({ return: { "fdset-id": 7 } });
    } finally {
      closeSync(fd);
    }
    const events = await connection.monitorEvents({ dom, event: "shutdown", ignoreCase: true, regex: true });
    const ended = once(console, "close");
    await connection.call("domainDestroy", { dom });
    await ended;
    expect(said.ended()).toBe(true);
    await events.return();
  });
});

it("carries the memory of a guest that moves, as a migration's tunnel", async () => {
  const connection = await connected();
  const xml = `<domain type='qemu'><name>tunnelled</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
    <os><type arch='x86_64' machine='q35'>hvm</type></os><devices><controller type='usb' model='none'/><memballoon model='none'/></devices></domain>`;
  const { dom } = await connection.call("domainCreateXml", { xmlDesc: xml, flags: START_PAUSED });
  cleanups.push(() => rejection(keeper.call("domainDestroy", { dom })));
  const flags = DomainMigrateFlags.live | DomainMigrateFlags.peer2peer | DomainMigrateFlags.tunnelled;
  const begun = await connection.call("domainMigrateBegin3Params", { dom, params: [], flags });
  const file = daemon.file("memory");
  await connection.call("domainSaveFlags", { dom, to: file, dxml: undefined, flags: 0 });
  // What libvirt puts before QEMU's own stream: a header, and the definition, whose length is its sixth number.
  const start = 92 + (await readFile(file)).readUInt32LE(20);

  // The daemon takes in guests of other hosts only.
  const elsewhere = "<hostuuid>11111111-2222-4333-8444-555555555555";
  const cookieIn = Buffer.from(
    Buffer.from(begun.cookieOut)
      .toString("latin1")
      .replace(/<hostuuid>[^<]*/, elsewhere),
  );
  const params = [{ field: "destination_xml", type: "string" as const, value: begun.xml }];
  const tunnel = await connection.openStream("domainMigratePrepareTunnel3Params", { params, cookieIn, flags });
  expect(await connection.call("domainGetState", { dom, flags: 0 })).toEqual({ state: 3, reason: 2 });
  await pipeline(createReadStream(file, { start }), tunnel);
  const name = [{ field: "destination_name", type: "string" as const, value: "tunnelled" }];
  const finish = { params: name, cookieIn: new Uint8Array(0), flags, cancelled: 0 };
  const arrived = await connection.call("domainMigrateFinish3Params", finish);
  expect(await connection.call("domainGetState", { dom: arrived.dom, flags: 0 })).toEqual({ state: 1, reason: 2 });

  const again = await connection.call("domainMigrateBegin3Params", { dom: arrived.dom, params: [], flags });
  await connection.call("domainDestroy", { dom: arrived.dom });
  const broken = { params: [{ ...params[0], value: again.xml } as (typeof params)[number]], cookieIn, flags };
  await (await connection.openStream("domainMigratePrepareTunnel3Params", broken)).abort();
  expect(await rejection(connection.call("domainMigrateFinish3Params", { ...finish, cancelled: 1 }))).toMatchObject({
    code: "LIBVIRT",
  });
  expect(await rejection(connection.call("domainGetState", { dom, flags: 0 }))).toMatchObject({
    kind: "domainNotFound",
  });
});

function* endless(): Generator<Buffer> {
  for (;;) yield Buffer.alloc(MIB);
}
