import assert from "node:assert/strict";
import { NOBODY, rejectsWith } from "./context.js";
import type { ContractPart } from "./part.js";

const PNG = [0x89, 0x50, 0x4e, 0x47];

export const consolesContract: ContractPart = (context, it) => {
  if (context.has("consoleOutput")) {
    it("shows the last of what the guest wrote, and keeps it when the guest is stopped", async () => {
      await context.withInstance(
        async (instance) => {
          const log = await context.driver.getConsoleOutput(instance);
          assert(log.bytes.length > 0);
          const end = await context.driver.getConsoleOutput(instance, { maxBytes: 8 });
          assert.equal(end.bytes.length, 8);
          assert.equal(end.truncated, true);
          await context.driver.powerOff(instance, { graceMs: 0 });
          assert((await context.driver.getConsoleOutput(instance)).bytes.length > 0);
        },
        { booted: true },
      );
      await rejectsWith("INSTANCE_NOT_FOUND", context.driver.getConsoleOutput(NOBODY));
    });
  }

  if (context.has("consoleStream")) {
    it("opens a console that ends with the guest", async () => {
      await context.withInstance(async (instance) => {
        const stream = await context.driver.openConsole(instance);
        const ended = new Promise<void>((resolve) => stream.once("close", resolve));
        stream.on("error", () => undefined).resume();
        await context.driver.powerOff(instance, { graceMs: 0 });
        await ended;
        await rejectsWith("INVALID_STATE", context.driver.openConsole(instance));
      });
    });
  }

  if (context.has("screenshots")) {
    it("takes a picture of the display", async () => {
      await context.withInstance(async (instance) => {
        const { mediaType, bytes } = await context.driver.takeScreenshot(instance);
        assert(bytes.length > 0);
        if (mediaType === "image/png") assert.deepEqual([...bytes.subarray(0, 4)], PNG);
        await context.driver.powerOff(instance, { graceMs: 0 });
        await rejectsWith("INVALID_STATE", context.driver.takeScreenshot(instance));
      });
    });
  }
};
