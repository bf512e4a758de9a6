import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { CreateDiskRequest, LocalImage } from "../../../src/storage/index.js";
import { contentOf, FakeQemuImg, guestWrites, makeImage } from "./support/fake-qemu-img.js";
import { FakePool, FakePoolBackend } from "./support/fake-pool.js";
import { Killed } from "./support/steps.js";
import { inDirectory } from "./support/tree.js";

const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const OTHER = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b002";
/** What is small is quickly copied. */
const UNIT = 16 * 1024;

interface World {
  readonly pool: FakePool;
  readonly disks: FakePoolBackend;
  readonly qemuImg: FakeQemuImg;
  readonly image: LocalImage;
  readonly marks: Set<string>;
  /** A back end of another process, whose n-th change fails or is its last. */
  another(mode?: { readonly failAt?: number; readonly dieAt?: number }): FakePoolBackend;
  create(name: string, more?: Partial<CreateDiskRequest>): Promise<string>;
  /** What a guest sees of each disk. */
  contents(): Promise<Record<string, readonly [size: number, content: readonly string[]]>>;
  volumes(): Promise<readonly string[]>;
}

function inPool(test: (world: World) => Promise<void>): Promise<void> {
  return inDirectory(async (root) => {
    const volumesDirectory = join(root, "volumes");
    await mkdir(volumesDirectory);
    const marks = new Set<string>();
    const [pool, qemuImg] = [new FakePool(volumesDirectory, marks), new FakeQemuImg()];
    const image: LocalImage = { id: "i", path: join(root, "image"), format: "qcow2", virtualSizeBytes: UNIT };
    await makeImage(image.path, ["system"], UNIT);
    const disks = new FakePoolBackend(pool, join(root, "files"), qemuImg);
    await test({
      pool,
      disks,
      qemuImg,
      image,
      marks,
      another: ({ failAt, dieAt } = {}) => {
        const theirs = new FakePool(volumesDirectory, marks);
        let count = 0;
        const step = (): void => {
          count++;
          if (count === failAt || (dieAt !== undefined && count >= dieAt)) throw new Killed("killed");
        };
        theirs.before = step;
        const commands = new FakeQemuImg();
        commands.before = step;
        return new FakePoolBackend(theirs, join(root, "files"), commands);
      },
      create: async (name, more = {}) => {
        const source = await disks.create({ instanceUuid: UUID, name, sizeBytes: 2 * UNIT, ...more });
        return source.type === "block" ? source.path : "";
      },
      contents: async () => {
        const infos = await disks.list(UUID);
        const seen = infos.map(async ({ name, source, virtualSizeBytes }) => {
          const path = source.type === "block" ? source.path : "";
          return [name, [virtualSizeBytes, await contentOf(path, "raw")]] as const;
        });
        return Object.fromEntries(await Promise.all(seen));
      },
      volumes: async () => (await readdir(volumesDirectory)).sort(),
    });
  });
}

