import { readdir } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LocalDiskBackend } from "../../../src/storage/index.js";
import type { DiskSourceFormat, LocalImage } from "../../../src/storage/index.js";
import { contentOf, failure, FakeQemuImg, guestWrites, makeImage } from "./support/fake-qemu-img.js";
import { quickFiles, Steps } from "./support/steps.js";
import { copyTree, inDirectory, tree } from "./support/tree.js";

const UUID = "0e9b1c52-6c1f-4f0e-9a68-2f1f4be3b001";
const SIZE = 65_536;

/** Sizes and contents by name. */
type Disks = Record<string, { size: number; content: string[] }>;

interface World {
  readonly directory: string;
  readonly disks: LocalDiskBackend;
  readonly qemuImg: FakeQemuImg;
  readonly image: LocalImage;
  create(name: string, format?: DiskSourceFormat): Promise<void>;
  write(name: string, item: string): Promise<void>;
  look(): Promise<Disks>;
}

function inBackend(test: (world: World) => Promise<void>): Promise<void> {
  return inDirectory(async (root) => {
    const directory = join(root, "disks");
    const qemuImg = new FakeQemuImg();
    const path = join(root, "image");
    await makeImage(path, ["system"], SIZE);
    const image: LocalImage = { id: "image", path, format: "qcow2", virtualSizeBytes: SIZE };
    await test(
      worldOf(directory, new LocalDiskBackend({ directory, commands: qemuImg, files: quickFiles }), qemuImg, image),
    );
  });
}

function worldOf(directory: string, disks: LocalDiskBackend, qemuImg: FakeQemuImg, image: LocalImage): World {
  return {
    directory,
    disks,
    qemuImg,
    image,
    create: async (name, format = "qcow2") =>
      void (await disks.create({ instanceUuid: UUID, name, sizeBytes: SIZE, image, format })),
    write: async (name, item) => {
      const found = (await disks.list(UUID)).find((disk) => disk.name === name);
      if (found?.source.type === "file") await guestWrites(found.source.path, item, found.source.format);
    },
    look: async () => {
      const list = await disks.list(UUID);
      const entries = list.map(async ({ name, source, virtualSizeBytes }) => {
        const { path = "", format } = source as { path?: string; format: string };
        return [name, { size: virtualSizeBytes, content: await contentOf(path, format) }] as const;
      });
      return Object.fromEntries(await Promise.all(entries));
    },
  };
}

