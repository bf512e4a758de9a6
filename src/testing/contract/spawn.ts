import assert from "node:assert/strict";
import { rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

const HOSTILE_NAMES = [
  "",
  "../x",
  "a,b=c",
  "a\nb",
  "x".repeat(300),
  "naïve",
  "-rf",
  ".hidden",
  "a b",
  "a\0b",
  "$(id)",
  "a'b\"c",
];

export const spawnContract: ContractPart = (context, it) => {
  it("starts a guest and lists it", async () => {
    await context.withInstance(async (instance) => {
      assert.equal((await context.driver.getInfo(instance)).state, "running");
      assert((await context.driver.listInstanceUuids()).includes(instance.uuid));
      assert(await context.driver.instanceExists(instance));
    });
  });

  it("defines a guest without starting it", async () => {
    await context.withInstance(
      async (instance) => assert.equal((await context.driver.getInfo(instance)).state, "shutdown"),
      { powerOn: false },
    );
  });

  it("refuses an instance that is there, and leaves it alone", async () => {
    await context.withInstance(async (instance, spec) => {
      await rejectsWith("INSTANCE_EXISTS", context.driver.spawn(spec));
      await rejectsWith("INSTANCE_EXISTS", context.driver.spawn(context.subject.spec({ name: spec.name })));
      assert.equal((await context.driver.getInfo(instance)).state, "running");
    });
  });

  it("refuses hostile names, and leaves nothing", async () => {
    await context.leavingNothing(async () => {
      for (const name of HOSTILE_NAMES) {
        const error = await rejectsWith("INVALID_ARGUMENT", context.driver.spawn(context.subject.spec({ name })));
        assert.match((error as unknown as { readonly field: string }).field, /name$/);
      }
    });
  });

  it("names the field of a spec that is wrong, and leaves nothing", async () => {
    const good = context.subject.spec();
    const wrong: readonly [string, Record<string, unknown>][] = [
      ["uuid", { uuid: "not-a-uuid" }],
      ["flavor.vcpus", { flavor: { ...good.flavor, vcpus: 0 } }],
      ["flavor.vcpus", { flavor: { ...good.flavor, vcpus: 1.5 } }],
      ["flavor.memoryMiB", { flavor: { ...good.flavor, memoryMiB: Number.NaN } }],
      ["flavor.rootGiB", { flavor: { ...good.flavor, rootGiB: -1 } }],
      ["imageId", { imageId: "../../etc/passwd" }],
      ["vifs[0].macAddress", { vifs: [{ ...context.subject.vif(), macAddress: "zz:zz" }] }],
      ["machine", { machine: "toaster" }],
      ["surprise", { surprise: true }],
    ];
    await context.leavingNothing(async () => {
      for (const [field, changes] of wrong) {
        const error = await rejectsWith("INVALID_ARGUMENT", context.driver.spawn({ ...good, ...changes }));
        assert(
          (error as unknown as { readonly field: string }).field.endsWith(field),
          `${error.message} names ${field}`,
        );
      }
    });
  });

  it("refuses an image that is not there, and leaves nothing", async () => {
    await context.leavingNothing(async () => {
      await rejectsWith("IMAGE_NOT_FOUND", context.driver.spawn(context.subject.spec({ imageId: "no-such-image" })));
    });
  });

  it("stops when it is aborted, and leaves nothing", async () => {
    await context.leavingNothing(async () => {
      await rejectsWith("ABORTED", context.driver.spawn(context.subject.spec(), { signal: AbortSignal.abort() }));
      const phases: string[] = [];
      await context.driver
        .spawn(context.subject.spec(), { onProgress: ({ phase }) => phases.push(phase) })
        .then(({ instance }) => context.driver.destroy(instance));
      for (const phase of new Set(phases)) {
        const controller = new AbortController();
        const spawning = context.driver.spawn(context.subject.spec(), {
          signal: controller.signal,
          onProgress: (progress) => {
            if (progress.phase === phase) controller.abort();
          },
        });
        await rejectsWith("ABORTED", spawning);
      }
    });
  });

  it("stops at its deadline, and leaves nothing", async () => {
    await context.leavingNothing(async () => {
      await rejectsWith("DEADLINE_EXCEEDED", context.driver.spawn(context.subject.spec(), { deadline: 0 }));
    });
  });

  it("plans without doing", async () => {
    await context.leavingNothing(async () => {
      const plan = await context.driver.plan(context.subject.spec());
      assert(plan.steps.length > 0);
      assert.notEqual(plan.hypervisor, undefined);
    });
  });
};