describe("disks that are volumes of a pool", () => {
  it("hold the image, or nothing, have the size that was asked for, and are raw", () =>
    inPool(async ({ disks, image, create, contents, volumes, qemuImg }) => {
      await create("root", { image, sizeBytes: 2 * UNIT - 7 });
      await create("swap");
      expect(await contents()).toEqual({ root: [2 * UNIT, ["system"]], swap: [2 * UNIT, []] });
      expect(await volumes()).toEqual([`${UUID}_root`, `${UUID}_swap`]);
      expect(await disks.list(UUID)).toMatchObject([
        {
          name: "root",
          source: { type: "block", format: "raw" },
          allocatedBytes: UNIT / 2,
          overCommittedBytes: 1.5 * UNIT,
        },
        { name: "swap" },
      ]);
      expect(await disks.listInstances()).toEqual([UUID]);
      expect(await disks.capacity()).toEqual({
        totalBytes: 100 * 1024 * 1024,
        usedBytes: 50 * 1024 * 1024,
        leastAvailableBytes: 50 * 1024 * 1024 - 3 * UNIT,
      });
      expect(qemuImg.limits.flat()).toContain(`--cpu=3600`);
    }));

  it.each([
    ["of another format", { format: "qcow2" }, { code: "NOT_SUPPORTED" }],
    ["smaller than its image", { sizeBytes: 4096, image: { virtualSizeBytes: UNIT } }, { code: "INVALID_ARGUMENT" }],
    ["of no image of a disk", { image: { format: "aki" } }, { code: "INVALID_ARGUMENT" }],
    ["of an odd name", { name: "../x" }, { code: "INVALID_ARGUMENT" }],
    ["of an image and a file system", { guestFormat: { type: "ext4" }, image: {} }, { code: "INVALID_ARGUMENT" }],
  ] as const)("are not made when they are %s", (_what, change, error) =>
    inPool(async ({ disks, image, volumes }) => {
      const { image: other, ...more } = { image: undefined, ...change };
      const request = { instanceUuid: UUID, name: "root", sizeBytes: UNIT, ...more } as CreateDiskRequest;
      const whole = other === undefined ? request : { ...request, image: { ...image, ...other } };
      await expect(disks.create(whole)).rejects.toMatchObject(error);
      expect(await volumes()).toEqual([]);
    }),
  );

  it("are made, grown, exported and removed once, and only where no guest has them open", () =>
    inPool(async ({ pool, disks, image, create, contents, volumes }) => {
      await create("root", { image });
      await expect(create("root")).rejects.toMatchObject({
        code: "CONFLICT",
        device: "root",
        instance: { uuid: UUID },
      });
      await disks.resize(UUID, "root", 3 * UNIT);
      await disks.resize(UUID, "root", 3 * UNIT);
      // A volume that has a little more than it was asked for is of that size.
      await disks.resize(UUID, "root", 3 * UNIT - 512);
      await expect(disks.resize(UUID, "root", UNIT)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
      await expect(disks.resize(UUID, "other", UNIT)).rejects.toMatchObject({ code: "DISK_NOT_FOUND" });
      const out = await disks.temporaryPath("snapshot");
      await disks.exportDisk(UUID, "root", out, "raw");
      expect(await contentOf(out, "raw")).toEqual(["system"]);
      await disks.removeTemporary(out);
      expect(await contents()).toEqual({ root: [3 * UNIT, ["system"]] });
      pool.inUse.add(`${UUID}_root`);
      for (const busy of [
        disks.resize(UUID, "root", 4 * UNIT),
        disks.exportDisk(UUID, "root", out, "raw"),
        disks.park(UUID, "a"),
      ])
        await expect(busy).rejects.toMatchObject({ code: "BUSY", retryable: true });
      await disks.remove(UUID, "root");
      await disks.remove(UUID, "root");
      expect(await volumes()).toEqual([]);
    }));

  it("of one instance go all at once, with what is parked, and those of others stay", () =>
    inPool(async ({ disks, create, volumes, marks }) => {
      await create("root");
      await create("root", { instanceUuid: OTHER });
      await disks.park(UUID, "a");
      await disks.park(OTHER, "a");
      expect(await disks.removeAll(UUID)).toBe(true);
      expect(await disks.removeAll(UUID)).toBe(true);
      expect(await volumes()).toEqual([`${OTHER}_root`, `${OTHER}_root+p1`]);
      expect([...marks]).toEqual([`${OTHER}+1.parked.a`]);
    }));

  it("carry tokens that other hosts with the pool see", () =>
    inPool(async ({ disks, another }) => {
      await disks.leaveToken("t");
      expect(await another().seesToken("t")).toBe(true);
      await disks.removeToken("t");
      await disks.removeToken("t");
      expect(await another().seesToken("t")).toBe(false);
      await expect(disks.leaveToken("../t")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }));
});

/** Two disks, one of them parked as it is under `a`; then changed in every way. */
async function parkAndChange({ disks, create }: World): Promise<void> {
  await guestWrites(await create("root"), "old", "raw");
  await create("ephemeral0");
  await disks.park(UUID, "a");
  await guestWrites(
    (await disks.list(UUID))[1]?.source.type === "block" ? await pathOf(disks, "root") : "",
    "new",
    "raw",
  );
  await disks.resize(UUID, "root", 3 * UNIT);
  await disks.remove(UUID, "ephemeral0");
  await create("swap");
}

async function pathOf(disks: FakePoolBackend, name: string): Promise<string> {
  const source = (await disks.list(UUID)).find((disk) => disk.name === name)?.source;
  return source?.type === "block" ? source.path : "";
}

const BEFORE = { ephemeral0: [2 * UNIT, []], root: [2 * UNIT, ["old"]] };
const AFTER = { root: [3 * UNIT, ["old", "new"]], swap: [2 * UNIT, []] };

describe("parked volumes", () => {
  it("come back as they were, in contents, sizes and number; labels nest", () =>
    inPool(async (world) => {
      await parkAndChange(world);
      const { disks, contents, volumes, marks } = world;
      expect(await contents()).toEqual(AFTER);
      await disks.park(UUID, "b");
      await disks.park(UUID, "b");
      await disks.restore(UUID, "unknown");
      await disks.restore(UUID, "a");
      expect(await contents()).toEqual(BEFORE);
      expect(await volumes()).toEqual([`${UUID}_ephemeral0`, `${UUID}_root`]);
      expect([...marks]).toEqual([]);
      await disks.restore(UUID, "b");
      expect(await contents()).toEqual(BEFORE);
    }));

  it("are forgotten while a guest has the disks open", () =>
    inPool(async (world) => {
      await parkAndChange(world);
      world.pool.inUse.add(`${UUID}_root`);
      await expect(world.disks.restore(UUID, "a")).rejects.toMatchObject({ code: "BUSY" });
      await world.disks.discardParked(UUID, "a");
      await world.disks.discardParked(UUID, "a");
      expect(await world.contents()).toEqual(AFTER);
      expect(await world.volumes()).toEqual([`${UUID}_root`, `${UUID}_swap`]);
    }));

  it("stand for an instance without disks too", () =>
    inPool(async ({ disks, create, volumes }) => {
      await disks.park(UUID, "a");
      await create("swap");
      await disks.restore(UUID, "a");
      expect(await volumes()).toEqual([]);
    }));

  const actions: readonly [string, (disks: FakePoolBackend) => Promise<unknown>, end: unknown][] = [
    ["park", (disks) => disks.park(UUID, "b"), AFTER],
    ["restore", (disks) => disks.restore(UUID, "a"), BEFORE],
    ["discardParked", (disks) => disks.discardParked(UUID, "a"), AFTER],
    [
      "create",
      async (disks) => {
        await disks.remove(UUID, "rescue");
        await disks.create({ instanceUuid: UUID, name: "rescue", sizeBytes: UNIT });
      },
      undefined,
    ],
  ];

  it.each(actions)("survive the death of the process before any step of %s", (_what, act, end) =>
    inPool(async (world) => {
      for (let dieAt = 1, died = true; died; dieAt++) {
        await parkAndChange(world);
        died = await act(world.another({ dieAt })).then(
          () => false,
          () => true,
        );
        const survivor = world.another();
        await act(survivor);
        if (end !== undefined) expect(await world.contents(), `dead before step ${dieAt}`).toEqual(end);
        else expect(await world.contents()).toEqual({ ...AFTER, rescue: [UNIT, []] });
        expect((await world.volumes()).filter((name) => name.endsWith("+new"))).toEqual([]);
        if (_what !== "discardParked") {
          await survivor.restore(UUID, "a");
          expect(await world.contents(), `dead before step ${dieAt}`).toEqual(BEFORE);
        }
        await survivor.removeAll(UUID);
        expect([await world.volumes(), [...world.marks]]).toEqual([[], []]);
      }
    }),
  );

  it.each(actions)("are whole when any step of %s fails, and can be tried again", (_what, act) =>
    inPool(async (world) => {
      for (let failAt = 1, failed = true; failed; failAt++) {
        await parkAndChange(world);
        failed = await act(world.another({ failAt })).then(
          () => false,
          () => true,
        );
        await act(world.another());
        if (_what !== "discardParked") await world.disks.restore(UUID, "a");
        expect(await world.contents(), `failed at step ${failAt}`).toEqual(_what === "discardParked" ? AFTER : BEFORE);
        await world.disks.removeAll(UUID);
      }
    }),
  );
});
