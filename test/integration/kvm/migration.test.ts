import type { Socket } from "node:net";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import type { GuestDefinition, GuestMigrationOptions, MigrationProgress } from "../../../src/driver/index.js";
import type { KvmHypervisor, KvmMigrationOptions, TunnelDescriptor, TunnelRequest } from "../../../src/kvm/index.js";
import { requirePackages, run, waitFor } from "../../lab/index.js";
import { isAlphabet, writeBusyGuest } from "./busy-guest.js";
import { KvmLab, consoleOf, disk, inGuest, nic, waitForConsole, waitReady } from "./lab.js";

type Guest = Awaited<ReturnType<KvmHypervisor["define"]>>;

beforeAll(() => requirePackages("qemu-system-x86_64"));

interface MoveOptions extends GuestMigrationOptions {
  readonly copyDisks?: readonly string[];
  /** The definition on the destination. */
  readonly there?: (definition: GuestDefinition) => GuestDefinition;
  readonly bandwidthMiBps?: number;
  readonly downtimeMs?: number;
  readonly allowPostcopy?: boolean;
  readonly autoConverge?: boolean;
  readonly paused?: boolean;
}

const stateOf = async (guest: Guest): Promise<string> => (await guest.info()).state;

async function prepare(guest: Guest, to: KvmLab, options: MoveOptions = {}) {
  const definition = await guest.definition();
  to.note(guest.uuid);
  const { copyDisks = [], there = (same) => same, paused = false } = options;
  const request = { copyDisks, paused, guest: await guest.describeMigration() };
  return to.hypervisor.prepareIncoming(there(definition), request);
}