describe("parking an instance's disks", () => {
  it.each(["qcow2", "raw"] as const)("of format %s keeps their sources, contents and sizes to go back to", (format) =>
    inBackend(async ({ disks, create, write, look, directory }) => {
      await create("root", format);
      await write("root", "before");
      const [parked, sources] = [await look(), (await disks.list(UUID)).map(({ source }) => source)];
      const files = await tree(directory);
      await disks.park(UUID, "resize");
      await disks.park(UUID, "resize");
      expect((await disks.list(UUID)).map(({ source }) => source)).toEqual(sources);
      expect(await look()).toEqual(parked);
      await write("root", "after");
      await disks.resize(UUID, "root", 2 * SIZE);
      await create("swap");
      await disks.restore(UUID, "resize");
      expect(await look()).toEqual(parked);
      expect((await tree(directory)).map((line) => line.split(" ")[0])).toEqual(
        files.map((line) => line.split(" ")[0]),
      );
      await disks.restore(UUID, "resize");
      expect(await look()).toEqual(parked);
    }),
  );

  it.each(["qcow2", "raw"] as const)("of format %s can be forgotten, which keeps them as they are", (format) =>
    inBackend(async ({ disks, create, write, look, directory }) => {
      await create("root", format);
      await disks.park(UUID, "resize");
      await write("root", "after");
      await disks.resize(UUID, "root", 2 * SIZE);
      await disks.discardParked(UUID, "resize");
      const now = { root: { size: 2 * SIZE, content: ["system", "after"] } };
      expect(await look()).toEqual(now);
      await disks.discardParked(UUID, "resize");
      await disks.restore(UUID, "resize");
      expect(await look()).toEqual(now);
      await disks.mergeParked(UUID);
      expect(await look()).toEqual(now);
      expect(await readdir(join(directory, UUID))).toEqual(["disks.json", `root.${format}`]);
    }),
  );

  it("goes back after all disks were replaced, in another format too", () =>
    inBackend(async ({ disks, create, write, look, directory }) => {
      await create("root");
      await create("swap", "raw");
      await write("root", "data");
      const before = await look();
      await disks.park(UUID, "rebuild");
      await disks.remove(UUID, "root");
      await disks.remove(UUID, "swap");
      await create("root", "raw");
      await disks.restore(UUID, "rebuild");
      expect(await look()).toEqual(before);
      expect((await readdir(join(directory, UUID))).sort()).toEqual(["disks.json", "root.qcow2", "swap.raw"]);
    }));

  it("drops parked files at once when the disk was made anew", () =>
    inBackend(async ({ disks, create, look, directory }) => {
      await create("root");
      await disks.park(UUID, "rebuild");
      await disks.remove(UUID, "root");
      await create("root");
      await disks.discardParked(UUID, "rebuild");
      expect(await look()).toEqual({ root: { size: SIZE, content: ["system"] } });
      expect(await readdir(join(directory, UUID))).toEqual(["disks.json", "root.qcow2"]);
    }));

  it("nests: each label goes back to its own, and takes those after it along", () =>
    inBackend(async ({ disks, create, write, look, directory }) => {
      await create("root");
      await disks.park(UUID, "a");
      await write("root", "1");
      const atB = await look();
      await disks.park(UUID, "b");
      await write("root", "2");
      await disks.park(UUID, "c");
      await write("root", "3");
      await disks.restore(UUID, "b");
      expect(await look()).toEqual(atB);
      await disks.restore(UUID, "c");
      expect(await look()).toEqual(atB);
      await disks.discardParked(UUID, "a");
      await disks.park(UUID, "a");
      expect(await look()).toEqual(atB);
      await disks.discardParked(UUID, "a");
      await disks.mergeParked(UUID);
      expect(await look()).toEqual(atB);
      expect(await readdir(join(directory, UUID))).toEqual(["disks.json", "root.qcow2"]);
    }));

  it("works for an instance without disks, and leaves nothing of it", () =>
    inBackend(async ({ disks, directory }) => {
      await disks.park(UUID, "resize");
      await disks.discardParked(UUID, "resize");
      await disks.park(UUID, "resize");
      await disks.restore(UUID, "resize");
      expect(await readdir(directory)).toEqual([]);
    }));

  it("is unharmed by a merge that fails", () =>
    inBackend(async ({ disks, create, write, look, qemuImg }) => {
      await create("root");
      await disks.park(UUID, "a");
      await write("root", "1");
      await disks.discardParked(UUID, "a");
      qemuImg.before = (words) => {
        if (words[0] === "commit") throw failure(["qemu-img", ...words], 1);
      };
      await disks.park(UUID, "b");
      await write("root", "2");
      await disks.restore(UUID, "b");
      qemuImg.before = () => undefined;
      await disks.mergeParked(UUID);
      expect(await look()).toEqual({ root: { size: SIZE, content: ["system", "1"] } });
    }));

  it("refuses a label that is none", () =>
    inBackend(async ({ disks }) => {
      for (const label of ["", "..", "a/b", "x".repeat(65)]) {
        await expect(disks.park(UUID, label)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "label" });
      }
    }));

  it("is undone when any of its steps fails", () =>
    inBackend(async ({ directory, qemuImg, image, disks, create, write, look }) => {
      await create("root");
      await create("swap", "raw");
      await write("root", "data");
      const [before, files] = [await look(), await tree(directory)];
      for (let failAt = 1; ; failAt++) {
        const steps = new Steps({ failAt }, () => failure(["qemu-img"], 1));
        const failing = new LocalDiskBackend({ directory, files: steps.files, commands: steps.commands(qemuImg) });
        const error: unknown = await failing.park(UUID, "a").catch((thrown: unknown) => thrown);
        if (error === undefined) break;
        expect(error).toMatchObject({ code: expect.stringMatching(/^(STORAGE_FAILED|BUSY)$/) as string });
        expect(await look(), `after a failure of step ${failAt}`).toEqual(before);
        expect(await tree(directory), `after a failure of step ${failAt}`).toEqual(files);
      }
      await disks.restore(UUID, "a");
      expect(await look()).toEqual(before);
      void image;
    }));
});

