import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  closeDisk,
  closeUnused,
  findDrive,
  freshName,
  handleOfNode,
  isQdevOf,
  layersOf,
} from "../../../src/kvm/block/nodes.js";
import type { Drive } from "../../../src/kvm/block/nodes.js";
import { bitmapName, carryBitmaps, isWhole, sourcesOf } from "../../../src/kvm/block/checkpoint-bitmaps.js";
import { FakeCommandError } from "../../../src/testing/fake-json-server.js";
import { fakeGuest } from "./fake-session.js";
import type { FakeGuest } from "./fake-session.js";

describe("names", () => {
  it.each([
    ["disk1", "disk1", true],
    ["/machine/peripheral/disk1/virtio-backend", "disk1", true],
    ["/machine/peripheral/disk1", "disk1", true],
    ["/machine/peripheral/disk11/virtio-backend", "disk1", false],
    ["disk11", "disk1", false],
    [undefined, "disk1", false],
  ])("%s is the device of %s: %s", (qdev, handle, expected) => {
    expect(isQdevOf(qdev, handle)).toBe(expected);
  });

  it.each([
    ["disk1-format", "disk1"],
    ["disk12-3-storage", "disk12"],
    ["disk0-mirror", "disk0"],
    ["#block123", undefined],
    ["disk1", undefined],
    ["", undefined],
  ])("the node %s belongs to %s", (node, handle) => {
    expect(handleOfNode(node)).toBe(handle);
  });
});

/** Nodes of a fake QEMU, each with what stands on it. */
let nodes: Map<string, { readonly file: string; readonly drv: string; on: string[]; bitmaps: string[] }>;
let guest: FakeGuest;
beforeEach(async () => {
  guest = await fakeGuest();
  nodes = new Map();
  const { server } = guest;
  server.on("query-named-block-nodes", () =>
    [...nodes].map(([name, { file, drv, bitmaps }]) => ({
      "node-name": name,
      file,
      drv,
      ...(bitmaps.length === 0 ? {} : { "dirty-bitmaps": bitmaps.map((bitmap) => ({ name: bitmap })) }),
    })),
  );
  server.on("blockdev-del", ({ args }) => {
    const name = String(args["node-name"]);
    const node = nodes.get(name);
    if (node === undefined || node.on.length > 0) throw new FakeCommandError("GenericError", "no");
    nodes.delete(name);
    for (const other of nodes.values()) other.on = other.on.filter((one) => one !== name);
    return {};
  });
});
afterEach(() => guest[Symbol.asyncDispose]());

const node = (name: string, on: string[] = [], file = name, drv = "qcow2", bitmaps: string[] = []) =>
  nodes.set(name, { file, drv, on, bitmaps });

describe("closing the nodes of a disk", () => {
  it("takes what stands on others first, and leaves those of other disks and those in use", async () => {
    node("disk1-storage", ["disk1-format"]);
    node("disk1-format", ["disk1-1-format"]);
    node("disk1-1-format", ["disk1-2-format"]);
    node("disk1-2-format");
    node("disk10-format");
    node("disk2-format", ["a device"]);
    expect(await closeUnused(guest.session, "disk1")).toBe(true);
    expect([...nodes.keys()]).toEqual(["disk10-format", "disk2-format"]);
    expect(await closeUnused(guest.session, "disk2")).toBe(false);
    await expect(closeDisk(guest.session, "disk2")).rejects.toMatchObject({ code: "BUSY" });
    await closeDisk(guest.session, "disk1");
  });

  it("gives new ones a name that none has", async () => {
    node("disk1-format", ["a device"]);
    expect(await freshName(guest.session, "disk1")).toBe("disk1-1");
    node("disk1-1-format");
    node("disk1-3-format");
    expect(await freshName(guest.session, "disk1")).toBe("disk1-2");
  });
});

describe("a disk's chain", () => {
  const drive = async (): Promise<Required<Drive>> => (await findDrive(guest.session, "disk1")) as Required<Drive>;
  beforeEach(() => {
    const base = { filename: "/base", format: "raw", "virtual-size": 1 };
    const image = { filename: "json:{}", format: "qcow2", "virtual-size": 5, "backing-image": base };
    guest.server.on("query-block", () => [
      { qdev: "disk10", inserted: { "node-name": "disk10-format", image: base } },
      { qdev: "/machine/peripheral/disk1/virtio-backend", inserted: { "node-name": "disk1-1-format", image } },
      { qdev: "disk2", tray_open: true },
    ]);
    node("disk1-1-format", [], "/overlay", "qcow2", ["one", "two"]);
    node("filter", [], "/base", "commit");
    node("#block7", [], "/base", "raw", ["one"]);
  });

  it("is told layer by layer, by what QEMU has open", async () => {
    expect(await layersOf(guest.session, await drive())).toMatchObject([
      { node: "disk1-1-format", file: "/overlay", format: "qcow2" },
      { node: "#block7", file: "/base", format: "raw" },
    ]);
    expect(await findDrive(guest.session, "disk2")).toEqual({ qdev: "disk2", trayOpen: true });
    expect(await findDrive(guest.session, "disk3")).toBeUndefined();
  });

  it("knows the changes since a checkpoint when its top has the bitmap and none is damaged", async () => {
    const layers = await layersOf(guest.session, await drive());
    expect(isWhole(layers, "one")).toBe(true);
    expect(isWhole(layers, "two")).toBe(true);
    expect(isWhole(layers, "three")).toBe(false);
    expect(isWhole(layers.slice(1), "two")).toBe(false);
    const damaged = layers.map((layer) => ({
      ...layer,
      bitmaps: layer.bitmaps.map((bitmap) => ({ ...bitmap, inconsistent: layer.node === "#block7" })),
    }));
    expect(isWhole(damaged, "one")).toBe(false);
    expect(sourcesOf(layers, "one")).toEqual([
      { node: "disk1-1-format", name: "one" },
      { node: "#block7", name: "one" },
    ]);
  });

  it("takes bitmaps along in one step each, and does without those that the new file can't hold", async () => {
    const layers = await layersOf(guest.session, await drive());
    node("disk1-2-format", [], "/new");
    const transactions: unknown[] = [];
    guest.server.on("transaction", ({ args }) => {
      transactions.push(args["actions"]);
      if (transactions.length === 2) throw new FakeCommandError("GenericError", "no");
      return {};
    });
    await carryBitmaps(guest.session, ["one", "two", "three"], layers, "disk1-2-format");
    expect(transactions).toHaveLength(2);
    expect(transactions[0]).toEqual([
      { type: "block-dirty-bitmap-add", data: { node: "disk1-2-format", name: "one", persistent: true } },
      {
        type: "block-dirty-bitmap-merge",
        data: { node: "disk1-2-format", target: "one", bitmaps: sourcesOf(layers, "one") },
      },
    ]);
  });

  it("names bitmaps so that a checkpoint set anew has another", () => {
    expect(bitmapName("monday", 1)).not.toBe(bitmapName("monday", 2));
  });
});
