import assert from "node:assert/strict";
import type { InstanceSpec } from "../../driver/index.js";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

/** Files that outlive their instance: backups, dumps, templates. Each test has a directory of its own and leaves the instance as it was. */
export const exportsContract: ContractPart = (context, it) => {
  const directory = async (): Promise<string> => {
    const path = await context.subject.exportDirectory?.();
    assert(path !== undefined, "the subject has no exportDirectory, which this facet needs");
    return path;
  };

  if (context.has("backups")) {
    it("copies the disks of a running guest, whole and then what has changed", async () => {
      const place = await directory();
      await context.withInstance(async (instance) => {
        const phases: string[] = [];
        const whole = context.driver.backup(
          instance,
          { directory: place, checkpoint: "monday" },
          { onProgress: ({ phase }) => phases.push(phase) },
        );
        const { disks } = await whole.result;
        assert.deepEqual(disks[0], { diskId: "root", path: `${place}/root.qcow2`, format: "qcow2" });
        assert(phases.includes("copy"), phases.join(", "));
        await rejectsWith("CONFLICT", context.driver.backup(instance, { directory: place }).result);
        assert.deepEqual(
          (await context.driver.listCheckpoints(instance)).map(({ name }) => name),
          ["monday"],
        );
        await context.restart();
        const changed = { disks: [{ diskId: "root", path: `${place}/root.tuesday` }], since: "monday" };
        await context.driver.backup(instance, { ...changed, checkpoint: "tuesday" }).result;
        await rejectsWith(
          "CHECKPOINT_NOT_FOUND",
          context.driver.backup(instance, { disks: [{ diskId: "root", path: `${place}/x` }], since: "never" }).result,
        );
        for (const _again of [1, 2]) await context.driver.deleteCheckpoint(instance, "monday");
        assert.deepEqual(
          (await context.driver.listCheckpoints(instance)).map(({ name }) => name),
          ["tuesday"],
        );
        assert.equal((await context.driver.getInfo(instance)).state, "running");
        await context.driver.powerOff(instance, { graceMs: 0 });
        const path = `${place}/cold`;
        await rejectsWith(
          "INVALID_STATE",
          context.driver.backup(instance, { disks: [{ diskId: "root", path }] }).result,
        );
      });
      await rejectsWith("INSTANCE_NOT_FOUND", context.driver.backup(NOBODY, { directory: place }).result);
      await context.driver.deleteCheckpoint(NOBODY, "monday");
    });

    it("leaves nothing of a backup that is aborted", async () => {
      const place = await directory();
      await context.withInstance(async (instance) => {
        const controller = new AbortController();
        controller.abort();
        const request = { directory: place, checkpoint: "aborted" };
        await rejectsWith("ABORTED", context.driver.backup(instance, request, { signal: controller.signal }).result);
        assert.deepEqual(await context.driver.listCheckpoints(instance), []);
        await context.driver.backup(instance, request).result;
      });
    });
  }

  if (context.has("memoryDump")) {
    it("dumps the memory of a guest, which runs on", async () => {
      const place = await directory();
      await context.withInstance(async (instance) => {
        const path = `${place}/memory`;
        assert.deepEqual(await context.driver.dumpMemory(instance, path).result, { path, format: "elf" });
        await rejectsWith("CONFLICT", context.driver.dumpMemory(instance, path).result);
        assert.equal((await context.driver.getInfo(instance)).state, "running");
        await context.driver.powerOff(instance, { graceMs: 0 });
        await rejectsWith("INVALID_STATE", context.driver.dumpMemory(instance, `${place}/cold`).result);
      });
    });
  }

  if (context.has("templates")) {
    it("starts guests from a template, which can't be deleted as long as they are there", async () => {
      const template = `${await directory()}/template`;
      await context.leavingNothing(async () => {
        const source = context.subject.spec();
        try {
          await context.driver.spawn(source);
          await context.subject.waitUntilBooted(context.driver, source);
          const { id, spec } = await context.driver.saveTemplate(source, template).result;
          assert.equal((await context.driver.getInfo(source)).state, "running");
          assert.equal((await context.driver.describeTemplate(template)).id, id);
          const clone = { ...spec, ...cloneOf(context.subject.spec()) };
          const flavor = { ...clone.flavor, memoryMiB: clone.flavor.memoryMiB + 16 };
          const error = await rejectsWith(
            "INVALID_ARGUMENT",
            context.driver.spawnFromTemplate({ ...clone, flavor }, template),
          );
          assert.equal((error as Error & { readonly field?: string }).field, "spec.flavor.memoryMiB");
          try {
            await context.driver.spawnFromTemplate(clone, template);
            assert.equal((await context.driver.getInfo(clone)).state, "running");
            await rejectsWith("CONFLICT", context.driver.deleteTemplate(template));
            await context.driver.powerOff(clone, { graceMs: 0 });
            await context.driver.powerOn(clone);
          } finally {
            await context.driver.destroy(clone);
          }
        } finally {
          await context.driver.destroy(source);
        }
        for (const _again of [1, 2]) await context.driver.deleteTemplate(template);
        await rejectsWith("TEMPLATE_NOT_FOUND", context.driver.describeTemplate(template));
      });
    });
  }
};

/** What of a fresh spec makes another instance of a template's. */
function cloneOf({ uuid, name, vifs }: InstanceSpec): Pick<InstanceSpec, "uuid" | "name" | "vifs"> {
  return { uuid, name, ...(vifs === undefined ? {} : { vifs }) };
}