async function send(guest: Guest, token: Awaited<ReturnType<typeof prepare>>["token"], options: MoveOptions = {}) {
  const { copyDisks = [], downtimeMs = 500, allowPostcopy = false, autoConverge = false, bandwidthMiBps = 0 } = options;
  const request = { token, copyDisks, downtimeMs, allowPostcopy, autoConverge, bandwidthMiBps };
  const { onMigrationProgress, beforeSwitchover, signal } = options;
  return guest.migrate(request, {
    ...(onMigrationProgress === undefined ? {} : { onMigrationProgress }),
    ...(beforeSwitchover === undefined ? {} : { beforeSwitchover }),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** As `liveMigrate` does it, without the choreography. */
async function move(
  guest: Guest,
  from: KvmLab,
  to: KvmLab,
  options: MoveOptions = {},
  handedOver: () => Promise<unknown> = () => Promise.resolve(),
): Promise<Guest> {
  const { token } = await prepare(guest, to, options);
  expect(await send(guest, token, options)).toBe("completed");
  await handedOver();
  const arrived = await to.hypervisor.finishIncoming(guest.uuid);
  expect(await stateOf(guest)).toBe("shutdown");
  await guest.kill();
  await from.hypervisor.undefine(guest.uuid);
  expect(await from.pid(guest.uuid)).toBeUndefined();
  return arrived;
}

const tcp = (listenAddress: string): KvmMigrationOptions => ({ listenAddress });

describe("a guest of Linux", () => {
  it("goes from host to host by every way, and notices nothing", async () => {
    await using a = await KvmLab.open({ migration: tcp("127.0.0.1") });
    await using b = await KvmLab.open({ migration: { transport: "unix" } });
    const image = await a.image("data.img");
    const first = await a.linux({ disks: [disk("data", "vda", image)], nics: [nic("port", 1)] });
    await first.start();
    await waitReady(first);
    await inGuest(
      first,
      "echo kept > /run/mark; echo on-disk > /dev/vda; sync; (i=0; while :; do i=$((i+1)); echo tick-$i > /dev/ttyS0; sleep 0.1; done) >/dev/null 2>&1 &",
    );
    await waitForConsole(first, "tick-3");
    const phases = new Set<string>();
    const seen: MigrationProgress[] = [];
    const onMigrationProgress = (progress: MigrationProgress): void => {
      phases.add(progress.phase);
      seen.push(progress);
    };
    const second = await move(first, a, b, { onMigrationProgress });
    expect([...phases]).toEqual(["preparing", "memory", "switchover", "completed"]);
    expect(seen.at(-1)!.memoryTransferredBytes).toBeGreaterThan(1_000_000);
    await waitForConsole(second, /tick-\d+/);
    expect(await inGuest(second, "cat /run/mark; head -c 7 /dev/vda")).toBe("kept\non-disk");
    expect(a.lifecycle(first.uuid)).toEqual([
      "started self",
      "migrationStarted self",
      "migrationCompleted self",
      "stopped self",
    ]);
    expect(b.lifecycle(first.uuid)).toEqual(["resumed self"]);
    const third = await move(second, b, a);
    expect(await inGuest(third, "cat /run/mark")).toBe("kept");
    await third.pause();
    const token = await prepare(third, b, { paused: true });
    expect(await send(third, token.token)).toBe("completed");
    const fourth = await b.hypervisor.finishIncoming(third.uuid);
    expect(await stateOf(fourth)).toBe("paused");
    await fourth.resume();
    expect(await inGuest(fourth, "cat /run/mark")).toBe("kept");
    await third.kill();
    await fourth.kill();
  });
});

/** Certificates of one authority, for a client and a server with the name. */
async function certificates(lab: KvmLab, name: string): Promise<string> {
  const directory = lab.directory.file("pki");
  await mkdir(directory);
  const at = (file: string): string => `${directory}/${file}`;
  const key = ["-newkey", "rsa:2048", "-nodes", "-batch", "-days", "2"];
  await run([
    "openssl",
    "req",
    "-x509",
    ...key,
    "-keyout",
    at("ca-key.pem"),
    "-out",
    at("ca-cert.pem"),
    "-subj",
    "/CN=lab",
  ]);
  for (const role of ["server", "client"]) {
    await writeFile(at("ext"), `subjectAltName=DNS:${name}\nextendedKeyUsage=${role}Auth\nbasicConstraints=CA:FALSE\n`);
    await run(["openssl", "req", ...key, "-keyout", at(`${role}-key.pem`), "-out", at("csr"), "-subj", `/CN=${name}`]);
    const signing = ["-CA", at("ca-cert.pem"), "-CAkey", at("ca-key.pem"), "-CAcreateserial", "-days", "2"];
    await run([
      "openssl",
      "x509",
      "-req",
      "-in",
      at("csr"),
      ...signing,
      "-extfile",
      at("ext"),
      "-out",
      at(`${role}-cert.pem`),
    ]);
  }
  return directory;
}

describe("a guest with a disk that its destination has not", () => {
  it("takes the disk along, encrypted, by several connections", async () => {
    await using pki = await KvmLab.open();
    const tls = { directory: await certificates(pki, "host.test"), peerName: "host.test" };
    await using a = await KvmLab.open({
      migration: { listenAddress: "::1", tls, multifdChannels: 2, compression: "zstd" },
    });
    await using b = await KvmLab.open({
      migration: { listenAddress: "127.0.0.1", tls, multifdChannels: 2, compression: "zlib" },
    });
    const [from, to] = [await a.image("data.img", 64), await b.image("data.img", 64)];
    const guest = await a.linux({ disks: [disk("data", "vda", from)] });
    await guest.start();
    await waitReady(guest);
    await inGuest(guest, "dd if=/dev/urandom of=/dev/vda bs=1M count=20 2>/dev/null; sync");
    const sum = await inGuest(guest, "md5sum < /dev/vda");
    const there = (definition: GuestDefinition): GuestDefinition => ({
      ...definition,
      disks: [disk("data", "vda", to)],
    });
    const phases = new Set<string>();
    const moved = await move(guest, a, b, {
      copyDisks: ["data"],
      there,
      onMigrationProgress: ({ phase }) => void phases.add(phase),
    });
    expect([...phases]).toEqual(["preparing", "disks", "memory", "switchover", "completed"]);
    expect(await inGuest(moved, "echo 3 > /proc/sys/vm/drop_caches; md5sum < /dev/vda")).toBe(sum);
    await inGuest(moved, "echo new > /dev/vda; sync");
    await moved.kill();
    expect((await readFile(to)).subarray(0, 3).toString()).toBe("new");
    expect((await readFile(from)).subarray(0, 3).toString()).not.toBe("new");
  });
});

/** A connection of this process as QEMU may have it. */
function descriptorOf(socket: Socket): TunnelDescriptor {
  socket.pause();
  const { fd } = (socket as unknown as { readonly _handle: { readonly fd: number } })._handle;
  return { fd, close: () => void socket.destroy() };
}

describe("a guest that never rests", () => {
  const live = { listenAddress: "127.0.0.1", copy: "running" } as const;

  /** All that it has said, on the hosts in their order. */
  async function said(guest: Guest, before = ""): Promise<string> {
    return before + (await consoleOf(guest)).replace(/[^a-z]/g, "");
  }
  const speaks = async (guest: Guest): Promise<void> => {
    const { length } = await consoleOf(guest);
    await waitFor(async () => (await consoleOf(guest)).length > length, { timeoutMs: 30_000, what: "another letter" });
  };

  it.each(["stream", "descriptor"] as const)("goes through a tunnel that is a %s, with its disk", async (kind) => {
    await using b = await KvmLab.open({ migration: { transport: "tunnel", copy: "running" } });
    const channels: string[] = [];
    const openTunnel = async ({ uuid, channel, takesDescriptor }: TunnelRequest) => {
      const stream = await b.hypervisor.openMigrationChannel(uuid, channel);
      const given = takesDescriptor ? kind : "stream";
      channels.push(`${channel} by ${given}`);
      return given === "stream" ? stream : descriptorOf(stream as Socket);
    };
    await using a = await KvmLab.open({ migration: { openTunnel, copy: "running" } });
    const root = await writeBusyGuest(a.directory.file("busy.img"));
    const copy = await b.image("busy.img", 1);
    const there = (definition: GuestDefinition): GuestDefinition => ({
      ...definition,
      disks: [disk("root", "vda", copy)],
    });
    const guest = await a.define({ disks: [disk("root", "vda", root)], guestAgent: false });
    await guest.start();
    await waitForConsole(guest, /[a-z]/);
    let before = "";
    const moved = await move(guest, a, b, { copyDisks: ["root"], there }, async () => (before = await said(guest)));
    await speaks(moved);
    expect(isAlphabet(await said(moved, before))).toBe(true);
    expect(await readFile(copy)).toEqual(await readFile(root));
    expect(new Set(channels)).toEqual(new Set([`memory by ${kind}`, "disks by stream"]));
    await moved.kill();
  });

  it("stays when a tunnel can't be opened", async () => {
    await using b = await KvmLab.open({ migration: { transport: "tunnel", copy: "running" } });
    await using c = await KvmLab.open({
      migration: { openTunnel: () => Promise.reject(new Error("no way")), copy: "running" },
    });
    const root = await writeBusyGuest(c.directory.file("busy.img"));
    const other = await c.define({ disks: [disk("root", "vda", root)], guestAgent: false });
    await other.start();
    await waitForConsole(other, /[a-z]/);
    const { token } = await prepare(other, b);
    await expect(send(other, token)).rejects.toMatchObject({ code: "MIGRATION_FAILED", detail: "no way" });
    await speaks(other);
    await other.kill();
  });

  it("can be kept, and lost by nobody, whatever becomes of its migration", async () => {
    await using a = await KvmLab.open({ migration: live });
    await using b = await KvmLab.open({ migration: live });
    const root = await writeBusyGuest(a.directory.file("busy.img"));
    const copy = await b.image("busy.img", 1);
    const there = (definition: GuestDefinition): GuestDefinition => ({
      ...definition,
      disks: [disk("root", "vda", copy)],
    });
    const first = await a.define({ disks: [disk("root", "vda", root)], guestAgent: false });
    await first.start();
    await waitForConsole(first, /[a-z]/);
    const slow = { bandwidthMiBps: 1, downtimeMs: 1 };

    // Nothing ends it by itself; it is aborted while it copies the disk, and while it copies memory.
    for (const phase of ["disks", "memory"] as const) {
      const options = {
        ...slow,
        copyDisks: phase === "disks" ? ["root"] : [],
        ...(phase === "disks" ? { there } : {}),
      };
      const { token } = await prepare(first, b, options);
      const stop = new AbortController();
      const seen = (progress: MigrationProgress): void => {
        if (progress.phase === phase && (phase === "disks" || progress.iteration > 2)) stop.abort();
      };
      const aborted = send(first, token, { ...options, onMigrationProgress: seen, signal: stop.signal });
      await expect(aborted, phase).rejects.toMatchObject({ code: "ABORTED" });
      await b.hypervisor.abortIncoming(first.uuid);
      expect(await b.hypervisor.find(first.uuid)).toBeUndefined();
      await speaks(first);
    }
    // The destination's QEMU dies: before, in the middle, and when the guest is about to be handed over.
    for (const when of ["before", "memory", "switchover"] as const) {
      const { token } = await prepare(first, b);
      const kill = async (): Promise<void> => void process.kill((await b.pid(first.uuid))!, "SIGKILL");
      if (when === "before") await kill();
      let killed = false;
      const seen = (progress: MigrationProgress): void => {
        if (when !== "memory" || killed || progress.iteration < 2) return;
        killed = true;
        void kill();
      };
      const speed = when === "memory" ? slow : {};
      const failing = send(first, token, {
        ...speed,
        onMigrationProgress: seen,
        ...(when === "switchover" ? { beforeSwitchover: kill } : {}),
      });
      await expect(failing, when).rejects.toMatchObject({ code: "MIGRATION_FAILED" });
      await b.hypervisor.abortIncoming(first.uuid);
      await speaks(first);
    }
    // Whoever has to agree to the switch-over does not.
    const { token } = await prepare(first, b);
    const refused = send(first, token, { beforeSwitchover: () => Promise.reject(new Error("no")) });
    await expect(refused).rejects.toMatchObject({ code: "MIGRATION_FAILED", detail: "no" });
    await b.hypervisor.abortIncoming(first.uuid);
    await speaks(first);
    expect(await stateOf(first)).toBe("running");
    expect(isAlphabet(await said(first))).toBe(true);
    expect(new Set(a.lifecycle(first.uuid))).toEqual(new Set(["started self", "migrationStarted self"]));
    expect(b.lifecycle(first.uuid)).toEqual([]);

    // Made to end by a pause, by post-copy, and by slowing it down.
    const force = (mode: "pause" | "postcopy", guest: Guest) => {
      let forced = false;
      return ({ iteration }: MigrationProgress): void => {
        if (forced || iteration < 3) return;
        forced = true;
        void guest.forceCompleteMigration(mode);
      };
    };
    let before = await said(first);
    const second = await move(
      first,
      a,
      b,
      { ...slow, onMigrationProgress: force("pause", first) },
      async () => (before = await said(first)),
    );
    await speaks(second);
    expect(isAlphabet(await said(second, before))).toBe(true);
    const third = await move(
      second,
      b,
      a,
      { ...slow, allowPostcopy: true, onMigrationProgress: force("postcopy", second) },
      async () => (before = await said(second, before)),
    );
    await speaks(third);
    expect(isAlphabet(await said(third, before))).toBe(true);
    expect(b.lifecycle(first.uuid)).toContain("postcopyStarted self");
    let throttled = false;
    const fourth = await move(
      third,
      a,
      b,
      {
        bandwidthMiBps: 4,
        downtimeMs: 400,
        autoConverge: true,
        onMigrationProgress: ({ iteration }) => void (throttled ||= iteration > 2),
      },
      async () => (before = await said(third, before)),
    );
    await speaks(fourth);
    expect(isAlphabet(await said(fourth, before))).toBe(true);
    expect(throttled).toBe(true);
    await fourth.kill();
  });
});