describe("a process that dies while it", () => {
  const calls = {
    park: (disks: LocalDiskBackend) => disks.park(UUID, "a"),
    restore: (disks: LocalDiskBackend) => disks.restore(UUID, "a"),
    discard: (disks: LocalDiskBackend) => disks.discardParked(UUID, "a"),
    merge: (disks: LocalDiskBackend) => disks.mergeParked(UUID),
  };
  type Call = keyof typeof calls;
  type Next = "again" | "restore" | "discard";

  /** What may be found after what was done next. */
  function expected(what: Call, next: Next, parked: Disks, before: Disks): Disks[] {
    if (what === "park") return [parked];
    if (what === "merge") return [before];
    if (what === "restore") return next === "discard" ? [parked, before] : [parked];
    return next === "restore" ? [parked, before] : [before];
  }

  /** What there is when the call begins, kept to go back to. */
  interface Scene {
    readonly directory: string;
    readonly kept: string;
    readonly parked: Disks;
    readonly before: Disks;
    start(): World;
  }

  async function prepare(directory: string, image: LocalImage, what: Call): Promise<Scene> {
    const start = (): World => {
      const qemuImg = new FakeQemuImg();
      const disks = new LocalDiskBackend({ directory, commands: qemuImg, files: quickFiles });
      return worldOf(directory, disks, qemuImg, image);
    };
    const { disks, create, write, look } = start();
    await create("root");
    await create("data", "raw");
    const parked = await look();
    if (what !== "park") {
      await disks.park(UUID, "a");
      await write("root", "later");
      await write("data", "later");
      await create("extra");
    }
    if (what === "merge") await disks.discardParked(UUID, "a");
    const kept = `${directory}.kept`;
    await copyTree(directory, kept);
    return { directory, kept, parked, before: await look(), start };
  }

  /** False when the call was over before that step. */
  async function dies(scene: Scene, what: Call, dieAt: number, next: Next): Promise<boolean> {
    const { directory, parked, before, start } = scene;
    await copyTree(scene.kept, directory);
    const steps = new Steps({ dieAt });
    const commands = steps.commands(new FakeQemuImg());
    const dying = new LocalDiskBackend({ directory, files: steps.files, commands });
    const died = await calls[what](dying).then(
      () => false,
      () => true,
    );

    const at = `${what}, dead before step ${dieAt}, then ${next}`;
    const survivor = start();
    if (what !== "restore") expect(await survivor.look(), at).toEqual(before);
    if (next === "again") await calls[what](survivor.disks);
    else await calls[next](survivor.disks);
    const after = await survivor.look();
    expect(expected(what, next, parked, before), at).toContainEqual(after);

    await survivor.disks.discardParked(UUID, "a");
    await survivor.disks.mergeParked(UUID);
    expect(await survivor.look(), at).toEqual(after);
    const files = Object.keys(after).map((name) => (name === "data" ? "data.raw" : `${name}.qcow2`));
    expect((await readdir(join(directory, UUID))).sort(), at).toEqual(["disks.json", ...files].sort());
    return died;
  }

  const nexts = ["again", "restore", "discard"] as const;
  const all = (Object.keys(calls) as Call[]).flatMap((what) => nexts.map((next) => [what, next] as const));
  it.each(all)("%ss disks leaves whole disks, and the next can finish or go back (%s)", (what, next) =>
    inDirectory(async (root) => {
      const image: LocalImage = { id: "image", path: join(root, "image"), format: "qcow2", virtualSizeBytes: SIZE };
      await makeImage(image.path, ["system"], SIZE);
      const scene = await prepare(join(root, "disks"), image, what);
      for (let dieAt = 1; await dies(scene, what, dieAt, next); dieAt++);
    }),
  );
});

describe("any history of parking, writing, growing and replacing disks", () => {
  type Action =
    | { readonly do: "park" | "restore" | "discard"; readonly label: string }
    | { readonly do: "write" | "remove" | "create" | "grow"; readonly name: string }
    | { readonly do: "merge" };
  const label = fc.constantFrom("a", "b", "c");
  const name = fc.constantFrom("root", "data");
  const action: fc.Arbitrary<Action> = fc.oneof(
    fc.record({ do: fc.constantFrom("park" as const, "restore" as const, "discard" as const), label }),
    fc.record({
      do: fc.constantFrom("write" as const, "write" as const, "remove" as const, "create" as const, "grow" as const),
      name,
    }),
    fc.constant({ do: "merge" as const }),
  );

  it("shows the disks that a list of saved copies would", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 14 }), (actions) =>
        inBackend(async ({ disks, create, write, look }) => {
          let model: Disks = {};
          let saved: { label: string; disks: Disks }[] = [];
          for (const [i, step] of actions.entries()) {
            switch (step.do) {
              case "park":
                await disks.park(UUID, step.label);
                if (!saved.some((state) => state.label === step.label))
                  saved.push({ label: step.label, disks: structuredClone(model) });
                break;
              case "restore": {
                await disks.restore(UUID, step.label);
                const at = saved.findIndex((state) => state.label === step.label);
                if (at >= 0) [model, saved] = [structuredClone(saved[at]?.disks ?? {}), saved.slice(0, at)];
                break;
              }
              case "discard":
                await disks.discardParked(UUID, step.label);
                saved = saved.filter((state) => state.label !== step.label);
                break;
              case "merge":
                await disks.mergeParked(UUID);
                break;
              case "remove":
                await disks.remove(UUID, step.name);
                delete model[step.name];
                break;
              case "create":
                if (model[step.name] !== undefined) break;
                await create(step.name, step.name === "data" ? "raw" : "qcow2");
                model[step.name] = { size: SIZE, content: ["system"] };
                break;
              case "grow": {
                const disk = model[step.name];
                if (disk === undefined) break;
                disk.size += SIZE;
                await disks.resize(UUID, step.name, disk.size);
                break;
              }
              case "write":
                await write(step.name, `w${i}`);
                model[step.name]?.content.push(`w${i}`);
            }
            expect(await look()).toEqual(model);
          }
          await disks.removeAll(UUID);
          expect(await disks.listInstances()).toEqual([]);
        }),
      ),
      { numRuns: 40 },
    );
  });
});
