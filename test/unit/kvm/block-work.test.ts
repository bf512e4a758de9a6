import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { changeMedium } from "../../../src/kvm/block/medium.js";
import { reconcileDisks } from "../../../src/kvm/block/prepare.js";
import { withWork } from "../../../src/kvm/block/work.js";
import { FakeCommandError } from "../../../src/testing/fake-json-server.js";
import { waitFor } from "../../lab/wait-for.js";
import { definition, disk } from "./definitions.js";
import { fakeCore } from "./fake-session.js";
import type { FakeCore } from "./fake-session.js";

const first = { type: "file", path: "/first.iso", format: "raw" } as const;
const second = { type: "file", path: "/second.iso", format: "raw" } as const;

/** A guest with a drive, whose QEMU has a tray, a lock, and nodes. */
let guest: FakeCore;
let inserted: string | undefined;
let trayOpen: boolean;
let locked: boolean;
let nodes: string[];
let jobs: string[];
const names = (): string[] => guest.server.received.map(({ name }) => name);

beforeEach(async () => {
  const cd = disk("cd", { bus: "sata", deviceType: "cdrom", source: first });
  guest = await fakeCore(definition({ disks: [cd], nics: [] }), { trayMs: 40 });
  [inserted, trayOpen, locked, nodes, jobs] = ["disk0-format", false, false, ["disk0-format"], []];
  const { server } = guest;
  const image = { filename: "/x", format: "raw", "virtual-size": 5 };
  server.on("query-block", () => [
    {
      qdev: "disk0",
      tray_open: trayOpen,
      locked,
      ...(inserted === undefined ? {} : { inserted: { "node-name": inserted, image } }),
    },
  ]);
  server.on("query-named-block-nodes", () => nodes.map((name) => ({ "node-name": name, file: "/x", drv: "raw" })));
  server.on("query-jobs", () => jobs.map((id) => ({ id, type: "mirror", status: "running" })));
  server.on("job-cancel", () => {
    throw new FakeCommandError("GenericError", "not now");
  });
  server.on("blockdev-add", ({ args }) => {
    nodes.push(String(args["node-name"]));
    return {};
  });
  server.on("blockdev-del", ({ args }) => {
    if (args["node-name"] === inserted) throw new FakeCommandError("GenericError", "in use");
    nodes = nodes.filter((name) => name !== args["node-name"]);
    return {};
  });
  server.on("block_set_io_throttle", () => ({}));
  const open = (): void => {
    trayOpen = true;
    server.emit("DEVICE_TRAY_MOVED", { device: "", id: "disk0", "tray-open": true });
  };
  server.on("blockdev-open-tray", ({ args }) => {
    if (!locked || args["force"] === true) open();
    return {};
  });
  server.on("blockdev-close-tray", () => {
    trayOpen = false;
    return {};
  });
  server.on("blockdev-remove-medium", () => {
    if (!trayOpen) throw new FakeCommandError("GenericError", "the tray is shut");
    inserted = undefined;
    return {};
  });
  server.on("blockdev-insert-medium", ({ args }) => {
    inserted = String(args["node-name"]);
    return {};
  });
});
afterEach(() => guest[Symbol.asyncDispose]());

const source = () => guest.core.definition.disks[0]?.source;

