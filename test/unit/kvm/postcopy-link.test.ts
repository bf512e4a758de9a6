import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PostcopyLink, isPostcopy } from "../../../src/kvm/migration/postcopy-link.js";
import { claimAddress, claimPort } from "../../../src/kvm/migration/ports.js";
import { resolveMigrationOptions } from "../../../src/kvm/migration/options.js";
import type { MigrationToken } from "../../../src/kvm/migration/token.js";
import { migrationCheck } from "../../../src/kvm/state/migration-record.js";
import type { MigrationRecord } from "../../../src/kvm/state/migration-record.js";
import { UUID, definition, disk } from "./definitions.js";
import { fakeCore } from "./fake-session.js";
import type { FakeCore } from "./fake-session.js";

let fake: FakeCore;
let directory: string;
let server: Server;
let guests: Socket[];
let executed: object[];

/** What the destination does with who comes. */
let meet: (socket: Socket) => void;

const source: MigrationRecord = { role: "source", phase: "switchover", wasRunning: true, copied: [], postcopy: true };
const paused = { status: "postcopy-paused" } as const;

beforeEach(async () => {
  fake = await fakeCore(definition({ disks: [disk("root")], nics: [] }), {
    progressMs: 100,
    stallMs: 100,
    recoveryMs: 2_000,
  });
  directory = await mkdtemp(join(tmpdir(), "hvl-"));
  Object.assign(fake.core.host, { migration: resolveMigrationOptions() });
  Object.assign(fake.core.files, { outgoing: join(directory, "outgoing.sock") });
  await fake.core.update((state) => ({ ...state, migration: source }));
  executed = [];
  for (const command of ["migrate", "migrate-pause"] as const)
    fake.server.on(command, ({ args }) => {
      executed.push({ [command]: args });
      return {};
    });
  guests = [];
  meet = () => undefined;
  server = createServer((socket) => {
    guests.push(socket);
    socket.on("error", () => undefined);
    meet(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(async () => {
  for (const guest of guests) guest.destroy();
  server.close();
  await fake[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

function link(): PostcopyLink {
  const { port } = server.address() as AddressInfo;
  const token: MigrationToken = {
    ...{ version: 1, uuid: UUID, copyDisks: [], postcopy: true, multifdChannels: 0, compression: "none", tls: false },
    memory: { type: "inet", host: "127.0.0.1", port: 1 },
    recovery: { type: "inet", host: "127.0.0.1", port },
    fingerprint: "f",
  };
  return new PostcopyLink(fake.core, fake.session, token);
}

describe("the connection of a post-copy", () => {
  it("is made anew at the place that was not used last, once, and QEMU is given only one that lasts", async () => {
    meet = (socket) => void (guests.length === 1 && socket.end());
    const broken = link();
    await broken.look(paused);
    expect(executed).toEqual([]);
    await broken.look(paused);
    expect(executed).toEqual([{ migrate: { uri: "unix:/proc/self/fd/3/outgoing.sock", resume: true } }]);
    await broken.look({ status: "postcopy-recover" });
    expect([executed.length, guests.length]).toEqual([1, 2]);
    expect(fake.core.state.migration).toMatchObject({ reachedAt: "recovery" });
    await broken.close();
  });

  it("counts as lost when the destination stays away, and not while it has a moment left", async () => {
    Object.assign(fake.core.host.timeouts, { recoveryMs: 60 });
    const broken = link();
    server.close();
    const lost = async (): Promise<void> => {
      for (;;) await broken.look(paused);
    };
    await expect(lost()).rejects.toMatchObject({ code: "GUEST_CRASHED", instance: { uuid: UUID } });
    expect(executed).toEqual([]);
    await broken.close();
  });

  it("is given up when nothing has gone over it for a while", async () => {
    const silent = link();
    const info = { status: "postcopy-active", ram: { transferred: 7 } } as unknown as Parameters<typeof isPostcopy>[0];
    await silent.look(info);
    expect(executed).toEqual([]);
    while (executed.length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      await silent.look(info);
    }
    expect(executed).toEqual([{ "migrate-pause": {} }]);
    await silent.close();
  });

  it("is that of a guest that runs elsewhere, in whatever state", () => {
    for (const status of ["postcopy-active", "postcopy-paused", "postcopy-recover", "postcopy-recover-setup"] as const)
      expect(isPostcopy({ status })).toBe(true);
    for (const status of ["active", "completed", "pre-switchover"] as const) expect(isPostcopy({ status })).toBe(false);
    expect(isPostcopy({})).toBe(false);
  });
});

describe("ports for later", () => {
  it("are no other guest's, until theirs has come or gone", async () => {
    await using other = await fakeCore(definition({ disks: [], nics: [] }));
    Object.defineProperty(other.core, "host", { value: fake.core.host });
    const incoming: MigrationRecord = { role: "destination", phase: "waiting", paused: false };
    await fake.core.update((state) => ({ ...state, migration: incoming }));
    claimAddress(fake.core, "tcp:[fd00::1]:50000");
    claimAddress(fake.core, "unix:/proc/self/fd/3/incoming.sock");
    claimAddress(fake.core, undefined);
    expect([claimPort(other.core, 50_000), claimPort(other.core, 50_001)]).toEqual([false, true]);
    expect(claimPort(fake.core, 50_000)).toBe(true);
    await fake.core.update(({ migration: _, ...rest }) => rest);
    expect(claimPort(other.core, 50_000)).toBe(true);
  });
});

describe("the record of a migration", () => {
  it("is read as earlier releases wrote it, and as this one does", () => {
    for (const record of [
      { role: "source", phase: "departed", wasRunning: true, copied: [] },
      { ...source, token: { version: 1 }, reachedAt: "memory" },
      { role: "destination", phase: "taken", paused: false },
      { role: "destination", phase: "taken", paused: false, uri: "tcp:10.0.0.1:1", nextUri: "tcp:10.0.0.1:2" },
    ])
      expect(migrationCheck(record, "migration")).toEqual(record);
    expect(() => migrationCheck({ ...source, reachedAt: "nowhere" }, "migration")).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error,
    );
  });
});