describe("changing a medium", () => {
  it("puts in the new one and closes the old", async () => {
    await changeMedium(guest.core, "cd", second, {});
    expect([inserted, trayOpen, nodes, source()]).toEqual(["disk0-1-format", false, ["disk0-1-format"], second]);
    await changeMedium(guest.core, "cd", undefined, {});
    expect([inserted, trayOpen, nodes, source()]).toEqual([undefined, false, [], undefined]);
    expect(guest.core.state).not.toHaveProperty("work");
  });

  it("waits for a guest that has locked the drive, and opens it by force", async () => {
    locked = true;
    const refused = { code: "DEVICE_DETACH_FAILED", device: "cd", retryable: true };
    await expect(changeMedium(guest.core, "cd", second, {})).rejects.toMatchObject(refused);
    expect([inserted, nodes, source()]).toEqual(["disk0-format", ["disk0-format"], first]);
    const { host } = guest.core;
    Object.assign(host, { timeouts: { ...host.timeouts, trayMs: 20_000 } });
    const letting = changeMedium(guest.core, "cd", second, {});
    const opens = names().length;
    await waitFor(() => names().slice(opens).includes("blockdev-open-tray"));
    trayOpen = true;
    guest.server.emit("DEVICE_TRAY_MOVED", { device: "", id: "disk0", "tray-open": true });
    await letting;
    expect(source()).toEqual(second);
    await changeMedium(guest.core, "cd", first, { force: true });
    expect(source()).toEqual(first);
  });

  it("puts the old one back when the new one can't be put in", async () => {
    const insert = guest.server.on.bind(guest.server);
    insert("blockdev-insert-medium", ({ args }) => {
      if (args["node-name"] !== "disk0-format") throw new FakeCommandError("GenericError", "no");
      inserted = "disk0-format";
      return {};
    });
    await expect(changeMedium(guest.core, "cd", second, {})).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED" });
    expect([inserted, trayOpen, nodes, source()]).toEqual(["disk0-format", false, ["disk0-format"], first]);
    expect(guest.core.state).not.toHaveProperty("work");
  });
});

describe("work", () => {
  const plan = { diskIds: ["cd"], jobs: [], files: [], bitmaps: [] };
  const same = (state: typeof guest.core.state) => state;

  it("is one at a time", async () => {
    let finish: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (finish = resolve));
    const one = withWork(
      guest.core,
      "one",
      {},
      () => Promise.resolve(plan),
      async () => (await held, same),
    );
    await expect(changeMedium(guest.core, "cd", second, {})).rejects.toMatchObject({ code: "BUSY", retryable: true });
    finish();
    await one;
    await changeMedium(guest.core, "cd", second, {});
  });

  it("that can't be written down is not begun", async () => {
    guest.failure = new Error("no space");
    const asked = names().length;
    await expect(changeMedium(guest.core, "cd", second, {})).rejects.toThrow("no space");
    expect(
      names()
        .slice(asked)
        .filter((name) => !name.startsWith("query-")),
    ).toEqual([]);
  });

  it("that was given up before it began touches nothing", async () => {
    const asked = names().length;
    const signal = AbortSignal.abort();
    await expect(changeMedium(guest.core, "cd", second, { signal })).rejects.toMatchObject({ code: "ABORTED" });
    expect(names()).toHaveLength(asked);
  });

  it("whose undoing fails is undone before the next, or by whoever takes the guest up", async () => {
    jobs = ["mirror-disk0"];
    const failing = withWork(
      guest.core,
      "one",
      {},
      () => Promise.resolve({ ...plan, jobs }),
      () => Promise.reject(new Error("first")),
    );
    await expect(failing).rejects.toMatchObject({ undoErrors: [expect.objectContaining({ code: "UNDO_FAILED" })] });
    expect(guest.core.state.work).toMatchObject({ jobs: ["mirror-disk0"] });
    await expect(changeMedium(guest.core, "cd", second, {})).rejects.toMatchObject({ code: "DEVICE_ATTACH_FAILED" });
    expect(source()).toEqual(first);
    nodes.push("disk0-1-format");
    jobs = [];
    await reconcileDisks(guest.core);
    expect(guest.core.state).not.toHaveProperty("work");
    expect(nodes).toEqual(["disk0-format"]);
    await changeMedium(guest.core, "cd", second, {});
  });

  it("is left to the next driver when this one lets go of the guest", async () => {
    const failing = withWork(
      guest.core,
      "one",
      {},
      () => Promise.resolve(plan),
      async () => {
        guest.core.released = true;
        await guest.core.release();
        throw new Error("closed");
      },
    );
    await expect(failing).rejects.toThrow("closed");
    expect(guest.saved.at(-1)).toHaveProperty("work");
  });

  it("is forgotten with QEMU", async () => {
    const failing = withWork(
      guest.core,
      "one",
      {},
      () => Promise.resolve(plan),
      () => {
        guest.process.end({ signal: "SIGKILL" });
        return Promise.reject(new Error("gone"));
      },
    );
    await expect(failing).rejects.toThrow("gone");
    expect(guest.core.state).not.toHaveProperty("work");
  });
});
